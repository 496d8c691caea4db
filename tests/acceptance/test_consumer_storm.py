"""Consumers, brokers and databases that are killed, frozen and cut off at random, all at once; then all is compared.

``make torture-consumers`` does it with 100,000 events over 1,000 keys, ``make test`` with some thousand.
"""

import asyncio
import os
import random
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

import nats
import pytest
from nats.errors import Error as NatsError

from carrick.messaging.nats import NatsBroker
from carrick.testing import NatsServer, PostgresServer
from tests.acceptance.consumers import (
    ME,
    NAME,
    Published,
    audit,
    consumer_database,
    ended_well,
    make_tables,
    settled,
)
from tests.acceptance.wire import Wire, wire_to
from tests.unit.testing.programs import Program, program

EVENTS = int(os.environ.get("CARRICK_CONSUMER_EVENTS", "1500"))
KEYS = 1000 if EVENTS > 10_000 else 60
CONSUMERS = 3
LEAST = 14
"""So many things happen at least, however soon the events are handled."""
_WINDOW = 100.0  # in which the broker knows a dead letter that is put again: two minutes


class Storm:
    """Consumers that come and go, and all that they need."""

    def __init__(
        self, where: str, server: NatsServer, wire: Wire, postgres: PostgresServer | None, stack: ExitStack
    ) -> None:
        self._where = where
        self._server = server
        self._wire = wire
        self._postgres = postgres
        self._stack = stack
        self._frozen: list[asyncio.Task[None]] = []
        self.consumers = [self._consumer() for _ in range(CONSUMERS)]
        self.happened: dict[str, int] = {}

    async def go_on(self) -> None:
        """Let one thing happen."""
        what = random.choices(
            (
                "kill a consumer",
                "stop a consumer",
                "freeze a consumer",
                "kill nats",
                "freeze nats",
                "delete the places",
                "cut connections",
                "kill postgres",
                "cut postgres",
            ),
            (4, 1, 3, 1, 1, 2, 2, *((1, 2) if self._postgres else (0, 0))),
        )[0]
        self.happened[what] = self.happened.get(what, 0) + 1
        index = random.randrange(CONSUMERS)
        match what:
            case "kill a consumer":
                self.consumers[index].kill()
                self.consumers[index] = self._consumer()
            case "stop a consumer":
                self.consumers[index].terminate()
                self.consumers[index] = self._consumer()
            case "freeze a consumer":
                self._frozen.append(asyncio.create_task(_stands_still(self.consumers[index])))
            case "kill nats":
                self._server.kill()
                await asyncio.sleep(random.uniform(0, 0.5))
                self._server.start()
            case "freeze nats":
                self._server.freeze()
                await asyncio.sleep(random.uniform(0.5, 2.0))
                self._server.thaw()
            case "delete the places":
                await self._delete_places()
            case "cut connections":
                self._wire.cut()
            case "kill postgres" if self._postgres:
                await asyncio.to_thread(self._postgres.kill)
                await asyncio.to_thread(self._postgres.start)
            case "cut postgres" if self._postgres:
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                await asyncio.to_thread(self._postgres.sql, cut)

    async def end(self) -> None:
        """Let the frozen go on."""
        await asyncio.gather(*self._frozen)

    async def _delete_places(self) -> None:
        """Delete the consumers' places in the stream behind their backs."""
        with suppress(NatsError, TimeoutError):
            client = await nats.connect(self._server.url)
            for number in range(16):
                with suppress(NatsError, TimeoutError):
                    await client.jetstream().delete_consumer("ORDERS", f"{NAME}-p{number:02d}")
            await client.close()

    def _consumer(self) -> Program:
        return self._stack.enter_context(program("-m", ME, self._where, self._wire.url))


async def _stands_still(process: Program) -> None:
    """Have a process stand still for longer than its leases and deliveries last."""
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(random.uniform(1.5, 3.0))
    process.send_signal(signal.SIGCONT)


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> PostgresServer | None:
    """Return a server of this test's own, where it is on PostgreSQL."""
    server: PostgresServer | None = request.getfixturevalue("postgres_server") if request.param else None
    return server


@pytest.mark.skipif("CARRICK_CONSUMER_EVENTS" not in os.environ, reason="part of make torture-consumers")
@pytest.mark.parametrize("postgres", [False, True], indirect=True, ids=["sqlite", "postgresql"])
async def test_whatever_happens_each_event_has_one_effect_in_its_turn(
    tmp_path: Path, nats_server: NatsServer, postgres: PostgresServer | None, processes: ExitStack
) -> None:
    """Handlers hang, fail and are cancelled besides, and messages come twice; in the end nothing is left anywhere."""
    where = str(tmp_path / "shop.db") if postgres is None else postgres.create_database()
    async with (
        consumer_database(where) as database,
        NatsBroker(nats_server.url, name="test") as broker,
        wire_to(nats_server.port) as wire,
    ):
        await make_tables(database)
        published, began = Published(), asyncio.get_running_loop().time()
        storm = Storm(where, nats_server, wire, postgres, processes)
        publishing = asyncio.create_task(published.publish(broker, EVENTS, keys=KEYS, repeated=0.1))
        while not publishing.done() or sum(storm.happened.values()) < LEAST:
            await asyncio.sleep(random.uniform(0.1, 1.0))
            await storm.go_on()
        await publishing
        await storm.end()
        await settled(database, broker, timeout=60 + EVENTS / 100)
        await ended_well(*storm.consumers)
        soon = asyncio.get_running_loop().time() - began < _WINDOW
        print(await audit(database, broker, published, letters_once=soon), storm.happened)
