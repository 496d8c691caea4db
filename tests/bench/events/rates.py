"""How many events a second: from a table through everything to their effects, and from a stream to them."""

import asyncio
from pathlib import Path

from carrick import outbox
from carrick.ids import random_id
from carrick.messaging.nats import NatsBroker
from carrick.store.postgres import PostgresDatabase
from carrick.testing import NatsServer, PostgresServer
from tests.bench.events.backlog import fill_outbox, fill_stream
from tests.bench.events.processes import consumer, heard, line, process
from tests.bench.outbox.scratch import scratch

__all__ = ["Chain", "Stream"]


class Chain:
    """A table of so many events, which every run drains a copy of: relay and consumer are processes of their own."""

    def __init__(self, count: int, postgres: PostgresServer) -> None:
        self.count = count
        self._postgres = postgres
        self._name = f"backlog_{random_id()[:16]}"
        asyncio.run(self._fill())

    def run(self, kind: str) -> float:
        """Return events a second, from the relay's start to the last effect."""
        return asyncio.run(self._run(kind))

    async def _fill(self) -> None:
        url = self._postgres.create_database(self._name)
        async with PostgresDatabase(url, migrations=[outbox.MIGRATIONS]) as database:
            await fill_outbox(database, self.count)
        self._postgres.sql("VACUUM ANALYZE", url=url)  # as the server does by itself, sooner or later

    async def _run(self, kind: str) -> float:
        name = f"chain_{random_id()[:16]}"
        source, target = self._postgres.url_of(name), self._postgres.create_database()
        self._postgres.sql(f'CREATE DATABASE "{name}" TEMPLATE "{self._name}"')
        with scratch() as folder, NatsServer(folder / "nats") as server:
            async with (
                consumer(server.url, "bench", kind, target, self.count) as consuming,
                process("events.relay", source, server.url) as relaying,
            ):
                began = float(await line(relaying))
                ended = (await heard(consuming)).ended
        self._postgres.drop_database(source)
        self._postgres.drop_database(target)
        return self.count / (ended - began)


class Stream:
    """A stream of so many events, which every run consumes anew."""

    def __init__(self, count: int, server: NatsServer, folder: Path, postgres: PostgresServer) -> None:
        self.count = count
        self._server = server
        self._folder = folder
        self._postgres = postgres
        asyncio.run(self._fill())

    def run(self, kind: str, dialect: str = "") -> float:
        """Return events a second, from a consumer's start to the last effect."""
        return asyncio.run(self._run(kind, dialect))

    async def _fill(self) -> None:
        async with NatsBroker(self._server.url, name="bench") as broker:
            await fill_stream(broker, self.count)

    async def _run(self, kind: str, dialect: str) -> float:
        name = f"bench_{random_id()[:16]}"
        where = self._postgres.create_database() if dialect == "postgres" else str(self._folder / f"{name}.db")
        async with consumer(self._server.url, name, kind, where, self.count) as consuming:
            told = await heard(consuming)
        if dialect == "postgres":
            self._postgres.drop_database(where)
        return self.count / (told.ended - told.began)
