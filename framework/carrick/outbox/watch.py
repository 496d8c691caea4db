"""What waits in an outbox and who is there to publish it, looked at now and then."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from carrick.errors import ConfigurationError
from carrick.loop import Loop
from carrick.outbox.words import GENUINE, IS_PENDING, IS_REFUSED
from carrick.store.dialect import Sql
from carrick.store.transaction import Database, Transaction

__all__ = ["MOST_COUNTED", "OutboxSnapshot", "OutboxWatch", "snapshot_of"]

MOST_COUNTED = 1_000_000
"""Beyond that nothing is counted: more is no other news, and would cost more."""

_FIRST = 10_000  # events among which the oldest is looked for that is not held back
_REST_AFTER_A_LOOK = 9.0  # times as long as it took, so that looking takes a tenth of the time at most
_SNAPSHOT = Sql.template(
    f"""
    SELECT lease.partition, lease.epoch, numbers.depth, numbers.oldest, numbers.quarantined, numbers.relays
    FROM carrick_outbox_lease AS lease, (
        SELECT
            (SELECT count(*) FROM (
                SELECT seq FROM carrick_outbox WHERE {IS_PENDING} LIMIT :most) AS pending) AS depth,
            (SELECT {{now}} - created_at FROM (
                SELECT seq, partition, key, unordered, created_at FROM carrick_outbox
                WHERE {IS_PENDING} ORDER BY seq LIMIT {_FIRST}) AS event
                WHERE unordered OR NOT EXISTS (
                    SELECT 1 FROM carrick_outbox AS refused
                    WHERE refused.refused_at IS NOT NULL AND refused.published_at IS NULL AND NOT refused.unordered
                        AND refused.partition = event.partition AND refused.key = event.key
                        AND refused.seq < event.seq)
                ORDER BY seq LIMIT 1) AS oldest,
            (SELECT count(*) FROM (
                SELECT seq FROM carrick_outbox WHERE {IS_REFUSED} LIMIT :most) AS refused) AS quarantined,
            (SELECT count(*) FROM carrick_outbox_relay WHERE {GENUINE}) AS relays
    ) AS numbers
    """  # noqa: S608  # constants of this module
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSnapshot:
    """How an outbox was at one moment."""

    depth: int
    """Events that are to be published now, those behind a quarantined one of their key too; a million at most."""
    oldest_seconds: float
    """How long the first of them that nothing holds back has waited; 0 when there is none."""
    quarantined: int
    """Events that the broker refused; a million at most."""
    epochs: Mapping[int, int]
    """How often each partition has changed hands so far."""
    relays: int


class OutboxWatch:
    """Looks every ``interval`` seconds, and keeps what it saw. Starts and stops as a context manager.

    One is enough for all who want to know: ``shed_on_backlog`` and ``OutboxMetrics`` take it. The relay may be another
    process. Looking costs one statement; where that takes long, it looks less often.
    """

    def __init__(self, database: Database, *, interval: float = 1.0) -> None:
        if not interval > 0:
            raise ConfigurationError(f"interval must be above 0 seconds, not {interval}")
        self._database = database
        self._interval = interval
        self._loop = Loop("outbox watch", self._step)
        self.snapshot: OutboxSnapshot | None = None
        """The newest, or None while the database is away: nobody should take old numbers for new ones."""
        self.depth = 0
        """How many events wait, by the last snapshot that there was."""
        self.oldest = 0.0
        """How long the oldest of them has waited, in seconds, by the last snapshot that there was."""

    async def look(self) -> None:
        """Look now. Raises ``StoreError`` when the database is away."""
        try:
            async with self._database.read() as tx:
                found = await snapshot_of(tx)
        except BaseException:
            self.snapshot = None
            raise
        self.snapshot, self.depth, self.oldest = found, found.depth, found.oldest_seconds

    async def __aenter__(self) -> Self:
        await self._loop.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._loop.stop()

    async def _step(self) -> float:
        begun = _now()
        await self.look()
        return max(self._interval, _REST_AFTER_A_LOOK * (_now() - begun))


async def snapshot_of(tx: Transaction, *, most: int = MOST_COUNTED) -> OutboxSnapshot:
    """Return how the outbox is, counted up to ``most``, in a transaction that may be one that only reads."""
    rows: Any = (await tx.execute(_SNAPSHOT.of(tx.dialect), {"most": most})).all()
    numbers = rows[0]
    return OutboxSnapshot(
        depth=numbers.depth,
        oldest_seconds=max(numbers.oldest or 0.0, 0.0),
        quarantined=numbers.quarantined,
        epochs={row.partition: row.epoch for row in rows},
        relays=numbers.relays,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
