"""Works of every kind, at the same time, against a model: what is there is what was acknowledged, whole."""

import asyncio
import functools
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carrick.errors import StoreError
from carrick.store import SyncTransaction
from carrick.store.sqlite import GroupOptions, SqliteDatabase
from tests.unit.store.faulty import FaultyConnection, connect_faulty, io_error

STATEMENTS = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK TO", "COMMIT", "INSERT INTO orders", "INSERT INTO events")


class Kind(Enum):
    """What a caller does."""

    WORK = "run a work"
    RAISE = "run a work that raises after it has written"
    CATCH = "run a work that fails at a constraint and goes on"
    LOSE = "run a work at which SQLite rolls the whole transaction back"
    CANCEL = "run a work, and be cancelled"
    TRANSACTION = "write in a transaction of several hops"
    TRANSACTION_RAISE = "raise at the end of one"


@dataclass(frozen=True)
class Step:
    """What callers do at the same time, and at which of the writer's statements the disk fails, if at any."""

    callers: Sequence[tuple[Kind, int]]
    fault: tuple[str, int] | None


STEPS = st.lists(
    st.builds(
        Step,
        st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 6)), min_size=1, max_size=10),
        st.none() | st.tuples(st.sampled_from(STATEMENTS), st.integers(0, 4)),
    ),
    min_size=1,
    max_size=5,
)


class BoomError(Exception):
    """A user's own error."""


class World:
    """The database, and what was acknowledged."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self.committed: list[int] = []
        self.next = 1

    def work(self, number: int, kind: Kind, tx: SyncTransaction) -> int:
        """Write both rows, and do what is wrong with this one between or behind them."""
        tx.after_commit(lambda: self.committed.append(number))
        tx.execute("INSERT INTO orders VALUES (:id)", {"id": number})
        if kind is Kind.CATCH:
            with pytest.raises(Exception, match=r"UNIQUE|disk I/O"):
                tx.execute("INSERT INTO orders VALUES (:id)", {"id": number})
        if kind is Kind.LOSE:
            tx.execute("INSERT OR ROLLBACK INTO orders VALUES (:id)", {"id": number})
        tx.execute("INSERT INTO events VALUES (:id)", {"id": number})
        if kind is Kind.RAISE:
            raise BoomError
        return number

    async def call(self, number: int, kind: Kind) -> int:
        """Be a caller."""
        if kind not in (Kind.TRANSACTION, Kind.TRANSACTION_RAISE):
            return await self.database.run(functools.partial(self.work, number, kind))
        async with self.database.transaction() as tx:
            tx.after_commit(lambda: self.committed.append(number))
            await tx.execute("INSERT INTO orders VALUES (:id)", {"id": number})
            await tx.execute("INSERT INTO events VALUES (:id)", {"id": number})
            if kind is Kind.TRANSACTION_RAISE:
                raise BoomError
        return number

    async def cancelled(self, number: int, delay: int) -> int:
        """Be a caller that is cancelled a little later."""
        task = asyncio.create_task(self.call(number, Kind.WORK))
        for _ in range(delay):
            await asyncio.sleep(0.0002)
        task.cancel()
        return await task

    async def step(self, step: Step) -> None:
        """Have all do what they do, and compare."""
        numbers = range(self.next, self.next + len(step.callers))
        self.next = numbers.stop
        before = set(self.committed)
        FaultyConnection.faults.clear()
        if step.fault:
            FaultyConnection.fail(step.fault[0], io_error(), after=step.fault[1])
        results = await asyncio.gather(
            *(
                self.cancelled(number, delay) if kind is Kind.CANCEL else self.call(number, kind)
                for number, (kind, delay) in zip(numbers, step.callers, strict=True)
            ),
            return_exceptions=True,
        )
        await self.compare()
        lost = any(kind is Kind.LOSE for kind, _ in step.callers)
        for number, (kind, _), result in zip(numbers, step.callers, results, strict=True):
            there = number in set(self.committed) - before
            if isinstance(result, asyncio.CancelledError):
                assert kind is Kind.CANCEL  # either way
            elif isinstance(result, BaseException):
                assert not there, (number, kind, result)
                assert kind in (Kind.RAISE, Kind.LOSE, Kind.TRANSACTION_RAISE) or (
                    isinstance(result, StoreError) and (lost or step.fault)
                ), (kind, result)
            else:
                assert there, (number, kind)
                assert result == number
                assert kind not in (Kind.RAISE, Kind.LOSE, Kind.TRANSACTION_RAISE)

    async def compare(self) -> None:
        """What is there is what was acknowledged, each with both its rows, and once."""
        async with self.database.read() as tx:
            for table in ("orders", "events"):
                rows = (await tx.execute(f"SELECT id FROM {table} ORDER BY id")).all()
                assert [row.id for row in rows] == sorted(self.committed), table


async def _play(path: Path, steps: Sequence[Step], options: GroupOptions) -> None:
    async with SqliteDatabase(path, groups=options) as database:
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            await tx.execute("CREATE TABLE events (id INTEGER PRIMARY KEY)")
        world = World(database)
        for step in steps:
            await world.step(step)
        FaultyConnection.faults.clear()
        number = world.next
        assert await world.call(number, Kind.WORK) == number  # whatever happened, it goes on
        await world.compare()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, most=st.sampled_from([1, 3, 128]), time=st.sampled_from([1e-9, 1.0]))
def test_what_is_there_is_what_was_acknowledged(
    monkeypatch: pytest.MonkeyPatch, steps: Sequence[Step], most: int, time: float
) -> None:
    """Whatever callers do at the same time, and wherever the disk fails."""
    monkeypatch.setattr("carrick.store.sqlite.connect", connect_faulty)
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(_play(Path(folder) / "shop.db", steps, GroupOptions(most=most, time=time)))
        finally:
            FaultyConnection.faults.clear()
    assert not any(thread.name == "carrick-sqlite-writer" for thread in threading.enumerate())
