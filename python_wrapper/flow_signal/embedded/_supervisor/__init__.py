"""The process between an EmbeddedServer and its PostgreSQL: starts it, outlives the owner, cleans up.

It is a Python of its own with the standard library alone and a session of its own, so that
neither Ctrl-C nor a kill of the owner's process group reaches it. If it is killed itself, PostgreSQL
ends with it (on Linux), and the owner's `stop` removes the folder.
"""
