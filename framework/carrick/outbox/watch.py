"""A few numbers of an outbox, looked up now and then, for whoever draws or alarms."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from carrick.errors import ConfigurationError
from carrick.loop import Loop
from carrick.outbox.table import GENUINE
from carrick.store.dialect import Sql
from carrick.store.transaction import Database

__all__ = ["OutboxSnapshot", "OutboxWatch", "observed"]

_LAG_WINDOW = 60.0
_NUMBERS = Sql.template(
    f"""
    SELECT pending.depth, pending.oldest, recent.lag,
        (SELECT count(*) FROM carrick_outbox WHERE refused_at IS NOT NULL AND published_at IS NULL) AS quarantined,
        (SELECT sum(epoch) FROM carrick_outbox_lease) AS epochs,
        (SELECT count(*) FROM carrick_outbox_relay WHERE {GENUINE}) AS relays
    FROM (
        SELECT count(*) AS depth, {{now}} - min(created_at) AS oldest FROM carrick_outbox
        WHERE published_at IS NULL AND refused_at IS NULL AND due_at IS NULL
    ) AS pending, (
        SELECT avg(published_at - created_at) AS lag FROM carrick_outbox
        WHERE published_at > {{now}} - {_LAG_WINDOW} AND refusal IS NULL
    ) AS recent
    """  # noqa: S608  # constants of this module
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSnapshot:
    """How an outbox was at one moment."""

    depth: int
    """Events that are to be published now."""
    oldest_seconds: float
    """Since the first of them was written; 0 when there are none."""
    quarantined: int
    lag_seconds: float | None
    """From an event's writing to its publishing, on average over the last minute; None when there was none."""
    epochs: int
    """How often partitions have changed hands so far."""
    relays: int


async def observed(database: Database) -> OutboxSnapshot:
    """Look it up, in a transaction that only reads. Raises ``StoreError`` when the database is away."""
    async with database.read() as tx:
        row: Any = (await tx.execute(_NUMBERS.of(tx.dialect))).first()
    return OutboxSnapshot(
        depth=row.depth,
        oldest_seconds=max(row.oldest or 0.0, 0.0),
        quarantined=row.quarantined,
        lag_seconds=None if row.lag is None else max(row.lag, 0.0),
        epochs=int(row.epochs),
        relays=row.relays,
    )


class OutboxWatch:
    """Looks every ``interval`` seconds, and keeps what it saw. Runs as a context manager.

    While the database is away ``snapshot`` is None, so that nobody takes old numbers for new ones.
    """

    def __init__(self, database: Database, *, interval: float = 10.0) -> None:
        if not interval > 0:
            raise ConfigurationError(f"interval must be above 0 seconds, not {interval}")
        self._database = database
        self._interval = interval
        self._loop = Loop("outbox watch", self._step)
        self.snapshot: OutboxSnapshot | None = None

    async def __aenter__(self) -> Self:
        await self._loop.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._loop.stop()

    async def _step(self) -> float:
        try:
            self.snapshot = await observed(self._database)
        except BaseException:
            self.snapshot = None
            raise
        return self._interval
