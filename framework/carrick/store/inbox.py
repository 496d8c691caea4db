"""The inbox: which events had their effect in this database."""

import json
from collections.abc import Collection
from typing import Any

from carrick.claim import Tenure
from carrick.store.atomically import atomically
from carrick.store.claims import check_tenures
from carrick.store.dialect import Sql
from carrick.store.transaction import Database, Transaction

__all__ = ["Inbox"]

_HOLDS = "SELECT 1 FROM carrick_inbox WHERE consumer = :consumer AND event_id = :event_id"

_RECEIVE = Sql(
    sqlite="""
INSERT INTO carrick_inbox (consumer, event_id, handled_at)
SELECT :consumer, value, ((julianday('now') - 2440587.5) * 86400.0) FROM json_each(:ids) WHERE 1
ON CONFLICT DO NOTHING RETURNING event_id
""",
    postgresql="""
INSERT INTO carrick_inbox (consumer, event_id, handled_at)
SELECT :consumer, id, CAST(extract(epoch FROM clock_timestamp()) AS double precision)
FROM unnest(CAST(:ids AS text[])) AS given (id)
ON CONFLICT DO NOTHING RETURNING event_id
""",
)

_PURGE = Sql.template("""
DELETE FROM carrick_inbox WHERE (consumer, event_id) IN (
    SELECT consumer, event_id FROM carrick_inbox
    WHERE handled_at <= (SELECT {now}) - :age ORDER BY handled_at LIMIT :most {skip_locked})
""")


class Inbox:
    """Remembers handled events for ``retention`` seconds: longer than any message can be delivered again."""

    def __init__(self, database: Database, *, retention: float = 30 * 86_400.0) -> None:
        self.database = database
        self.retention = retention

    async def holds(self, consumer: str, event_id: str) -> bool:
        """Say whether the event had its effect. The transaction of the effect decides; this only saves the work."""
        async with self.database.read() as tx:
            return (await tx.execute(_HOLDS, {"consumer": consumer, "event_id": event_id})).first() is not None

    async def receive(
        self, tx: Transaction, consumer: str, event_ids: Collection[str], tenures: Collection[Tenure] = ()
    ) -> frozenset[str]:
        """Record events in the transaction of their effects. Return those that had none before: only they may have it.

        Waits for a transaction of another process that has recorded one of them and has not ended. Raises ``ABORTED``
        when another process consumes a partition of theirs by now.
        """
        ids: Any = sorted(event_ids)  # in one order, so that two who record the same never wait for each other
        rows = await tx.execute(
            _RECEIVE.of(tx.dialect),
            {"consumer": consumer, "ids": json.dumps(ids) if tx.dialect == "sqlite" else ids},
        )
        new = frozenset(row.event_id for row in rows.all())
        if new and tenures:
            await check_tenures(tx, tenures)
        return new

    async def purge(self, most: int = 500) -> int:
        """Remove at most ``most`` rows older than the retention; return how many went."""

        async def purged(tx: Transaction) -> int:
            return (await tx.execute(_PURGE.of(tx.dialect), {"age": self.retention, "most": most})).rowcount

        return await atomically(self.database, purged)
