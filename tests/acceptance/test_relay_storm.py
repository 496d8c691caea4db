"""Writers, relays and servers that are killed and frozen at random, all at once; then the stream is compared.

``make torture-outbox`` does it with 100,000 events over 1,000 keys, ``make test`` with a few thousand.
"""

import asyncio
import os
import random
import signal
from contextlib import ExitStack
from math import ceil
from pathlib import Path

import pytest

from carrick.messaging.nats import NatsBroker
from carrick.outbox import Relay
from carrick.testing import NatsServer, PostgresServer, settle
from tests.acceptance.relays import OPTIONS, audit, database_at
from tests.unit.testing.programs import Program, program

ME = "tests.acceptance.relays"
EVENTS = int(os.environ.get("CARRICK_STORM_EVENTS", "3000"))
WRITERS = 3
RELAYS = 3


class Storm:
    """Relays that come and go, and a broker that does."""

    def __init__(self, where: str, server: NatsServer, postgres: PostgresServer | None, stack: ExitStack) -> None:
        self._where = where
        self._server = server
        self._postgres = postgres
        self._stack = stack
        self._relays = [self._relay() for _ in range(RELAYS)]
        self._frozen: list[Program] = []
        self.happened: dict[str, int] = {}

    async def go_on(self) -> None:
        """Let one thing happen."""
        what = random.choices(
            ("kill a relay", "freeze a relay", "wake the relays", "kill nats", "freeze nats", "kill postgres"),
            (4, 4, 4, 2, 1, 1 if self._postgres else 0),
        )[0]
        self.happened[what] = self.happened.get(what, 0) + 1
        index = random.randrange(RELAYS)
        match what:
            case "kill a relay":
                self._relays[index].kill()
                self._relays[index] = self._relay()
            case "freeze a relay":
                self._relays[index].send_signal(signal.SIGSTOP)
                self._frozen.append(self._relays[index])
                self._relays[index] = self._relay()
            case "wake the relays":
                self.wake()
            case "kill nats":
                self._server.kill()
                await asyncio.sleep(random.uniform(0, 0.5))
                self._server.start()
            case "freeze nats":
                self._server.freeze()
                await asyncio.sleep(random.uniform(0.5, 2.0))
                self._server.thaw()
            case "kill postgres" if self._postgres:
                await asyncio.to_thread(self._postgres.kill)
                await asyncio.to_thread(self._postgres.start)

    def wake(self) -> None:
        """Let the frozen relays go on, and then die: there would be more and more of them."""
        for relay in self._frozen:
            relay.send_signal(signal.SIGCONT)
        for relay in self._frozen[:-1]:
            relay.kill()
        self._frozen = self._frozen[-1:]

    def _relay(self) -> Program:
        return self._stack.enter_context(program("-m", ME, "relay", self._where, self._server.url))


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> PostgresServer | None:
    """Return a server of this test's own, where it is on PostgreSQL."""
    server: PostgresServer | None = request.getfixturevalue("postgres_server") if request.param else None
    return server


@pytest.mark.parametrize("postgres", [False, True], indirect=True, ids=["sqlite", "postgresql"])
async def test_whatever_is_killed_or_frozen_nothing_is_lost_doubled_or_out_of_turn(
    tmp_path: Path, stream: NatsServer, postgres: PostgresServer | None, processes: ExitStack
) -> None:
    """Writers end, the storm ends, a last relay publishes the rest; then table and stream are the same."""
    where = str(tmp_path / "outbox.db") if postgres is None else postgres.create_database()
    async with database_at(where):
        pass
    writers = [
        processes.enter_context(program("-m", ME, "write", where, str(ceil(EVENTS / WRITERS)))) for _ in range(WRITERS)
    ]
    storm = Storm(where, stream, postgres, processes)
    while any(writer.poll() is None for writer in writers):
        await asyncio.sleep(random.uniform(0.1, 1.0))
        await storm.go_on()
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    storm.wake()
    async with database_at(where) as database, NatsBroker(stream.url, name="last") as broker:
        async with Relay(database, broker, options=OPTIONS) as relay:
            await settle(relay, timeout=120)
        count = await audit(database, broker)
    print(f"{count} events, {storm.happened}")
    assert count >= EVENTS
