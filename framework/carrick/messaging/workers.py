"""The workers of a subscriber: each event handled in its turn, then settled, parked or put aside."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias, cast

from carrick.cancellation import cancelled
from carrick.clock import Clock, Timer
from carrick.context import Context, detached, enter
from carrick.errors import CarrickError, MessagingError, StoreError
from carrick.event import partition_in
from carrick.messaging.contract import Delivery
from carrick.messaging.deadletter import DeadLetters, stack_of
from carrick.messaging.handling import Handling, UnrecordedError, Work
from carrick.messaging.inbound import Inbound, ParkedDelivery, Received, Skipped, UnreadableError
from carrick.messaging.keeping import Keeping
from carrick.messaging.lanes import Lanes
from carrick.messaging.parked_keys import ParkedKeys
from carrick.messaging.redrive import AGAIN, DROP, Redriven
from carrick.messaging.verdict import Again, GiveUp, reason_of, verdict
from carrick.observe import EventDeadLettered, EventHandlingFailed, EventTooLate, Observer
from carrick.store.claims import NewerOwnerError
from carrick.store.parking import Parked, Parking

__all__ = ["SHARED", "Counts", "Retry", "Unreadable", "Workers"]

Lane: TypeAlias = tuple[int, str]
"""Partition and key. Events without an order have a lane each, in the partition ``SHARED``."""

SHARED = -1
_AT_ONCE = 20  # parked events of a key that are read together
_MOST_FAILURES = 10_000  # of events without an order, whose failures are remembered
_MAX_REASON = 1024
_STUMBLE = 1.0  # seconds after the database or the broker failed a worker
_logger = logging.getLogger("carrick.subscriber")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that no handler takes, and why."""

    delivery: Delivery
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The turn of a key's parked events."""


Task: TypeAlias = Work | Unreadable | Retry


@dataclass(slots=True)
class Counts:
    """What became of events since the start."""

    handled: int = 0
    dead_letters: int = 0
    parked: int = 0
    failures: int = 0
    skipped: int = 0
    expired: int = 0
    redelivered: int = 0
    delivered: Counter[str] = field(default_factory=Counter)
    """By the subject, without its partition."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a lane waits for: so many seconds, and then these are its first tasks again."""

    seconds: float
    tasks: Sequence[Task] = ()


