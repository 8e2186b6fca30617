"""The process between an EmbeddedServer and its PostgreSQL: starts it, outlives the owner, cleans up.

It is a Python of its own with the standard library alone and a session of its own, so that
neither Ctrl-C nor a kill of the owner's process group reaches it.
"""
