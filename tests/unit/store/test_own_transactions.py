"""The framework's own small transactions on SQLite: in one hop, sharing commits with whoever waits at the same time."""

from pathlib import Path
from typing import NoReturn

import pytest

from carrick import store
from carrick.claim import Claimed
from carrick.store import IdempotencyRecords, Inbox
from carrick.store.sqlite import SqliteDatabase
from tests.unit.calls import KEYED


class Hurried(SqliteDatabase):
    """A database on which nobody has the time for one hop a statement."""

    def transaction(self) -> NoReturn:
        """Refuse."""
        pytest.fail("a transaction that hops to a thread for each statement")


async def test_records_and_inbox_take_one_hop(tmp_path: Path) -> None:
    """Each of a record's steps, and removing what was kept long enough."""
    async with SqliteDatabase(tmp_path / "a.db", migrations=[store.MIGRATIONS]):
        pass
    database = Hurried(tmp_path / "a.db")
    await database.connect()
    records = IdempotencyRecords(database)
    for ended in (False, True):
        outcome = await records.claim(KEYED, "k", b"f", 30.0)
        assert isinstance(outcome, Claimed)
        assert await records.renew(outcome.claim, 30.0)
        if ended:
            assert await records.refuse(outcome.claim, b"status")
        await records.release(outcome.claim)
    assert (await records.purge(), await Inbox(database).purge()) == (0, 0)
    await database.close()
