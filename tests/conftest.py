"""Fixtures of the framework's own tests: those that users get, and a PostgreSQL that all tests share."""

from collections.abc import Iterator

import pytest

from carrick.testing import PostgresServer

pytest_plugins = ["carrick.testing.fixtures"]


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PostgresServer]:
    """A server for all tests of the session: take a database of your own."""
    with PostgresServer(fsync=False) as server:
        yield server


@pytest.fixture
def postgres_url(shared_postgres: PostgresServer) -> Iterator[str]:
    """URL of an empty PostgreSQL database of this test's own."""
    url = shared_postgres.create_database()
    yield url
    shared_postgres.drop_database(url)
