"""Claims against a model: whatever is done with them, in any order, at any time of the database's clock."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from unittest.mock import patch

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, event

from carrick import CarrickError, Code, IdempotencyOptions, KeyRule, MethodPolicy, MethodSpec, status, store
from carrick.claim import Claim, Claimed, ClaimOutcome, InFlight, Mismatch, Refusal, Replay
from carrick.context import Call, Context, enter
from carrick.store import IdempotencyRecords
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.store.sqlite_connection import connect
from carrick.testing import PostgresServer
from shop.orders.v1.orders_pb2 import PlaceOrderRequest, PlaceOrderResponse
from tests.unit.store.places import AnyDatabase

T = TypeVar("T")

EXPIRY = 100.25
METHOD = MethodSpec(
    service="test.v1.Tests",
    name="Keyed",
    request=PlaceOrderRequest,
    response=PlaceOrderResponse,
    policy=MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.REQUIRED, expiry=EXPIRY)),
)
KEYS = st.sampled_from(["k1", "k2"])
FINGERPRINTS = st.sampled_from([b"f1", b"f2"])
_EFFECT = "INSERT INTO effects VALUES (:number, :token)"
LEASES = st.sampled_from([10.5, 30.5, 150.5])


@dataclass
class Record:
    """What the model knows of one key."""

    fingerprint: bytes
    token: str
    lease_until: float
    expires_at: float
    answer: Replay | Refusal | None = None


class World(Protocol):
    """Where the machine's two databases are, and what time their clock tells."""

    now: float

    def database(self) -> AnyDatabase:
        """Return a database there, to be opened."""
        ...

    async def set_clock(self) -> None:
        """Have the databases tell ``now``."""
        ...

    def close(self) -> None:
        """Remove it."""
        ...


class SqliteWorld:
    """A file, and in place of SQLite's ``julianday`` one that tells another time."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._folder = tempfile.TemporaryDirectory()
        event.listen(Engine, "connect", self._connected)
        self._own_thread = patch("carrick.store.sqlite.connect", self._connect)
        self._own_thread.start()

    def database(self) -> AnyDatabase:
        """Return a database on the file."""
        return SqliteDatabase(Path(self._folder.name) / "m.db", migrations=[store.MIGRATIONS], readers=1)

    async def set_clock(self) -> None:
        """Nothing to do: the function reads ``now``."""

    def close(self) -> None:
        """Leave later connections alone."""
        event.remove(Engine, "connect", self._connected)
        self._own_thread.stop()
        self._folder.cleanup()

    def _connected(self, connection: Any, record: object) -> None:
        connection.create_function("julianday", 1, self._julian_day)

    def _connect(self, path: Path, busy_timeout: float) -> sqlite3.Connection:
        connection = connect(path, busy_timeout)
        self._connected(connection, None)
        return connection

    def _julian_day(self, _: str) -> float:
        return 2440587.5 + self.now / 86400.0


class PostgresWorld:
    """A database of its own, where a ``clock_timestamp`` is found before PostgreSQL's."""

    def __init__(self, server: PostgresServer) -> None:
        self.now = 1_000_000.0
        self._server = server
        self._url = server.create_database()
        server.sql(
            "CREATE SCHEMA fake; CREATE TABLE fake.clock (now DOUBLE PRECISION);"
            f"INSERT INTO fake.clock VALUES ({self.now});"
            "CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
            " AS 'SELECT to_timestamp(now) FROM fake.clock'",
            url=self._url,
        )
        self._setting = PostgresDatabase(self._url, writers=1, readers=1)

    def database(self) -> AnyDatabase:
        """Return a database that looks there first."""
        url = f"{self._url}?search_path=public,fake,pg_catalog"
        return PostgresDatabase(url, migrations=[store.MIGRATIONS], readers=1, writers=2)

    async def set_clock(self) -> None:
        """Write the time."""
        async with self._setting, self._setting.transaction() as tx:
            await tx.execute("UPDATE fake.clock SET now = :now", {"now": self.now})

    def close(self) -> None:
        """Remove the database."""
        self._server.drop_database(self._url)


