"""A SQLite database that can't be written for a while: its disk is full, or another process holds its lock.

The limit of a process's files (``RLIMIT_FSIZE``) makes every write fail, to the log and to the database, as a full disk
does; it is set and lifted from outside while the process runs.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
import pytest

from carrick.errors import StoreError
from carrick.messaging.contract import Message
from carrick.messaging.nats import NatsBroker
from carrick.outbox import MIGRATIONS, Outbox, Relay
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.acceptance.relays import (
    OPTIONS,
    AnyDatabase,
    all_published,
    audit,
    counts,
    database_at,
    stands_still,
    write_each,
)
from tests.unit.testing.programs import Program, program, until

ME = "tests.acceptance.test_relay_disk"
RELAY = "tests.acceptance.relays"
FULL = "disk I/O error (SQLITE_IOERR_WRITE)"
_HOLD = """
import sqlite3, sys, threading
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
threading.Event().wait()
"""


def _fill_the_disk_of(process: Program) -> None:
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (4096, psutil.RLIM_INFINITY))


def _make_room_for(process: Program) -> None:
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))


async def _says(process: Program, what: str, *, errors: bool = False) -> None:
    """Read what a process prints, until a line has that in it."""
    output = process.stderr if errors else process.stdout
    assert output is not None
    async with asyncio.timeout(20):
        while what not in (line := await asyncio.to_thread(output.readline)):
            assert line, f"it ended without {what!r}"


async def test_a_relay_whose_disk_is_full_goes_on_when_there_is_room(
    stream: NatsServer, processes: ExitStack, tmp_path: Path
) -> None:
    """It has published and can't mark; that says what is wrong, and what is stored is found, not stored again."""
    async with database_at(str(tmp_path / "outbox.db")) as database:
        armed = ("after the acknowledgement", "1", "SIGSTOP")
        path = str(tmp_path / "outbox.db")
        relay = processes.enter_context(program("-m", RELAY, "relay", path, stream.url, *armed))
        written = await write_each(database)
        await stands_still(relay)
        _fill_the_disk_of(relay)
        relay.send_signal(signal.SIGCONT)
        await _says(relay, FULL, errors=True)
        async with NatsBroker(stream.url, name="audit") as broker:
            holding = await broker.holding("ORDERS")
            assert holding is not None
            assert holding.messages > 0
            assert await counts(database) == (written, 0)
            written += await write_each(database)
            await _says(relay, FULL, errors=True)
            assert await counts(database) == (written, 0)
            _make_room_for(relay)
            await until(partial(all_published, database))
            assert relay.poll() is None
            assert await audit(database, broker) == written


async def test_writers_and_relay_on_a_full_disk_lose_and_double_nothing(
    stream: NatsServer, processes: ExitStack, tmp_path: Path
) -> None:
    """The disk is full and has room again, three times, in the middle of everything; what was refused is not there."""
    path = str(tmp_path / "outbox.db")
    async with database_at(path) as database:
        writer = processes.enter_context(program("-m", ME, path))
        relay = processes.enter_context(program("-m", RELAY, "relay", path, stream.url))
        for _ in range(3):
            await _says(writer, "written")
            _, before = await counts(database)
            await until(partial(_more_published, database, before + 20))
            for process in (relay, writer):
                _fill_the_disk_of(process)
            await _says(relay, FULL, errors=True)
            await _says(writer, FULL)
            for process in (writer, relay):
                _make_room_for(process)
        await _says(writer, "written")
        writer.kill()
        await asyncio.to_thread(writer.wait)
        await until(partial(all_published, database))
        assert relay.poll() is None
        async with NatsBroker(stream.url, name="audit") as broker:
            count = await audit(database, broker)
        async with database.read() as tx:
            rows = (await tx.execute("SELECT payload FROM carrick_outbox ORDER BY seq")).all()
        assert [OrderPlaced.FromString(row.payload).total for row in rows] == list(range(count))


class Locking(NatsBroker):
    """Has another process take the database's lock before the first acknowledgement is told."""

    def __init__(self, url: str, path: str, processes: ExitStack) -> None:
        super().__init__(url, name="relay")
        self._path = path
        self._processes = processes
        self.holder: Program | None = None

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        """Store, lock, then acknowledge."""
        last = await super().append(messages, expected)
        if self.holder is None:
            self.holder = self._processes.enter_context(program("-c", _HOLD, self._path))
            await _says(self.holder, "ready")
        return last


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """Return a database that waits for others' locks for a fifth of a second."""
    async with SqliteDatabase(tmp_path / "outbox.db", migrations=[MIGRATIONS], busy_timeout=0.2) as database:
        yield database


async def test_a_lock_held_too_long_loses_and_doubles_nothing(
    impatient: SqliteDatabase, stream: NatsServer, processes: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """The relay has published, and can't mark until the process that holds the lock has gone; writers are told."""
    written = await write_each(impatient)
    async with (
        Locking(stream.url, str(impatient.path), processes) as broker,
        Relay(impatient, broker, options=OPTIONS) as relay,
    ):
        await until(lambda: caplog.text.count("database is locked (SQLITE_BUSY)") > 2)
        assert await counts(impatient) == (written, 0)
        with pytest.raises(StoreError, match="database is locked"):
            await write_each(impatient)
        assert broker.holder is not None
        broker.holder.kill()
        await until(partial(all_published, impatient))
        written += await write_each(impatient)
        await settle(relay)
        assert await audit(impatient, broker) == written


async def _more_published(database: AnyDatabase, count: int) -> bool:
    return (await counts(database))[1] > count


async def _write(path: str) -> None:
    """Write numbers until killed, each until it is written; say when that begins to succeed, or to fail and why."""
    said, number = "", 0
    async with database_at(path) as database:
        while True:
            try:
                async with database.transaction() as tx:
                    event = OrderPlaced(order_id=f"k{number % 20}", total=number)
                    await Outbox("orders").write(tx, ORDER_PLACED, event)
            except StoreError as error:
                outcome = str(error)
            else:
                outcome, number = "written", number + 1
            if outcome != said:
                print(outcome, flush=True)
            said = outcome


if __name__ == "__main__":
    asyncio.run(_write(*sys.argv[1:]))
