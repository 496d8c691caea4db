"""How fast a full table is drained: the relay, and a bare loop with the same batches, turn by turn."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from carrick import outbox
from carrick.ids import random_id
from carrick.messaging.nats import NatsBroker
from carrick.observe import ignore
from carrick.outbox import Relay, RelayOptions
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.store.transaction import Database
from carrick.testing import NatsServer, PostgresServer
from tests.bench.outbox import bare
from tests.bench.outbox.rows import fill
from tests.bench.outbox.scratch import scratch

__all__ = ["CASES", "Backlog", "drain"]

CASES = ("postgres", "sqlite")
_OPTIONS = RelayOptions(flush=600.0)


class Backlog:
    """Tables with so many events, which every run gets a copy of."""

    def __init__(self, count: int, folder: Path, postgres: PostgresServer) -> None:
        self.count = count
        self._folder = folder
        self._postgres = postgres
        self._file = folder / "backlog.db"
        self._name = f"backlog_{random_id()[:16]}"
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        async with SqliteDatabase(self._file, migrations=[outbox.MIGRATIONS]) as sqlite:
            await fill(sqlite, self.count)
        url = self._postgres.create_database(self._name)
        async with PostgresDatabase(url, migrations=[outbox.MIGRATIONS]) as database:
            await fill(database, self.count)
        self._postgres.sql("VACUUM ANALYZE", url=url)  # as the server does by itself, sooner or later

    @asynccontextmanager
    async def copy(self, case: str) -> AsyncIterator[tuple[Database, Path | str]]:
        """Return an open database of its own, and where it is."""
        name = f"bench_{random_id()[:16]}"
        if case == "sqlite":
            path = self._folder / f"{name}.db"
            shutil.copyfile(self._file, path)
            async with SqliteDatabase(path, migrations=[outbox.MIGRATIONS]) as sqlite:
                yield sqlite, path
            path.unlink()
            return
        url = self._postgres.url_of(name)
        self._postgres.sql(f'CREATE DATABASE "{name}" TEMPLATE "{self._name}"')
        async with PostgresDatabase(url, migrations=[outbox.MIGRATIONS]) as database:
            yield database, url
        self._postgres.drop_database(url)


def drain(backlog: Backlog, case: str, *, always: bool, plain: bool) -> float:
    """Drain a copy of the backlog into a new stream; return events a second."""
    return asyncio.run(_drain(backlog, case, always=always, plain=plain))


async def _drain(backlog: Backlog, case: str, *, always: bool, plain: bool) -> float:
    with scratch() as folder, NatsServer(folder / "nats", sync_always=always) as server:
        async with backlog.copy(case) as (database, where), NatsBroker(server.url, name="bench") as broker:
            await broker.ensure_stream("ORDERS", ["orders.>"])
            began = time.perf_counter()
            if not plain:
                done = await _relayed(database, broker)
            elif isinstance(where, Path):
                done = await bare.drain_sqlite(where, server.url)
            else:
                done = await bare.drain_postgres(where, server.url)
            took = time.perf_counter() - began
    assert done == backlog.count, (done, backlog.count)
    return done / took


async def _relayed(database: Database, broker: NatsBroker) -> int:
    relay = Relay(database, broker, options=_OPTIONS, observe=ignore)
    await relay.stop()  # publishes what is left
    return relay.processed