class Workers:
    """Handles what is put in, ``concurrency`` events at a time, those of a key one after the other.

    Used from one event loop. Stopping waits for the handlers under way, up to ``grace`` seconds, and cancels them then.
    """

    def __init__(
        self,
        consumer: str,
        inbound: Inbound,
        handling: Handling,
        dead_letters: DeadLetters,
        parking: Parking | None,
        keeping: Keeping,
        *,
        concurrency: int,
        groups: int,
        group: int,
        observe: Observer,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._inbound = inbound
        self._handling = handling
        self._dead_letters = dead_letters
        self._parking = parking
        self._keeping = keeping
        self._sizes = (concurrency, groups, group)
        self._observe = observe
        self._clock = clock
        self._lanes: Lanes[Lane, Task] = Lanes(_goes_together)
        self._resting: dict[Lane, tuple[Timer, Sequence[Task]]] = {}
        self._failures: dict[int, tuple[int, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.parked: dict[int, ParkedKeys] = {}
        """Of each partition that is owned: what is parked."""
        self.counts = Counts()

    @property
    def processed(self) -> int:
        """Events settled so far: handled, found to be handled before, skipped or put aside."""
        counts = self.counts
        return counts.handled + counts.dead_letters + counts.skipped + counts.expired

    async def start(self) -> None:
        """Begin to work."""
        concurrency, groups, group = self._sizes
        with detached():
            for number in range(concurrency):
                self._tasks.append(asyncio.create_task(self._single(), name=f"{self._consumer} worker {number}"))
            for number in range(groups):
                self._tasks.append(asyncio.create_task(self._grouped(group), name=f"{self._consumer} group {number}"))

    async def stop(self, grace: float) -> None:
        """End as the class says; what waits is forgotten."""
        self.drop(lambda lane: True)
        if not await self.idle(lambda lane: True, grace):
            _logger.warning("%s: handlers did not end within %g s and are cancelled", self._consumer, grace)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self.drop(lambda lane: True)  # what came to rest meanwhile
        for partition in tuple(self.parked):
            self.disown(partition)

    def drop(self, chosen: Callable[[Lane], bool]) -> None:
        """Forget what waits in some lanes; it was not settled and comes again. What is being handled goes on."""
        for lane in [lane for lane in self._resting if chosen(lane)]:
            timer, tasks = self._resting.pop(lane)
            timer.cancel()
            self._lanes.give_back(lane, *tasks)
        for task in self._lanes.drop(chosen):
            self._forget(task)

    async def idle(self, chosen: Callable[[Lane], bool], timeout: float) -> bool:
        """Wait until nothing of some lanes is being handled; say whether that is so within the time."""
        end = self._clock.monotonic() + timeout
        while busy := self._lanes.busy(chosen):
            if self._clock.monotonic() >= end:
                break
            await self._clock.sleep(0.005)
        return not busy

    async def take_in(self, delivery: Delivery, partition: int) -> None:
        """Have a delivery handled in its turn. Without the partition it is left to its owner."""
        if not self.owns(partition):
            return
        self.counts.delivered[delivery.subject.rpartition(".")[0]] += 1
        self.counts.redelivered += delivery.deliveries > 1
        self._keeping.add(delivery)
        own = f"{delivery.stream}:{delivery.sequence}"
        try:
            parsed = self._inbound.parse(delivery)
        except Skipped:
            self.counts.skipped += 1
            await self._keeping.ack(delivery)
        except UnreadableError as error:
            lane = own if partition == SHARED or error.key is None else error.key
            self._lanes.put((partition, lane), Unreadable(delivery, str(error)))
        else:
            attempts, failures = self._failures.get(delivery.sequence, (0, 0)) if partition == SHARED else (0, 0)
            keys = self.parked.get(partition)
            work = Work(delivery, parsed, None if keys is None else keys.tenure, attempts, failures)
            self._lanes.put((partition, own if partition == SHARED else parsed.key), work)

    async def take_again(self, redriven: Redriven) -> None:
        """Have a dead letter handled once more, or forget what waits for it."""
        try:
            parsed = self._inbound.parse(redriven)
        except UnreadableError as unreadable:
            if redriven.action == DROP:
                await self._again_parked(redriven, unreadable.key)
            else:
                await self._put(None, redriven, str(unreadable), None)
            return await redriven.ack()
        except Skipped:
            return await redriven.ack()
        if self._parking is not None and not parsed.route.spec.unordered:
            await self._again_parked(redriven, parsed.key, parsed.envelope.id)
        elif redriven.action == AGAIN:
            self._keeping.add(redriven)
            self._lanes.put((SHARED, f"{redriven.stream}:{redriven.sequence}"), Work(redriven, parsed))
            return None
        return await redriven.ack()

    async def _again_parked(self, redriven: Redriven, key: str | None, event_id: str = "") -> None:
        """Note it in the database, where the owner of its partition finds it."""
        partition = partition_in(redriven.subject)
        if self._parking is None or key is None or partition is None:
            return
        event = _row(redriven, event_id, partition, key, due_in=0.0)
        if redriven.action == DROP:
            await self._parking.drop(self._consumer, redriven.stream, event)
        else:
            await self._parking.again(self._consumer, redriven.stream, event)
        self.due(partition, key)

    def own(self, partition: int, keys: ParkedKeys) -> None:
        """Begin with a partition, of which some keys may be parked."""
        self.parked[partition] = keys

    def owns(self, partition: int) -> bool:
        """Say whether events of a partition may be handled, as far as this process knows."""
        return partition == SHARED or self._parking is None or partition in self.parked

    def disown(self, partition: int) -> None:
        """End with a partition: nothing of it is parked any more, and what waits comes again elsewhere."""
        self.drop(lambda lane: lane[0] == partition)
        if (keys := self.parked.pop(partition, None)) is not None:
            keys.close()

    def due(self, partition: int, key: str) -> None:
        """Have a key's parked events handled."""
        if (keys := self.parked.get(partition)) is not None:
            keys.add(key, None)
            self._lanes.put((partition, key), Retry())

    async def _single(self) -> None:
        while True:
            lane, task = await self._lanes.take()
            await self._safely(lane, [task], self._one(lane, task))

    async def _grouped(self, most: int) -> None:
        while True:
            lanes: list[tuple[Lane, list[Work]]] = []
            for lane, tasks in await self._lanes.take_together(most):
                works = [task for task in tasks if isinstance(task, Work)]
                if not self.owns(lane[0]) or self._is_parked(lane):
                    await self._safely(lane, works, self._park(lane, works))
                else:
                    lanes.append((lane, works))
            if lanes:
                await self._together(lanes)

    async def _safely(self, lane: Lane, tasks: Sequence[Task], doing: Coroutine[Any, Any, _Rest | None]) -> None:
        """Do a lane's tasks, and give the lane back when it has rested. A worker outlives every error."""
        try:
            rest = await doing
        except (Exception, asyncio.CancelledError) as error:
            if cancelled(error):
                self._lanes.give_back(lane)
                raise
            _logger.exception("%s: events could not be settled yet", self._consumer)
            rest = _Rest(_STUMBLE, tasks)
        if rest is None:
            self._lanes.give_back(lane)
        else:
            timer = self._clock.call_later(rest.seconds, partial(self._rested, lane))
            self._resting[lane] = (timer, rest.tasks)

    def _rested(self, lane: Lane) -> None:
        self._lanes.give_back(lane, *self._resting.pop(lane)[1])

    def _forget(self, task: Task) -> None:
        """Leave a delivery to come again."""
        if isinstance(task, Unreadable):
            self._keeping.forget(task.delivery)
        elif isinstance(task, Work) and not isinstance(task.received, ParkedDelivery):
            self._keeping.forget(cast("Delivery", task.received))

    async def _one(self, lane: Lane, task: Task) -> _Rest | None:
        if isinstance(task, Retry):
            await self._retry(lane)
            return None
        if not self.owns(lane[0]):
            self._forget(task)
            return None
        if isinstance(task, Unreadable):
            return await self._bury(task, task.delivery, task.reason)
        if self._is_parked(lane):
            return await self._park(lane, [task])
        if (error := await self._try(task)) is not None:
            return await self._failed(lane, task, error)
        await self._settle(task)
        return None

    async def _together(self, lanes: Sequence[tuple[Lane, list[Work]]]) -> None:
        """Apply the events of some lanes in one transaction; when that fails, each in one of its own."""
        works = [work for _, some in lanes for work in some if not self._is_late(work)]
        try:
            if works:
                await self._handling.attempt_together(works)
        except (Exception, asyncio.CancelledError) as error:
            if cancelled(error):
                for lane, _ in lanes:
                    self._lanes.give_back(lane)
                raise
            for lane, some in lanes:
                await self._safely(lane, some, self._in_turn(lane, some))
            return
        for lane, some in lanes:
            for work in some:
                await self._settle(work)
            self._lanes.give_back(lane)

    async def _in_turn(self, lane: Lane, works: Sequence[Work]) -> _Rest | None:
        for number, work in enumerate(works):
            if (error := await self._try(work)) is not None:
                return await self._failed(lane, work, error, works[number + 1 :])
            await self._settle(work)
        return None

    async def _try(self, work: Work) -> BaseException | None:
        """Handle an event unless its time is over; return what came of it instead of an effect."""
        if self._is_late(work):
            return None
        work.attempts += 1
        envelope = work.parsed.envelope
        with enter(Context(None, correlation_id=envelope.correlation_id, key=envelope.id)):  # for what is logged
            try:
                await self._handling.attempt(work)
            except (Exception, asyncio.CancelledError) as error:  # whatever a handler raises is tried again
                if cancelled(error):
                    raise
                self.counts.failures += 1
                if not isinstance(error, CarrickError | TimeoutError | UnrecordedError):
                    name = work.parsed.route.spec.full_name
                    _logger.error("%s: the handler of %s failed", self._consumer, name, exc_info=error)
                return error
        return None

    def _is_late(self, work: Work) -> bool:
        """Say whether an event is of no use any more: it is settled without being handled."""
        expires_at = work.parsed.envelope.expires_at
        if expires_at is not None:
            work.late = self._clock.wall() >= expires_at
        return work.late

    async def _settle(self, work: Work) -> None:
        if work.late:
            self._expire(work)
        else:
            self.counts.handled += 1
        if isinstance(work.received, ParkedDelivery):
            return
        self._failures.pop(work.received.sequence, None)
        await self._keeping.ack(cast("Delivery", work.received))

    def _expire(self, work: Work) -> None:
        self.counts.expired += 1
        self._observe(
            EventTooLate(
                consumer=self._consumer,
                event_type=work.parsed.route.spec.full_name,
                event_id=work.parsed.envelope.id,
                subject=work.received.subject,
            )
        )

    def _judge(self, work: Work, error: BaseException) -> Again | GiveUp:
        if isinstance(error, UnrecordedError):
            return GiveUp(str(error), work.failures + 1)
        judged = verdict(error, work.options, attempts=work.attempts, failures=work.failures, uniform=random.random())
        work.failures = judged.failures
        if isinstance(judged, Again):
            self._observe(
                EventHandlingFailed(
                    consumer=self._consumer,
                    event_type=work.parsed.route.spec.full_name,
                    event_id=work.parsed.envelope.id,
                    attempt=work.attempts,
                    reason=reason_of(error),
                    delay=judged.delay,
                )
            )
        return judged

    async def _failed(self, lane: Lane, work: Work, error: BaseException, behind: Sequence[Work] = ()) -> _Rest | None:
        """Do with a delivery that failed what is to be done; ``behind`` are those of its lane that come next."""
        if isinstance(error, NewerOwnerError):
            self._leave([work, *behind])
            if (keys := self.parked.get(lane[0])) is not None:
                self._lose(keys)
            return None
        judged = self._judge(work, error)
        if isinstance(judged, GiveUp):
            return await self._give_up(lane, work, judged.reason, error, behind)
        if lane[0] == SHARED:
            await self._hand_back(work, judged.delay)
            return None
        if self._parking is None:
            return _Rest(judged.delay, (work, *behind))
        return await self._park(lane, [work, *behind], reason=reason_of(error), due_in=judged.delay)

    async def _hand_back(self, work: Work, delay: float) -> None:
        delivery = cast("Delivery", work.received)
        self._failures[delivery.sequence] = (work.attempts, work.failures)
        while len(self._failures) > _MOST_FAILURES:
            self._failures.pop(next(iter(self._failures)))
        self._keeping.forget(delivery)
        try:
            await delivery.nak(delay)
        except MessagingError as error:
            _logger.info("%s: an event comes again when its ack_wait is over: %s", self._consumer, error)

    async def _give_up(
        self, lane: Lane, work: Work, reason: str, error: BaseException, behind: Sequence[Work]
    ) -> _Rest | None:
        try:
            if await self._handling.had_its_effect(work):  # by another process, that was taken for dead
                await self._settle(work)
                return _Rest(0.0, behind)
            if not await self._still_owns(lane[0]):
                self._leave([work, *behind])
                return None
            await self._put(work, work.received, reason, error)
        except (MessagingError, StoreError) as failed:
            _logger.warning("%s: can't put an event aside yet: %s", self._consumer, failed)
            return _Rest(_STUMBLE, (work, *behind))
        if work.options.hold_key and self._parking is not None and lane[0] != SHARED:
            return await self._park(lane, [work, *behind], reason=reason, held=True)
        self._failures.pop(work.received.sequence, None)
        await self._keeping.ack(cast("Delivery", work.received))
        return _Rest(0.0, behind) if behind else None

    async def _bury(self, task: Unreadable, delivery: Delivery, reason: str) -> _Rest | None:
        try:
            await self._put(None, delivery, reason, None)
        except MessagingError as failed:
            _logger.warning("%s: can't put a message aside yet: %s", self._consumer, failed)
            return _Rest(_STUMBLE, (task,))
        await self._keeping.ack(delivery)
        return None

    async def _put(self, work: Work | None, received: Received, reason: str, error: BaseException | None) -> None:
        await self._dead_letters.put(
            self._consumer,
            received,
            reason,
            attempts=work.attempts if work else 0,
            stack=stack_of(error) if error else "",
        )
        self.counts.dead_letters += 1
        self._observe(
            EventDeadLettered(
                consumer=self._consumer, subject=received.subject, sequence=received.sequence, reason=reason
            )
        )

    def _is_parked(self, lane: Lane) -> bool:
        keys = self.parked.get(lane[0])
        return keys is not None and lane[1] in keys

    async def _park(
        self,
        lane: Lane,
        works: Sequence[Work],
        *,
        reason: str = "",
        due_in: float | None = None,
        held: bool = False,
    ) -> _Rest | None:
        """Park a lane's events: the first of them failed, or they come behind one that did."""
        partition, key = lane
        keys = self.parked.get(partition)
        works = [*works, *cast("list[Work]", self._lanes.more(lane, _is_work, _AT_ONCE))]
        if keys is None or self._parking is None:  # another process has the partition now
            self._leave(works)
            return None
        first: dict[str, Any] = {"due_in": due_in, "reason": reason, "held": held}
        rows = [
            _row(work.received, work.parsed.envelope.id, partition, key, work=work, **(first if number == 0 else {}))
            for number, work in enumerate(works)
        ]
        try:
            await self._parking.park(keys.tenure, rows)
        except NewerOwnerError:
            self._lose(keys)
            self._leave(works)
            return None
        except StoreError as error:
            _logger.warning("%s: can't park events yet: %s", self._consumer, error)
            return _Rest(_STUMBLE, works)
        self.counts.parked += len(works)
        keys.events += len(works)
        if reason or held:
            keys.add(key, due_in)
        for work in works:
            await self._keeping.ack(cast("Delivery", work.received))
        return None

    async def _still_owns(self, partition: int) -> bool:
        """Ask the database for a partition's owner, where there is one."""
        if partition == SHARED or self._parking is None:
            return True
        keys = self.parked.get(partition)
        if keys is None:
            return False
        try:
            await self._parking.check(keys.tenure)
        except NewerOwnerError:
            self._lose(keys)
            return False
        return True

    def _lose(self, keys: ParkedKeys) -> None:
        """Leave all of a partition to its newer owner: later events would overtake the one that is left."""
        partition = keys.tenure.partition
        if self.parked.get(partition) is keys:
            _logger.info("%s: another process has partition %d by now", self._consumer, partition)
            self.disown(partition)

    def _leave(self, works: Sequence[Work]) -> None:
        for work in works:
            self._forget(work)

    async def _retry(self, lane: Lane) -> None:
        """Handle a key's parked events until one fails again, or none is left."""
        partition, key = lane
        keys = self.parked.get(partition)
        if keys is None or self._parking is None:
            return
        try:
            while events := await self._parking.of_key(keys.tenure, key, _AT_ONCE):
                for event in events:
                    if event.held:
                        return
                    if (event.due_in or 0.0) > 0:
                        keys.add(key, event.due_in)
                        return
                    if not await self._retried(keys, event):
                        return
            keys.remove(key)
        except NewerOwnerError:
            self._lose(keys)
        except (StoreError, MessagingError) as error:
            _logger.warning("%s: can't handle parked events yet: %s", self._consumer, error)
            keys.add(key, _STUMBLE)

    async def _retried(self, keys: ParkedKeys, event: Parked) -> bool:
        """Handle a parked event; say whether the next of its key may follow."""
        assert self._parking is not None
        delivery = ParkedDelivery(event, keys.tenure.stream)
        try:
            work = Work(delivery, self._inbound.parse(delivery), keys.tenure, event.attempts, event.failures)
        except (UnreadableError, Skipped) as unreadable:  # this version of the service handles other events
            await self._parking.check(keys.tenure)
            await self._put(None, delivery, str(unreadable), None)
            return await self._unpark(keys, event)
        failure = await self._try(work)
        if isinstance(failure, NewerOwnerError):
            raise failure
        if failure is None:
            await self._settle(work)
            return await self._unpark(keys, event)
        judged = self._judge(work, failure)
        tried = replace(event, attempts=work.attempts, failures=work.failures, reason=reason_of(failure))
        if isinstance(judged, Again):
            await self._parking.postpone(keys.tenure, replace(tried, due_in=judged.delay))
            keys.add(event.key, judged.delay)
            return False
        if not await self._handling.had_its_effect(work):
            await self._parking.check(keys.tenure)
            await self._put(work, delivery, judged.reason, failure)
            if work.options.hold_key:
                await self._parking.postpone(keys.tenure, replace(tried, reason=judged.reason, held=True))
                return False
        return await self._unpark(keys, event)

    async def _unpark(self, keys: ParkedKeys, event: Parked) -> bool:
        assert self._parking is not None
        await self._parking.settle(keys.tenure, [event])
        keys.events -= 1
        return True


def _is_work(task: Task) -> bool:
    return isinstance(task, Work)


def _goes_together(task: Task) -> bool:
    return isinstance(task, Work) and task.parsed.route.applies


def _row(
    received: Received,
    event_id: str,
    partition: int,
    key: str,
    *,
    work: Work | None = None,
    due_in: float | None = None,
    reason: str = "",
    held: bool = False,
) -> Parked:
    return Parked(
        partition=partition,
        key=key,
        sequence=received.sequence,
        event_id=event_id,
        subject=received.subject,
        headers=received.headers,
        data=received.data,
        stored_at=received.stored_at,
        attempts=work.attempts if work else 0,
        failures=work.failures if work else 0,
        due_in=due_in,
        reason=reason[:_MAX_REASON],
        held=held,
    )
