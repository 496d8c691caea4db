"""The inbox: which events had their effect in this database."""

from carrick.store.atomically import atomically
from carrick.store.dialect import Sql
from carrick.store.transaction import Database, Transaction

__all__ = ["Inbox"]

_HOLDS = "SELECT 1 FROM carrick_inbox WHERE consumer = :consumer AND event_id = :event_id"

_PURGE = Sql.template("""
DELETE FROM carrick_inbox WHERE (consumer, event_id) IN (
    SELECT consumer, event_id FROM carrick_inbox
    WHERE handled_at <= (SELECT {now}) - :age ORDER BY handled_at LIMIT :most {skip_locked})
""")


class Inbox:
    """Remembers handled events for ``retention`` seconds: longer than any message can be delivered again."""

    def __init__(self, database: Database, *, retention: float = 30 * 86_400.0) -> None:
        self._database = database
        self._retention = retention

    async def holds(self, consumer: str, event_id: str) -> bool:
        """Say whether the event had its effect. The transaction of the effect decides; this only saves the work."""
        async with self._database.read() as tx:
            return (await tx.execute(_HOLDS, {"consumer": consumer, "event_id": event_id})).first() is not None

    async def purge(self, most: int = 500) -> int:
        """Remove at most ``most`` rows older than the retention; return how many went."""

        async def purged(tx: Transaction) -> int:
            return (await tx.execute(_PURGE.of(tx.dialect), {"age": self._retention, "most": most})).rowcount

        return await atomically(self._database, purged)
