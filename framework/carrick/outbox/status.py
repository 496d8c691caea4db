"""How an outbox is doing: what waits in it, for what, and who is to publish it."""

from dataclasses import dataclass
from typing import Any

from carrick.errors import Code, OutboxError
from carrick.event import PARTITIONS
from carrick.outbox.words import GENUINE, IS_PENDING
from carrick.store.dialect import Sql
from carrick.store.transaction import Transaction

__all__ = ["OutboxStatus", "PartitionStatus", "Position", "RelayStatus", "require_outbox", "status"]

_RATE_WINDOW = 60.0

_FIND = Sql(
    sqlite="SELECT count(*) AS tables FROM sqlite_master WHERE name = 'carrick_outbox'",
    postgresql="SELECT CASE WHEN to_regclass('carrick_outbox') IS NULL THEN 0 ELSE 1 END AS tables",
)
_IS_REFUSED = "refused_at IS NOT NULL AND published_at IS NULL"
_COUNTS = Sql.template(
    f"""
    SELECT
        (SELECT count(*) FROM carrick_outbox WHERE due_at IS NOT NULL AND published_at IS NULL) AS waiting,
        (SELECT count(*) FROM carrick_outbox WHERE {_IS_REFUSED}) AS quarantined,
        (SELECT count(*) FROM carrick_outbox AS event WHERE {IS_PENDING} AND NOT unordered AND EXISTS (
            SELECT 1 FROM carrick_outbox AS refused
            WHERE refused.refused_at IS NOT NULL AND refused.published_at IS NULL AND NOT refused.unordered
                AND refused.partition = event.partition AND refused.key = event.key AND refused.seq < event.seq)
        ) AS blocked,
        (SELECT count(*) FROM carrick_outbox WHERE published_at IS NOT NULL AND refusal IS NULL) AS published,
        (SELECT count(*) FROM carrick_outbox WHERE published_at IS NOT NULL AND refusal IS NOT NULL) AS given_up,
        (SELECT count(*) FROM carrick_outbox
            WHERE published_at > {{now}} - {_RATE_WINDOW} AND refusal IS NULL) AS recent
    """  # noqa: S608  # constants of this module
)
_DEPTHS = Sql.template(
    f"""
    SELECT partition, count(*) AS depth, {{now}} - min(created_at) AS oldest
    FROM carrick_outbox WHERE {IS_PENDING} GROUP BY partition
    """  # noqa: S608  # constants of this module
)
_LEASES = Sql.template(
    f"""
    SELECT lease.partition, lease.owner, relay.name, lease.epoch, lease.seconds
    FROM (
        SELECT partition, owner, epoch, CASE WHEN {GENUINE} THEN until - {{now}} ELSE 0 END AS seconds
        FROM carrick_outbox_lease
    ) AS lease LEFT JOIN carrick_outbox_relay AS relay ON relay.owner = lease.owner
    ORDER BY lease.partition
    """  # noqa: S608  # constants of this package
)
_RELAYS = Sql.template(
    f"""
    SELECT relay.owner, relay.name, relay.until - {{now}} AS seconds,
        (SELECT count(*) FROM carrick_outbox_lease AS lease
            WHERE lease.owner = relay.owner AND {GENUINE}) AS partitions
    FROM carrick_outbox_relay AS relay WHERE {GENUINE} ORDER BY relay.name, relay.owner
    """  # noqa: S608  # constants of this package
)
_POSITIONS = "SELECT stream, subject, sequence FROM carrick_outbox_position ORDER BY stream, subject"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """One partition."""

    partition: int
    depth: int
    """Events that are to be published now, those behind a quarantined one too."""
    oldest_seconds: float | None
    """Since the first of them was written."""
    relay: str | None
    """Name of the relay that holds it; None when none does."""
    owner: str | None
    """What that relay calls itself in the database, anew at each start."""
    epoch: int
    """How often it has changed hands."""
    lease_seconds: float | None
    """Until the lease ends, if it is not renewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatus:
    """A relay that is there."""

    name: str
    owner: str
    partitions: int
    seconds: float
    """Until it counts as gone, if it gives no sign of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a subject's messages in a stream are known."""

    stream: str
    subject: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """The whole outbox at one moment."""

    pending: int
    """Events that are to be published now; ``blocked`` are among them."""
    waiting: int
    """Events that wait for their time."""
    quarantined: int
    """Events that the broker refused."""
    blocked: int
    """Events behind a quarantined one of their key."""
    published: int
    """Events that were published, and are kept until the retention is over."""
    given_up: int
    """Events that were dropped or expired, and are kept as long."""
    oldest_pending_seconds: float | None
    published_per_second: float
    """Over the last minute."""
    relays: tuple[RelayStatus, ...]
    partitions: tuple[PartitionStatus, ...]
    positions: tuple[Position, ...]


async def require_outbox(tx: Transaction) -> None:
    """Raise ``OutboxError`` when the database has no outbox."""
    if not (await tx.execute(_FIND.of(tx.dialect))).scalar_one():
        raise OutboxError(
            Code.FAILED_PRECONDITION,
            "there is no outbox in this database: is it the right one? A service makes it when it starts",
        )


async def status(tx: Transaction) -> OutboxStatus:
    """Return how the outbox is doing. ``tx`` may be one that only reads; all is of its one snapshot."""
    counts: Any = (await tx.execute(_COUNTS.of(tx.dialect))).first()
    depths = {row.partition: row for row in (await tx.execute(_DEPTHS.of(tx.dialect))).all()}
    leases = {row.partition: row for row in (await tx.execute(_LEASES.of(tx.dialect))).all()}
    relays = (await tx.execute(_RELAYS.of(tx.dialect))).all()
    positions = (await tx.execute(_POSITIONS)).all()
    return OutboxStatus(
        pending=sum(row.depth for row in depths.values()),
        waiting=counts.waiting,
        quarantined=counts.quarantined,
        blocked=counts.blocked,
        published=counts.published,
        given_up=counts.given_up,
        oldest_pending_seconds=max((max(row.oldest, 0.0) for row in depths.values()), default=None),
        published_per_second=counts.recent / _RATE_WINDOW,
        relays=tuple(
            RelayStatus(name=row.name, owner=row.owner, partitions=row.partitions, seconds=row.seconds)
            for row in relays
        ),
        partitions=tuple(_partition(each, depths.get(each), leases.get(each)) for each in range(PARTITIONS)),
        positions=tuple(Position(stream=row.stream, subject=row.subject, sequence=row.sequence) for row in positions),
    )


def _partition(number: int, depth: Any, lease: Any) -> PartitionStatus:
    held = lease is not None and lease.seconds > 0
    return PartitionStatus(
        partition=number,
        depth=depth.depth if depth else 0,
        oldest_seconds=max(depth.oldest, 0.0) if depth else None,
        relay=(lease.name or lease.owner[:8]) if held else None,
        owner=lease.owner if held else None,
        epoch=lease.epoch if lease else 0,
        lease_seconds=lease.seconds if held else None,
    )
