"""flow-signal beside its rivals and the limit, on one server. `python -m bench.rivals --help`"""
