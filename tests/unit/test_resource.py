import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from carrick import (
    Attempt,
    AttemptKind,
    BreakerOptions,
    CarrickError,
    Code,
    ConcurrencyOptions,
    ConfigurationError,
    Context,
    DeadlineError,
    MessagingError,
    RejectedError,
    RemoteError,
    RetryOptions,
    StoreError,
    TransportError,
    detached,
)
from carrick.context import current, enter
from carrick.observe import ResourceDegraded, ResourceRecovered
from carrick.policy.breaker import BreakerState, OpenReason
from carrick.resource import RESOURCE_BREAKER, Resource
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, Seen, half

_AWAY = StoreError(Code.UNAVAILABLE, "locked")


class _Guarded:
    """A resource with a fake clock, and what was asked of it."""

    def __init__(self, *, breaker: BreakerOptions | None = RESOURCE_BREAKER, retry: RetryOptions | None = None) -> None:
        self.clock = FakeClock(autojump=True)
        self.seen = Seen()
        self.resource = Resource(
            "thing", breaker=breaker, retry=retry, clock=self.clock, uniform=half, observe=self.seen
        )
        self.asked = 0
        self.blocks: list[str] = []

    def state(self, operation: str = "call") -> BreakerState:
        """Return an operation's circuit."""
        state = self.resource.breaker(operation)
        assert state is not None
        return state

    @property
    def counts(self) -> tuple[int, int, int]:
        """What the circuit of blocks has counted."""
        return self.state("block").counts(self.clock.monotonic())

    async def call(self, *outcomes: BaseException | str, repeatable: bool = False) -> str:
        """Ask for something that ends with each of the outcomes in turn."""
        left = list(outcomes)

        async def function(prefix: str) -> str:
            self.asked += 1
            outcome = left.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return prefix + outcome

        return await self.resource.call(function, ">", repeatable=repeatable)

    async def failing(self, times: int = RESOURCE_BREAKER.min_calls) -> None:
        """Fail so often."""
        for _ in range(times):
            with pytest.raises(TransportError):
                await self.call(ConnectionRefusedError("no"))

    def block(
        self, *, begin: list[BaseException | None] | None = None, end: BaseException | None = None
    ) -> AbstractAsyncContextManager[str]:
        """Hold a block that begins and ends as told."""
        begins = begin or [None]

        @asynccontextmanager
        async def held() -> AsyncIterator[str]:
            if (error := begins.pop(0)) is not None:
                self.blocks.append("not begun")
                raise error
            self.blocks.append("begun")
            try:
                yield "value"
            except BaseException:
                self.blocks.append("rolled back")
                raise
            if end is not None:
                raise end
            self.blocks.append("committed")

        return self.resource.hold(held, operation="block", failed=lambda error: isinstance(error, StoreError))


async def test_what_is_asked_is_done() -> None:
    """Arguments go in, the result comes out, and it counts as one call."""
    guarded = _Guarded()
    assert await guarded.call("done") == ">done"
    assert guarded.state().counts(guarded.clock.monotonic()) == (1, 0, 0)


@pytest.mark.parametrize("breaker", [None, BreakerOptions(enabled=False)])
async def test_without_a_breaker_nothing_is_refused(breaker: BreakerOptions | None) -> None:
    """Errors are still put into the framework's words."""
    guarded = _Guarded(breaker=breaker)
    await guarded.failing(20)
    assert guarded.resource.breaker("call") is None
    assert not guarded.resource.degraded


async def test_with_its_circuit_open_a_resource_is_not_asked() -> None:
    """After too many failures it refuses at once, says why, and what was refused was certainly not done."""
    guarded = _Guarded()
    await guarded.failing()
    with pytest.raises(
        RejectedError, match="thing/call: the circuit to thing is open: too many calls failed"
    ) as caught:
        await guarded.call("never")
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.attempt is not None
    assert not caught.value.attempt.sent
    assert guarded.asked == RESOURCE_BREAKER.min_calls
    assert guarded.clock.slept == []


async def test_it_closes_again_by_being_used() -> None:
    """A trial that succeeds is enough."""
    guarded = _Guarded()
    await guarded.failing()
    guarded.clock.advance(1.0)
    assert await guarded.call("back") == ">back"
    assert guarded.state().state == "closed"


@pytest.mark.parametrize("error", [ConnectionRefusedError("no"), TimeoutError("late"), OSError("disk")])
async def test_errors_of_the_system_become_the_frameworks(error: OSError) -> None:
    """A handler that lets them pass answers UNAVAILABLE and not INTERNAL; the cause is kept."""
    guarded = _Guarded()
    with pytest.raises(TransportError, match=f"thing: {type(error).__name__}") as caught:
        await guarded.call(error)
    assert (caught.value.code, caught.value.__cause__) == (Code.UNAVAILABLE, error)
    assert guarded.state().counts(0.0) == (1, 1, 0)


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (RemoteError(Code.UNAVAILABLE, "away"), (1, 1, 0)),
        (RemoteError(Code.INTERNAL, "broken"), (1, 1, 0)),
        (RemoteError(Code.NOT_FOUND, "none"), (1, 0, 0)),
        (ValueError("bug"), (0, 0, 0)),
    ],
)
async def test_other_errors_pass_as_they_are(error: Exception, counts: tuple[int, int, int]) -> None:
    """A status of outages counts, another is an answer, and a fault of the program is neither."""
    guarded = _Guarded()
    with pytest.raises(type(error)) as caught:
        await guarded.call(error)
    assert caught.value is error
    assert guarded.state().counts(0.0) == counts


