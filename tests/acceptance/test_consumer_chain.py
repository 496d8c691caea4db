"""From a writer's transaction to the effects of consumers, while all between dies, freezes and is cut off."""

import asyncio
import os
import random
import signal
from collections import defaultdict
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from carrick.errors import StoreError
from carrick.messaging.nats import NatsBroker
from carrick.testing import NatsServer, PostgresServer
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.acceptance.consumers import ME, Published, audit, consumer_database, ended_well, make_tables, settled
from tests.acceptance.relays import AnyDatabase, all_published
from tests.acceptance.wire import Wire, wire_to
from tests.unit.testing.programs import Program, program, until

EVENTS = int(os.environ.get("CARRICK_CONSUMER_EVENTS", "1200")) // 2
_RELAYS = "tests.acceptance.relays"


class Chain:
    """Writers, relays and consumers of one PostgreSQL and one NATS."""

    def __init__(
        self, where: str, server: NatsServer, postgres: PostgresServer, wire: Wire, processes: ExitStack
    ) -> None:
        self._where = where
        self._server = server
        self._postgres = postgres
        self._wire = wire
        self._processes = processes
        self.writers = [self._program(_RELAYS, "write", where, str(EVENTS // 2), "30") for _ in range(2)]
        self.relays = [self._relay() for _ in range(2)]
        self.consumers = [self._consumer() for _ in range(2)]

    async def fault(self, what: str) -> None:
        """Have something go wrong, and heal it."""
        index = random.randrange(2)
        match what:
            case "a relay dies":
                self.relays[index].kill()
                self.relays[index] = self._relay()
            case "a consumer dies":
                self.consumers[index].kill()
                self.consumers[index] = self._consumer()
            case "both stand still":
                for process in (self.relays[index], self.consumers[index]):
                    process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(random.uniform(1.2, 2.0))
                for process in (self.relays[index], self.consumers[index]):
                    process.send_signal(signal.SIGCONT)
            case "nats dies":
                self._server.kill()
                self._server.start()
            case "connections are cut":
                self._wire.cut()
            case "postgres dies":
                await asyncio.to_thread(self._postgres.kill)
                await asyncio.to_thread(self._postgres.start)

    def _relay(self) -> Program:
        return self._program(_RELAYS, "relay", self._where, self._wire.url)

    def _consumer(self) -> Program:
        return self._program(ME, self._where, self._wire.url)

    def _program(self, *command: str) -> Program:
        return self._processes.enter_context(program("-m", *command))


async def _written(database: AnyDatabase) -> Published:
    """Return what the writers have committed, in its order."""
    numbers: dict[str, list[int]] = defaultdict(list)
    async with database.read() as tx:
        rows = (await tx.execute("SELECT key, payload FROM carrick_outbox ORDER BY seq")).all()
    for row in rows:
        numbers[row.key].append(OrderPlaced.FromString(row.payload).total)
    return Published(numbers=numbers, events=len(rows))


@pytest.mark.skipif("CARRICK_CONSUMER_EVENTS" not in os.environ, reason="part of make torture-consumers")
async def test_what_is_committed_has_its_effect_once_and_in_its_turn(
    nats_server: NatsServer, postgres_server: PostgresServer, processes: ExitStack
) -> None:
    """One kind of event has a handler with a transaction of its own, the other is applied; keys have both."""
    where = postgres_server.create_database()
    async with (
        consumer_database(where) as database,
        NatsBroker(nats_server.url, name="test") as broker,
        wire_to(nats_server.port) as wire,
    ):
        await make_tables(database)
        chain = Chain(where, nats_server, postgres_server, wire, processes)
        happened: dict[str, int] = defaultdict(int)
        whats = [
            "a relay dies",
            "a consumer dies",
            "both stand still",
            "nats dies",
            "connections are cut",
            "postgres dies",
        ]
        while len(whats) > sum(happened.values()) or any(writer.poll() is None for writer in chain.writers):
            what = whats[sum(happened.values()) % len(whats)]
            happened[what] += 1
            await asyncio.sleep(random.uniform(0.2, 0.8))
            await chain.fault(what)

        async def published() -> bool:
            with suppress(StoreError):
                return await all_published(database)
            return False

        assert [writer.returncode for writer in chain.writers] == [0, 0]
        await until(published, timeout=60 + EVENTS / 200)
        await until(partial(_is_there, broker))
        await settled(database, broker, timeout=60 + EVENTS / 100)
        await ended_well(*chain.consumers)
        written = await _written(database)
        assert written.events >= EVENTS
        print(await audit(database, broker, written), dict(happened))


async def _is_there(broker: NatsBroker) -> bool:
    return await broker.holding("ORDERS") is not None
