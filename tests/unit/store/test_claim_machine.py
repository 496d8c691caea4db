"""Claims against a model: any order of claiming, fulfilling, releasing, lapsing, expiring and purging."""

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from carrick import store
from carrick.claim import Claim, Claimed, InFlight, Mismatch, Replay
from carrick.context import Call, Context, enter
from carrick.errors import CarrickError
from carrick.store import IdempotencyRecords
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import PLACE_ORDER
from shop.orders.v1.orders_pb2 import PlaceOrderResponse

T = TypeVar("T")

KEYS = st.sampled_from(["k1", "k2"])


@dataclass
class Record:
    """What the model knows of one key."""

    fingerprint: bytes
    token: str
    reply: bytes | None = None
    lapsed: bool = False
    expired: bool = False

    def may_be_taken(self, fingerprint: bytes) -> bool:
        """Say whether a claim with this fingerprint gets the key."""
        return self.expired or (self.reply is None and self.lapsed and self.fingerprint == fingerprint)


class ClaimMachine(RuleBasedStateMachine):
    """Does to the database and to the model the same, and compares what comes back and what had an effect."""

    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.model: dict[str, Record] = {}
        self.effects: list[str] = []

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        """Open an empty database."""
        self.database = SqliteDatabase(Path(self.folder.name) / "m.db", migrations=[store.MIGRATIONS], readers=1)
        self.records = IdempotencyRecords(self.database)
        self._run(self.database.open())
        self._run(self._execute("CREATE TABLE effects (token TEXT)"))

    def teardown(self) -> None:
        """Close it."""
        if hasattr(self, "database"):
            self._run(self.database.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(target=claims, key=KEYS, fingerprint=st.sampled_from([b"f1", b"f2"]))
    def claim(self, key: str, fingerprint: bytes) -> Any:
        """Claim a key."""
        outcome = self._run(self.records.claim(PLACE_ORDER, key, fingerprint, 1000.0))
        record = self.model.get(key)
        if record is None or record.may_be_taken(fingerprint):
            assert isinstance(outcome, Claimed)
            self.model[key] = Record(fingerprint, outcome.claim.token)
            return outcome.claim
        if record.fingerprint != fingerprint:
            assert outcome == Mismatch()
        elif record.reply is None:
            assert isinstance(outcome, InFlight)
            assert (outcome.remaining <= 0) == record.lapsed
        else:
            assert outcome == Replay(record.reply)
        return multiple()

    @rule(claim=claims)
    def fulfil(self, claim: Claim) -> None:
        """Commit an effect with the reply, or be aborted."""
        record = self.model.get(claim.key)
        if record is None or record.token != claim.token or record.reply is not None:
            with pytest.raises(CarrickError, match="ABORTED"):
                self._run(self._handle(claim))
            return
        record.reply = self._run(self._handle(claim))
        self.effects.append(claim.token)

    @rule(claim=consumes(claims))
    def release(self, claim: Claim) -> None:
        """Give a claim back."""
        self._run(self.records.release(claim))
        record = self.model.get(claim.key)
        if record is not None and record.token == claim.token and record.reply is None:
            record.token, record.lapsed = "", True

    @rule(key=KEYS)
    def lapse(self, key: str) -> None:
        """Let the lease of a key end."""
        self._run(self._execute("UPDATE carrick_idempotency SET lease_until = 1 WHERE key = :key", key=key))
        if key in self.model:
            self.model[key].lapsed = True

    @rule(key=KEYS)
    def expire(self, key: str) -> None:
        """Let the time for which a key is kept end."""
        self._run(self._execute("UPDATE carrick_idempotency SET expires_at = 1 WHERE key = :key", key=key))
        if key in self.model:
            self.model[key].expired = True

    @rule(most=st.integers(1, 2))
    def purge(self, most: int) -> None:
        """Remove expired records."""
        gone = [key for key, record in self.model.items() if record.expired]
        removed = self._run(self.records.purge(most=most))
        assert removed == min(most, len(gone))
        if removed == len(gone):
            for key in gone:
                del self.model[key]
        elif removed:
            left = self._run(self._column("SELECT key FROM carrick_idempotency"))
            self.model = {key: record for key, record in self.model.items() if key in left}

    @invariant()
    def effects_are_those_of_who_held_the_claim(self) -> None:
        """Every effect has its reply and no other effect is there."""
        if hasattr(self, "records"):
            assert self._run(self._column("SELECT token FROM effects ORDER BY rowid")) == self.effects

    async def _handle(self, claim: Claim) -> bytes:
        call = Call()
        call.claim = claim
        with enter(Context(PLACE_ORDER, call=call)):
            async with self.database.transaction() as tx:
                await tx.execute("INSERT INTO effects VALUES (:token)", {"token": claim.token})
                reply = await tx.reply(PlaceOrderResponse(order_id=claim.token))
                return reply.SerializeToString()

    async def _execute(self, sql: str, **parameters: str) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(sql, parameters)

    async def _column(self, sql: str) -> list[str]:
        async with self.database.read() as tx:
            return [row[0] for row in (await tx.execute(sql)).all()]


ClaimMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes: each step is a commit
)
TestClaims = ClaimMachine.TestCase
