"""The command line: `flow-signal`, also `python -m flow_signal`."""


def main() -> None:
    from ._process import run  # importing this package alone does not load the commands

    run()
