"""The relay: from the outbox table to the broker's streams, in order for each partition.

A row is marked only after the broker acknowledged it. In a partition each row waits for the acknowledgement of the one
before; partitions go side by side, and one that fails rests without holding up the others. A publish whose fate is
unknown is repeated under the same id, which the stream stores once. A broker that is away costs nothing but time.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from carrick.errors import CarrickError, ConfigurationError, MessagingError
from carrick.instruments import Instruments
from carrick.loop import Loop
from carrick.messaging.contract import Broker, Message
from carrick.observe import EventsPublished, Observer, PublishFailed, log
from carrick.store.claims import NOW
from carrick.store.transaction import Database
from carrick.trace import Trace

__all__ = ["Relay", "RelayOptions"]

_UNPUBLISHED = """
SELECT seq, id, stream, stream_subjects, subject, partition, payload, headers
FROM carrick_outbox WHERE published_at IS NULL
    AND stream || '/' || partition NOT IN (SELECT value FROM json_each(:held)) ORDER BY seq LIMIT :most
"""

_DEPTH = "SELECT count(*) AS depth FROM carrick_outbox WHERE published_at IS NULL"

_MARK = f"UPDATE carrick_outbox SET published_at = {NOW} WHERE seq = :seq"  # noqa: S608

_PURGE = f"""
DELETE FROM carrick_outbox WHERE seq IN (
    SELECT seq FROM carrick_outbox
    WHERE published_at <= {NOW} - :age ORDER BY published_at LIMIT :most)
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """How the relay works. Times are seconds."""

    batch: int = 200
    """Rows read at a time."""
    poll: float = 1.0
    """How often the table is looked at when nobody wakes the relay."""
    backoff: float = 0.5
    """How long a partition rests after the broker did not acknowledge; the others go on."""
    retention: float = 7 * 86_400.0
    """How long published rows are kept."""
    flush: float = 5.0
    """How long a stop waits for the broker to take what is left; the next start goes on with the rest."""

    def __post_init__(self) -> None:
        for name in ("batch", "poll", "backoff", "retention", "flush"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be above 0, not {getattr(self, name)}")


class Relay:
    """Publishes what the outbox holds. Starts and stops as a context manager; stopping publishes what is left.

    One relay a database: two would publish each other's rows again, which the stream's window for duplicates hides
    only for a while.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        *,
        options: RelayOptions | None = None,
        observe: Observer = log,
        instruments: Instruments | None = None,
    ) -> None:
        self._database = database
        self._broker = broker
        self._options = options or RelayOptions()
        self._observe = observe
        self._instruments = instruments
        self._streams: set[str] = set()
        self._held: dict[str, float] = {}
        self._loop = Loop("outbox relay", self._step)
        self.processed = 0
        """Rows published and marked so far."""

    def wake(self) -> None:
        """Look at the table now."""
        self._loop.wake()

    async def pending(self) -> int:
        """Count the rows that are not published."""
        async with self._database.read() as tx:
            row = (await tx.execute(_DEPTH)).first()
        return int(row.depth) if row else 0

    async def purge(self, most: int = 500) -> int:
        """Remove at most ``most`` rows that were published longer ago than the retention; return how many went."""
        async with self._database.transaction() as tx:
            return (await tx.execute(_PURGE, {"age": self._options.retention, "most": most})).rowcount

    async def start(self) -> None:
        """Begin to publish."""
        await self._loop.start()

    async def stop(self) -> None:
        """Stop, then publish what is left, for ``flush`` seconds at most."""
        await self._loop.stop()
        self._held.clear()
        try:
            async with asyncio.timeout(self._options.flush):
                while await self._publish_next() > 0:
                    pass
        except (TimeoutError, CarrickError) as error:
            self._observe(PublishFailed(reason=f"at the stop: {error!r}", delay=0.0))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _step(self) -> float:
        options = self._options
        try:
            published = await self._publish_next()
        except MessagingError as error:
            self._observe(PublishFailed(reason=str(error), delay=options.backoff))
            return 0.0  # what failed is held: on with the rest
        if published:
            return 0.0
        return min(options.poll, options.backoff) if self._held else options.poll

    async def _publish_next(self) -> int:
        """Publish the next batch and mark what was acknowledged; return how many. Raises the first failure after."""
        async with self._database.read() as tx:
            held = json.dumps(self._still_held())
            parts = _by_partition((await tx.execute(_UNPUBLISHED, {"most": self._options.batch, "held": held})).all())
        acknowledged: list[int] = []
        results = await asyncio.gather(
            *(self._publish_in_order(rows, acknowledged) for rows in parts.values()), return_exceptions=True
        )
        failed = {name: result for name, result in zip(parts, results, strict=True) if result is not None}
        until = asyncio.get_running_loop().time() + self._options.backoff
        self._held.update(dict.fromkeys(failed, until))
        if acknowledged:
            await self._mark(acknowledged)
        for error in failed.values():
            raise error
        return len(acknowledged)

    def _still_held(self) -> list[str]:
        """Forget the partitions whose rest is over, and name the others: their rows must not fill a batch."""
        now = asyncio.get_running_loop().time()
        self._held = {name: until for name, until in self._held.items() if until > now}
        return list(self._held)

    async def _publish_in_order(self, rows: Sequence[Any], acknowledged: list[int]) -> None:
        stream = rows[0].stream
        try:
            await self._ensure_stream(stream, rows[0].stream_subjects)
            for row in rows:
                message = Message(
                    stream=stream,
                    subject=row.subject,
                    id=row.id,
                    data=row.payload,
                    headers=json.loads(row.headers),
                )
                await self._publish(message)
                acknowledged.append(row.seq)
        except MessagingError:
            self._streams.discard(stream)  # it may be gone: look again
            raise

    async def _publish(self, message: Message) -> None:
        if self._instruments is None:
            return await self._broker.publish(message)
        trace = Trace.parse(message.headers.get("traceparent"))
        with self._instruments.send(message.subject, message.id, trace):
            return await self._broker.publish(message)

    async def _mark(self, acknowledged: Sequence[int]) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(_MARK, [{"seq": seq} for seq in acknowledged])
        self.processed += len(acknowledged)
        self._observe(EventsPublished(count=len(acknowledged)))

    async def _ensure_stream(self, name: str, subjects: str) -> None:
        if name not in self._streams:
            await self._broker.ensure_stream(name, [subjects])
            self._streams.add(name)


def _by_partition(rows: Iterable[Any]) -> dict[str, list[Any]]:
    parts: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        parts[f"{row.stream}/{row.partition}"].append(row)
    return parts
