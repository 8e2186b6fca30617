"""The command line: `flow-signal`, also `python -m flow_signal`."""


def main() -> None:
    from ._app import run  # what only imports this package does not pay for the commands

    run()