class ClaimMachine(RuleBasedStateMachine):
    """Does to the database and to the model the same, and compares what comes back and what had an effect.

    Two databases are open on one place, as in two processes. Leases end at half seconds, the clock moves in whole ones.
    """

    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = world
        self.model: dict[str, Record] = {}
        self.effects: list[str] = []

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        """Open an empty database, twice."""
        self.database, self.other = self.world.database(), self.world.database()
        self.records, self.others = IdempotencyRecords(self.database), IdempotencyRecords(self.other)
        self._run(self.database.open())
        self._run(self.other.open())
        self._run(self._execute("CREATE TABLE effects (number INTEGER, token TEXT)"))

    def teardown(self) -> None:
        """Close it."""
        if hasattr(self, "database"):
            self._run(self.database.close())
            self._run(self.other.close())
        self.runner.close()
        self.world.close()

    @rule(seconds=st.sampled_from([1.0, 10.0, 20.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        """Let leases lapse and records expire."""
        self.world.now += seconds
        self._run(self.world.set_clock())

    @rule(target=claims, key=KEYS, fingerprint=FINGERPRINTS, lease=LEASES)
    def claim(self, key: str, fingerprint: bytes, lease: float) -> Any:
        """Claim a key."""
        outcome = self._run(self.records.claim(METHOD, key, fingerprint, lease))
        return self._compare(outcome, key, fingerprint, lease)

    @rule(target=claims, key=KEYS, fingerprint=FINGERPRINTS, lease=LEASES)
    def race(self, key: str, fingerprint: bytes, lease: float) -> Any:
        """Claim a key from both sides at once: one of them comes first, whichever."""

        async def both() -> list[ClaimOutcome]:
            each = [records.claim(METHOD, key, fingerprint, lease) for records in (self.records, self.others)]
            return await asyncio.gather(*each)

        first, second = sorted(self._run(both()), key=lambda outcome: not isinstance(outcome, Claimed))
        claimed = self._compare(first, key, fingerprint, lease)
        self._compare(second, key, fingerprint, lease)
        return claimed

    @rule(claim=claims)
    def fulfil(self, claim: Claim) -> None:
        """Commit an effect with the reply, or be aborted."""
        if self._holds(claim):
            self.model[claim.key].answer = Replay(self._run(self._handle(claim)))
            self.effects.append(claim.token)
            return
        with pytest.raises(CarrickError, match="ABORTED"):
            self._run(self._handle(claim))

    @rule(claim=claims)
    def refuse_with_an_effect(self, claim: Claim) -> None:
        """Commit an effect with an error, or be aborted."""
        if self._holds(claim):
            self.model[claim.key].answer = self._run(self._handle_refusing(claim))
            self.effects.append(claim.token)
            return
        with pytest.raises(CarrickError, match="ABORTED"):
            self._run(self._handle_refusing(claim))

    @rule(claim=claims)
    def refuse(self, claim: Claim) -> None:
        """Record an error that had no effect."""
        refusal = Refusal(f"{claim.token} failed".encode())
        holds = self._holds(claim)
        assert self._run(self.records.refuse(claim, refusal.status)) == holds
        if holds:
            self.model[claim.key].answer = refusal

    @rule(claim=claims, lease=LEASES)
    def renew(self, claim: Claim, lease: float) -> None:
        """Hold a claim longer."""
        holds = self._holds(claim)
        assert self._run(self.records.renew(claim, lease)) == holds
        if holds:
            record = self.model[claim.key]
            record.lease_until = self.world.now + lease
            record.expires_at = max(record.expires_at, record.lease_until)

    @rule(claim=consumes(claims))
    def release(self, claim: Claim) -> None:
        """Give a claim back."""
        self._run(self.records.release(claim))
        if self._holds(claim):
            self.model[claim.key].token, self.model[claim.key].lease_until = "", 0.0

    @rule(most=st.integers(1, 2))
    def purge(self, most: int) -> None:
        """Remove expired records, the longest expired first."""
        gone = sorted(
            (key for key, record in self.model.items() if record.expires_at <= self.world.now),
            key=lambda key: self.model[key].expires_at,
        )
        assert self._run(self.records.purge(most=most)) == min(most, len(gone))
        if len({self.model[key].expires_at for key in gone}) == len(gone):
            gone = gone[:most]
        left = self._run(self._column("SELECT key FROM carrick_idempotency"))
        assert set(self.model) - set(left) <= set(gone)
        self.model = {key: record for key, record in self.model.items() if key in left}

    @invariant()
    def effects_are_those_of_who_held_the_claim(self) -> None:
        """Every effect has its answer and no other effect is there."""
        if hasattr(self, "records"):
            assert self._run(self._column("SELECT token FROM effects ORDER BY number")) == self.effects

    def _holds(self, claim: Claim) -> bool:
        """Say whether a claim may still be answered, released and renewed: as long as nobody else has the key."""
        record = self.model.get(claim.key)
        return record is not None and record.token == claim.token and record.answer is None

    def _compare(self, outcome: ClaimOutcome, key: str, fingerprint: bytes, lease: float) -> Any:
        """Claim a key of the model, and compare."""
        record, now = self.model.get(key), self.world.now
        if (
            record is None
            or record.expires_at <= now
            or (record.answer is None and record.lease_until <= now and record.fingerprint == fingerprint)
        ):
            assert isinstance(outcome, Claimed)
            token = outcome.claim.token
            self.model[key] = Record(fingerprint, token, now + lease, now + max(lease, EXPIRY))
            return outcome.claim
        if record.fingerprint != fingerprint:
            assert outcome == Mismatch()
        elif record.answer is None:
            assert isinstance(outcome, InFlight)
            assert outcome.remaining == pytest.approx(record.lease_until - now, abs=0.01)
        else:
            assert outcome == record.answer
        return multiple()

    async def _handle(self, claim: Claim) -> bytes:
        call = Call()
        call.claim = claim
        with enter(Context(METHOD, call=call)):
            async with self.database.transaction() as tx:
                await tx.execute(_EFFECT, {"number": len(self.effects), "token": claim.token})
                reply = await tx.reply(PlaceOrderResponse(order_id=claim.token))
                return reply.SerializeToString()

    async def _handle_refusing(self, claim: Claim) -> Refusal:
        call, refusal = Call(), CarrickError(Code.FAILED_PRECONDITION, claim.token)
        call.claim = claim
        with enter(Context(METHOD, call=call)):
            async with self.database.transaction() as tx:
                await tx.execute(_EFFECT, {"number": len(self.effects), "token": claim.token})
                await tx.refuse(refusal)
        return Refusal(status.encoded(refusal.code, refusal.message))

    async def _execute(self, sql: str, **parameters: str) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(sql, parameters)

    async def _column(self, sql: str) -> list[str]:
        async with self.database.read() as tx:
            return [row[0] for row in (await tx.execute(sql)).all()]


def _run(world: Callable[[], World]) -> None:
    machine: Any = lambda: ClaimMachine(world())  # noqa: E731  # any factory will do, whatever its type says
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes: each step is a commit
        ),
    )


def test_claims_on_sqlite() -> None:
    """Whatever is done, the file and the model agree."""
    _run(SqliteWorld)


def test_claims_on_postgresql(_shared_postgres: PostgresServer) -> None:  # noqa: PT019  # it has a value
    """Whatever is done, the server and the model agree."""
    _run(lambda: PostgresWorld(_shared_postgres))
