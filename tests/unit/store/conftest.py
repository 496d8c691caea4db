"""Databases of the store's tests: each test that asks for one runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.store.places import AnyDatabase, Place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return where the databases of a test are."""
    return Place(tmp_path / "test.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(place: Place) -> AsyncIterator[AnyDatabase]:
    """Return a new database with the store's tables."""
    async with place.database() as opened:
        yield opened
