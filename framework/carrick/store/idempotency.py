"""Idempotency records: who may execute a keyed call, and what it was answered with."""

import asyncio
from contextlib import suppress
from typing import Any

from carrick.cancellation import finish
from carrick.claim import Claim, Claimed, ClaimOutcome, InFlight, Mismatch, Refusal, Replay
from carrick.errors import CarrickError
from carrick.ids import random_id
from carrick.method import MethodSpec
from carrick.options import IdempotencyOptions
from carrick.store.atomically import atomically
from carrick.store.claims import complete
from carrick.store.dialect import Sql
from carrick.store.transaction import Database, Transaction

__all__ = ["IdempotencyRecords"]

_CLAIM = Sql.template("""
INSERT INTO carrick_idempotency AS held (method, key, fingerprint, token, lease, lease_until, reply, expires_at)
VALUES (:method, :key, :fingerprint, :token, :lease, {now} + :lease, NULL,
    {now} + {greatest}(CAST(:expiry AS DOUBLE PRECISION), :lease))
ON CONFLICT (method, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, token = excluded.token,
    lease = excluded.lease, lease_until = excluded.lease_until,
    reply = NULL, error = NULL, expires_at = excluded.expires_at
WHERE held.expires_at <= {now}
    OR (held.reply IS NULL AND held.error IS NULL AND held.fingerprint = excluded.fingerprint
        AND (held.lease_until <= {now} OR held.lease_until > {now} + 2 * held.lease))
RETURNING token
""")

_LOOK = Sql.template("""
SELECT fingerprint, reply, error, lease_until - {now} AS remaining
FROM carrick_idempotency WHERE method = :method AND key = :key
""")

_RENEW = Sql.template("""
UPDATE carrick_idempotency SET lease = :lease, lease_until = {now} + :lease,
    expires_at = {greatest}(expires_at, {now} + :lease)
WHERE method = :method AND key = :key AND token = :token AND reply IS NULL AND error IS NULL
""")

_RELEASE = """
UPDATE carrick_idempotency SET lease_until = 0, token = ''
WHERE method = :method AND key = :key AND token = :token AND reply IS NULL AND error IS NULL
"""
"""The row stays, with its fingerprint: a key whose call failed is still not free for another request."""

_PURGE = Sql.template("""
DELETE FROM carrick_idempotency WHERE (method, key) IN (
    SELECT method, key FROM carrick_idempotency
    WHERE expires_at <= (SELECT {now}) ORDER BY expires_at LIMIT :most {skip_locked})
""")


class IdempotencyRecords:
    """A ``ClaimStore`` in the service's own database, where handlers complete their records.

    Leases and expiry are measured by the database's clock. A claim that would last longer than twice its lease is from
    before that clock was set back, and taken over like one that has ended. A lease that ends too early costs a second
    execution, never a second effect: the first one's transaction is aborted by its token.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, method: MethodSpec[Any, Any], key: str, fingerprint: bytes, lease: float) -> ClaimOutcome:
        """Claim a key for ``lease`` seconds, or say why it can't be had."""
        options = method.policy.idempotency
        assert isinstance(options, IdempotencyOptions)
        claim = Claim(method, key, random_id())
        expiry, turn = options.expiry, False

        async def claimed(tx: Transaction) -> ClaimOutcome:
            nonlocal turn
            turn = True
            return await self._claim(tx, claim, fingerprint, lease, expiry)

        try:
            return await atomically(self._database, claimed)
        except asyncio.CancelledError:
            if turn:  # the claim may have been committed; who never had a turn must not queue for another
                with suppress(CarrickError):  # then the lease ends it
                    await finish(self.release(claim))
            raise

    async def _claim(
        self, tx: Transaction, claim: Claim, fingerprint: bytes, lease: float, expiry: float
    ) -> ClaimOutcome:
        claimed = await tx.execute(
            _CLAIM.of(tx.dialect), {**_names(claim), "fingerprint": fingerprint, "lease": lease, "expiry": expiry}
        )
        if claimed.first() is not None:
            return Claimed(claim)
        held = (await tx.execute(_LOOK.of(tx.dialect), {"method": claim.method.full_name, "key": claim.key})).first()
        assert held is not None
        if held.fingerprint != fingerprint:
            return Mismatch()
        if held.reply is not None:
            return Replay(held.reply)
        return InFlight(held.remaining) if held.error is None else Refusal(held.error)

    async def release(self, claim: Claim) -> None:
        """Give an unfulfilled claim back. Does nothing when it was fulfilled or taken over."""

        async def released(tx: Transaction) -> None:
            await tx.execute(_RELEASE, _names(claim))

        await atomically(self._database, released)

    async def renew(self, claim: Claim, lease: float) -> bool:
        """Hold an unfulfilled claim for ``lease`` seconds from now. False when it was fulfilled or taken over."""

        async def renewed(tx: Transaction) -> bool:
            return (await tx.execute(_RENEW.of(tx.dialect), {**_names(claim), "lease": lease})).rowcount == 1

        return await atomically(self._database, renewed)

    async def refuse(self, claim: Claim, status: bytes) -> bool:
        """Record an error as the answer. False, and nothing is recorded, when it was fulfilled or taken over."""
        return await atomically(self._database, lambda tx: complete(tx, claim, error=status))

    async def purge(self, most: int = 500) -> int:
        """Remove at most ``most`` expired records; return how many went."""

        async def purged(tx: Transaction) -> int:
            return (await tx.execute(_PURGE.of(tx.dialect), {"most": most})).rowcount

        return await atomically(self._database, purged)


def _names(claim: Claim) -> dict[str, str]:
    return {"method": claim.method.full_name, "key": claim.key, "token": claim.token}