async def test_who_asks_says_what_speaks_against_it() -> None:
    """An error that is not the resource's passes the filters uncounted and unretried, whatever its status."""
    guarded = _Guarded(retry=RetryOptions())
    error = MessagingError(Code.UNAVAILABLE, "another's")

    async def function() -> None:
        guarded.asked += 1
        raise error

    with pytest.raises(MessagingError) as caught:
        await guarded.resource.call(function, failed=lambda error: isinstance(error, StoreError), repeatable=True)
    assert (caught.value, caught.value.__cause__, caught.value.__context__) == (error, None, None)
    assert guarded.asked == 1
    assert guarded.state().counts(0.0) == (0, 0, 0)


async def test_only_what_is_repeatable_is_tried_again() -> None:
    """Nobody knows whether a failed call was executed; it counts once with its retries."""
    guarded = _Guarded(retry=RetryOptions(max_attempts=3))
    with pytest.raises(StoreError):
        await guarded.call(_AWAY, "again")
    assert guarded.asked == 1
    assert await guarded.call(_AWAY, _AWAY, "again", repeatable=True) == ">again"
    assert guarded.asked == 4
    assert guarded.state().counts(0.0) == (2, 1, 0)
    assert guarded.seen.names == ["RetryNotMade", "RetryScheduled", "RetryScheduled"]


async def test_what_a_peer_was_never_sent_may_still_have_been_begun() -> None:
    """Another call's refusal inside of what is asked does not say that this was not done: it is not done again."""
    asked = 0

    async def half_done() -> None:
        nonlocal asked
        asked += 1
        raise RejectedError(Code.UNAVAILABLE, "a peer's circuit is open", attempt=Attempt(1, AttemptKind.FIRST))

    resource = Resource("database", retry=RetryOptions(), clock=FakeClock(autojump=True))
    with pytest.raises(RejectedError, match="a peer's circuit"):
        await resource.call(half_done)
    assert asked == 1


async def test_it_is_part_of_what_is_being_handled() -> None:
    """Retries end with the deadline of the call being handled."""
    guarded = _Guarded(retry=RetryOptions(initial_backoff=1.0))
    handled = Context(PLAIN, correlation_id="corr", deadline=guarded.clock.monotonic() + 0.1)
    with enter(handled), pytest.raises(DeadlineError):
        await guarded.call(StoreError(Code.UNAVAILABLE, "locked"), "late", repeatable=True)
    assert guarded.asked == 1
    with detached():
        assert current() is None
        assert await guarded.call(StoreError(Code.UNAVAILABLE, "x"), "outside", repeatable=True) == ">outside"


async def test_a_cancelled_trial_leaves_room_for_another() -> None:
    """Cancelling passes, counts for nothing and does not keep the resource shut."""
    guarded = _Guarded()
    await guarded.failing()
    guarded.clock.advance(1.0)
    entered = asyncio.Event()

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    trial = asyncio.ensure_future(guarded.resource.call(hang))
    await entered.wait()
    with pytest.raises(RejectedError):
        await guarded.call("no room")
    trial.cancel()
    await asyncio.wait((trial,))
    assert trial.cancelled()
    assert await guarded.call("back") == ">back"


# Blocks


async def test_a_block_is_held_from_its_beginning_to_its_end() -> None:
    """What was begun is ended, and counts as one call."""
    guarded = _Guarded()
    async with guarded.block() as value:
        guarded.blocks.append(value)
    assert guarded.blocks == ["begun", "value", "committed"]
    assert guarded.counts == (1, 0, 0)


async def test_a_block_that_cannot_begin_is_tried_again() -> None:
    """Nothing was done yet; each try begins anew, and the block is run once."""
    guarded = _Guarded(retry=RetryOptions(max_attempts=3))
    async with guarded.block(begin=[_AWAY, _AWAY, None]):
        guarded.blocks.append("value")
    assert guarded.blocks == ["not begun", "not begun", "begun", "value", "committed"]
    assert guarded.counts == (1, 0, 0)


async def test_a_block_that_can_never_begin_is_a_failure() -> None:
    """Without retries the error comes at once, and enough of them open the circuit."""
    guarded = _Guarded()
    for _ in range(4):
        with pytest.raises(StoreError):
            async with guarded.block(begin=[StoreError(Code.UNAVAILABLE, "locked")]):
                pytest.fail("it began")
    assert guarded.state("block").reason is OpenReason.FAILURES
    with pytest.raises(RejectedError):
        async with guarded.block():
            pytest.fail("it began")
    assert guarded.blocks == ["not begun"] * 4


