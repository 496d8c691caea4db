"""Databases of the outbox's tests that run on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carrick import outbox
from tests.unit.store.places import AnyDatabase, Place


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyDatabase]:
    """Return a new database of each kind with an outbox."""
    place = Place(tmp_path / "test.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    async with place.database(migrations=[outbox.MIGRATIONS]) as opened:
        yield opened
