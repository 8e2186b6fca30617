"""Sessions on the database of the test, as for the claims."""

from tests_py.claims.conftest import a, b, connection, run, stage

__all__ = ["a", "b", "connection", "run", "stage"]