async def test_a_failure_at_the_end_counts() -> None:
    """A commit that fails is one more call, a failed one, and is not tried again."""
    guarded = _Guarded(retry=RetryOptions())
    with pytest.raises(StoreError) as caught:
        async with guarded.block(end=(full := StoreError(Code.UNAVAILABLE, "full"))):
            pass
    assert caught.value is full
    assert guarded.blocks == ["begun"]
    assert guarded.counts == (2, 1, 0)


async def test_a_failure_of_the_resource_inside_a_block_counts() -> None:
    """It rolls back, passes as it is and is not tried again."""
    guarded = _Guarded(retry=RetryOptions())
    error = StoreError(Code.UNAVAILABLE, "gone")
    with pytest.raises(StoreError) as caught:
        async with guarded.block():
            raise error
    assert caught.value is error
    assert guarded.blocks == ["begun", "rolled back"]
    assert guarded.counts == (2, 1, 0)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bug"),
        KeyboardInterrupt(),
        StopAsyncIteration(),
        CarrickError(Code.INTERNAL, "the user's"),
        RemoteError(Code.UNAVAILABLE, "a peer's", attempt=Attempt(1, AttemptKind.FIRST)),
        StoreError(Code.NOT_FOUND, "an answer"),
    ],
)
async def test_an_error_of_the_users_in_a_block_counts_for_nothing(error: BaseException) -> None:
    """It rolls back and passes; that the block could begin still counts as a success."""
    guarded = _Guarded()
    with pytest.raises(type(error)) as caught:
        async with guarded.block():
            raise error
    assert caught.value is error
    assert guarded.blocks == ["begun", "rolled back"]
    assert guarded.counts == (1, 0, 0)


async def test_another_resources_failure_in_a_block_is_not_this_ones() -> None:
    """With one block in another, the inner one's failure is counted where it belongs."""
    outer, inner = _Guarded(), _Guarded()
    with pytest.raises(StoreError):
        async with outer.block(), inner.block():
            raise StoreError(Code.UNAVAILABLE, "gone")
    assert (outer.counts, inner.counts) == ((1, 0, 0), (2, 1, 0))
    assert outer.blocks == inner.blocks == ["begun", "rolled back"]


async def test_cancelling_a_block_ends_it() -> None:
    """It rolls back, and counts as the success that its beginning was."""
    guarded = _Guarded()
    entered = asyncio.Event()

    async def work() -> None:
        async with guarded.block():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await entered.wait()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert guarded.blocks == ["begun", "rolled back"]
    assert guarded.counts == (1, 0, 0)


# What it tells


async def test_each_turn_is_told_once() -> None:
    """Degraded with the first circuit that opens, recovered when none is open any more; trials between are not told."""
    guarded = _Guarded()
    turns: list[bool] = []
    unwatch = guarded.resource.watch(lambda: turns.append(guarded.resource.degraded))
    await guarded.failing()
    guarded.state("other").isolate()
    guarded.clock.advance(1.0)
    await guarded.failing(1)
    guarded.clock.advance(1.0)
    await guarded.call("back")
    assert guarded.resource.degraded
    guarded.state("other").close()

    assert guarded.seen.observations == [
        ResourceDegraded(resource="thing", operation="call", reason="failures", failures=4, slow=0, calls=4),
        ResourceRecovered(resource="thing", after=2.0),
    ]
    assert turns == [True, False]
    unwatch()
    guarded.state().isolate()
    assert guarded.resource.degraded
    assert turns == [True, False]


@pytest.mark.parametrize("change", [BreakerState.isolate, lambda state: state.open(0.0)])
async def test_it_is_degraded_by_hand_before_it_was_ever_used(change: Callable[[BreakerState], None]) -> None:
    """Taking a resource out for maintenance is told like an outage."""
    guarded = _Guarded()
    change(guarded.state())
    assert guarded.resource.degraded
    assert guarded.seen.names == ["ResourceDegraded"]
    guarded.state().close()
    assert guarded.seen.names == ["ResourceDegraded", "ResourceRecovered"]


async def test_closing_what_is_closed_tells_nothing() -> None:
    """Nothing turned."""
    guarded = _Guarded()
    guarded.state().close()
    assert guarded.seen.observations == []


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65])
def test_a_name_that_health_cannot_have_is_refused(name: str) -> None:
    """With the reason and what to write."""
    with pytest.raises(ConfigurationError, match="is no name for a resource; use letters"):
        Resource(name)


async def test_no_more_is_asked_of_it_at_once_than_its_limit() -> None:
    """The limit is for all operations together, and what it refuses does not count against the resource."""
    resource = Resource("database", concurrency=ConcurrencyOptions(limit=1), clock=FakeClock(), observe=Seen())
    begun, done = asyncio.Event(), asyncio.Event()

    async def long() -> str:
        begun.set()
        await done.wait()
        return "done"

    first = asyncio.ensure_future(resource.call(long, operation="one"))
    await begun.wait()
    with pytest.raises(RejectedError, match="1 calls to database are under way"):
        await resource.call(long, operation="other")
    done.set()
    assert await first == "done"
    assert await resource.call(long, operation="other") == "done"
    assert not resource.degraded
