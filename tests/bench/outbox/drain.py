"""How fast a full table is drained: the relay, and a bare loop with the same batches, turn by turn."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from carrick import outbox
from carrick.messaging.nats import NatsBroker
from carrick.observe import ignore
from carrick.outbox import Relay, RelayOptions
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer, PostgresServer
from tests.bench.outbox import bare
from tests.bench.outbox.rows import fill

__all__ = ["CASES", "drain"]

CASES = ("sqlite", "postgres")
_OPTIONS = RelayOptions(flush=600.0)


def drain(case: str, *, always: bool, plain: bool, count: int, postgres: PostgresServer) -> float:
    """Drain ``count`` rows of a new table into a new stream; return events a second."""
    return asyncio.run(_drain(case, always=always, plain=plain, count=count, postgres=postgres))


async def _drain(case: str, *, always: bool, plain: bool, count: int, postgres: PostgresServer) -> float:
    with TemporaryDirectory() as folder, NatsServer(Path(folder) / "nats", sync_always=always) as server:
        async with _database(case, Path(folder), postgres) as (database, where):
            await fill(database, count)
            async with NatsBroker(server.url, name="bench") as broker:
                await broker.ensure_stream("ORDERS", ["orders.>"])
                began = time.perf_counter()
                if plain:
                    done = await (
                        bare.drain_sqlite(where, server.url)
                        if isinstance(where, Path)
                        else bare.drain_postgres(where, server.url)
                    )
                else:
                    relay = Relay(database, broker, options=_OPTIONS, observe=ignore)
                    await relay.stop()
                    done = relay.processed
                took = time.perf_counter() - began
    assert done == count, (done, count)
    return count / took


@asynccontextmanager
async def _database(
    case: str, folder: Path, postgres: PostgresServer
) -> AsyncIterator[tuple[SqliteDatabase | PostgresDatabase, Path | str]]:
    if case == "sqlite":
        async with SqliteDatabase(folder / "outbox.db", migrations=[outbox.MIGRATIONS]) as sqlite:
            yield sqlite, folder / "outbox.db"
        return
    url = postgres.create_database()
    async with PostgresDatabase(url, migrations=[outbox.MIGRATIONS]) as database:
        yield database, url
    postgres.drop_database(url)
