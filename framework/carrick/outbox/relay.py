"""The relay: from the outbox table to the broker's streams, in order for each key.

Relays share the partitions: each is held by one of them, by a lease on the database's clock. A row is marked only after
the broker acknowledged it, and only while the lease is held; the broker takes a message only after the one that the
sender knows to be the last of its subject. So one that was held up can neither publish out of turn nor mark rows. A
broker that is away costs nothing but time; a message that it refuses for good is put aside.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Any, Self

from carrick.errors import CarrickError, Code, ConfigurationError, MessagingError
from carrick.event import PARTITIONS, EventSpec
from carrick.ids import random_id
from carrick.instruments import Instruments
from carrick.loop import Loop
from carrick.messaging.contract import MAX_BATCH, Broker
from carrick.observe import Observer, PartitionsChanged, PublishFailed, log
from carrick.outbox import table
from carrick.outbox.publishing import Lease, Publishing, by_stream
from carrick.sharing import surplus, wanted
from carrick.store.atomically import atomically
from carrick.store.transaction import Database, Transaction

__all__ = ["Relay", "RelayOptions"]

_MAX_DISAGREEMENTS = 3
_RENEWALS = 3  # a lease is renewed so many times before it would end


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """How the relay works. Times are seconds."""

    batch: int = MAX_BATCH
    """Rows read, and published, at a time; 1000 at most."""
    batch_bytes: int = 8 * 1024 * 1024
    """Payload read at a time; the event that reaches it is the last."""
    poll: float = 1.0
    """How often the table is looked at when nobody wakes the relay."""
    backoff: float = 0.5
    """How long a stream rests after the broker did not acknowledge; the others go on."""
    lease: float = 8.0
    """How long a partition stays with a relay that gives no sign of life. More than a publish may take."""
    retention: float = 7 * 86_400.0
    """How long published rows are kept, for a comparison with the stream after a disaster."""
    flush: float = 5.0
    """How long a stop waits for the broker to take what is left; the next start goes on with the rest."""

    def __post_init__(self) -> None:
        for name in ("batch", "batch_bytes", "poll", "backoff", "lease", "retention", "flush"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.batch > MAX_BATCH:
            raise ConfigurationError(f"batch must be {MAX_BATCH} at most, not {self.batch}")


class Relay:
    """Publishes what the outbox holds. Starts and stops as a context manager; stopping publishes what is left.

    Any number of relays may work on one database, in one process or in many: they share its partitions. ``name`` is
    how ``carrick outbox status`` calls this one. The streams of ``events``, a contract's generated ``EVENTS``, are made
    and checked at the start, others when their first event comes.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        *,
        name: str = "relay",
        events: Iterable[EventSpec[Any]] = (),
        options: RelayOptions | None = None,
        observe: Observer = log,
        instruments: Instruments | None = None,
    ) -> None:
        self._database = database
        self._name = name
        self._streams = {event.stream: event.stream_subjects for event in events}
        self._options = options or RelayOptions()
        self._observe = observe
        self._lease = Lease("", self._options.lease)
        self._publishing = Publishing(database, broker, self._lease, observe=observe, instruments=instruments)
        self._share_at = 0.0
        self._due_at = inf
        self._resting: dict[str, float] = {}
        self._disagreements = 0
        self._loop = Loop("outbox relay", self._step)

    @property
    def processed(self) -> int:
        """Rows published and marked so far."""
        return self._publishing.published

    @property
    def partitions(self) -> frozenset[int]:
        """What this relay held when it last looked."""
        return frozenset(self._lease.partitions)

    def wake(self) -> None:
        """Look at the table now."""
        self._loop.wake()

    async def pending(self) -> int:
        """Count the rows that are to be published now, by whichever relay; those that wait for a refused one too."""
        async with self._database.read() as tx:
            return await table.unpublished(tx)

    async def purge(self, most: int = 500) -> int:
        """Remove at most ``most`` rows that were published longer ago than the retention; return how many went."""
        async with self._database.transaction() as tx:
            return await table.purge(tx, age=self._options.retention, most=most)

    async def start(self) -> None:
        """Begin to publish. Raises ``MessagingError`` when a stream of its events does not take them.

        That a broker is away is no reason: it is observed, and events wait for it.
        """
        await self._check_streams()
        self._begin()
        await self._loop.start()

    async def stop(self) -> None:
        """Stop, publish what is left, for ``flush`` seconds at most, and leave the partitions to other relays."""
        await self._loop.stop()
        if not self._lease.owner:
            self._begin()
        self._resting.clear()
        try:
            async with asyncio.timeout(self._options.flush):
                await self._share()
                while await self._publish_next() > 0:
                    pass
        except (TimeoutError, CarrickError) as error:
            self._observe(PublishFailed(reason=f"at the stop: {error!r}", delay=0.0))
        await self._leave()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _check_streams(self) -> None:
        for stream, subjects in self._streams.items():
            try:
                await self._publishing.ensure_stream(stream, subjects)
            except MessagingError as error:
                if error.code is Code.FAILED_PRECONDITION:
                    raise
                self._observe(PublishFailed(reason=f"at the start: {error}", delay=0.0))

    def _begin(self) -> None:
        """Be a new owner: what this relay held under another name, it knows nothing of any more."""
        self._lease.owner = random_id()
        self._lease.partitions = set()
        self._publishing.forget(range(PARTITIONS))
        self._share_at = 0.0

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(self._options.flush), self._database.transaction() as tx:
                await table.let_go(tx, owner=self._lease.owner, partitions=range(PARTITIONS))
                await table.leave(tx, owner=self._lease.owner)
        except (TimeoutError, CarrickError) as error:  # then the leases end by themselves
            self._observe(PublishFailed(reason=f"at the stop: {error!r}", delay=0.0))
        self._lease.owner = ""
        self._lease.partitions = set()

    async def _step(self) -> float:
        options = self._options
        if self._now() >= self._share_at:
            await self._share()
        try:
            if await self._publish_next():
                return 0.0
        except MessagingError as error:
            self._observe(PublishFailed(reason=str(error), delay=options.backoff))
            return 0.0  # the stream that failed rests: on with the others
        rest = min(options.poll, min(self._share_at, self._due_at) - self._now())
        return max(min(rest, options.backoff) if self._resting else rest, 0.0)

    async def _share(self) -> None:
        """Say that this relay is there, keep what it holds, and take or give back what makes it a fair share."""
        owner, ttl = self._lease.owner, self._lease.ttl
        before = set(self._lease.partitions)

        async def shared(tx: Transaction) -> set[int]:
            relays = await table.beat(tx, owner=owner, name=self._name, ttl=ttl)
            held = await table.renew(tx, owner=owner, ttl=ttl)
            held -= await self._give_back(tx, held, relays)
            if more := wanted(len(held), relays, PARTITIONS):
                held |= await table.take(tx, owner=owner, ttl=ttl, most=more)
            return held

        held = await atomically(self._database, shared)
        self._share_at = self._now() + ttl / _RENEWALS
        self._lease.partitions = held
        taken, lost = held - before, before - held
        self._publishing.forget(taken | lost)
        if taken or lost:
            self._observe(PartitionsChanged(held=len(held), taken=len(taken), lost=len(lost)))

    async def _give_back(self, tx: Transaction, held: set[int], relays: int) -> set[int]:
        spare = surplus(held, relays, PARTITIONS)
        if spare:
            await table.let_go(tx, owner=self._lease.owner, partitions=spare)
        return set(spare)

    async def _publish_next(self) -> int:
        """Publish the next batch; return how many rows were settled. Raises the first failure after all streams."""
        rows = await self._next_rows()
        parts = by_stream(rows)
        results = await asyncio.gather(
            *(self._publishing.publish(stream, part) for stream, part in parts.items()), return_exceptions=True
        )
        settled, failed = 0, list[BaseException]()
        for stream, result in zip(parts, results, strict=True):
            if isinstance(result, int):
                settled += result
                self._disagreements = 0
            elif not self._agrees_soon(result):
                failed.append(result)
                if isinstance(result, MessagingError):
                    self._resting[stream] = self._now() + self._options.backoff
        for error in failed:
            raise error
        return settled or len(rows)

    def _agrees_soon(self, error: BaseException) -> bool:
        """Say whether to look again at once: another relay has published here, or this one's lost try was stored."""
        if not isinstance(error, MessagingError) or error.code is not Code.ABORTED:
            return False
        self._disagreements += 1
        self._share_at = 0.0
        return self._disagreements <= _MAX_DISAGREEMENTS

    async def _next_rows(self) -> list[Any]:
        options, now = self._options, self._now()
        self._resting = {stream: until for stream, until in self._resting.items() if until > now}
        if not self._lease.partitions:
            return []
        async with self._database.read() as tx:
            due_in = await table.due_in(tx)
            rows = await table.pending(
                tx,
                partitions=self._lease.partitions,
                resting=self._resting,
                most=options.batch,
                most_bytes=options.batch_bytes,
            )
        self._due_at = inf if due_in is None else now + due_in
        if due_in is not None and due_in <= 0:
            await atomically(self._database, lambda tx: table.publish_due(tx, options.batch))
        return list(rows)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
