"""Policies that meet streams: what counts for the breaker, what is retried, and when a span ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from carrick import (
    Attempt,
    AttemptKind,
    BreakerOptions,
    Code,
    Context,
    IdempotencyLevel,
    MethodKind,
    MethodPolicy,
    RejectedError,
    RemoteError,
    RetryOptions,
    stack,
)
from carrick.observe import ignore
from carrick.policy.breaker import BreakerState, breaker
from carrick.rpc import Channel
from carrick.testing import FakeBidiStream, FakeClientStream, FakeClock, FakeServerStream, fake_channel
from tests.unit.calls import first_attempt
from tests.unit.streams import Item, item, items, numbers, streaming

BREAKER = BreakerOptions(failure_ratio=0.5, min_calls=2, window=10, open_for=5, trials=1)
GUARDED = MethodPolicy(breaker=BREAKER)
RETRIED = MethodPolicy(breaker=BREAKER, retry=RetryOptions(max_attempts=4, initial_backoff=0.01, max_backoff=0.01))
WATCH = streaming(MethodKind.SERVER_STREAM, policy=GUARDED)
RETRIED_WATCH = streaming(MethodKind.SERVER_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT, policy=RETRIED)
RETRIED_UPLOAD = streaming(MethodKind.CLIENT_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT, policy=RETRIED)
RETRIED_TALK = streaming(MethodKind.BIDI_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT, policy=RETRIED)


class Watching:
    """A client of a fake server stream, and its circuit."""

    def __init__(self) -> None:
        self.clock = FakeClock(autojump=True)
        self.fake = FakeServerStream(WATCH)
        channel = fake_channel(self.fake, clock=self.clock)
        self.call = channel.server_stream(WATCH)
        self.breaker = breaker_of(channel)

    async def trip(self) -> None:
        """Open the circuit, and wait until it lets a trial through."""
        self.fake.fails(Code.UNAVAILABLE)
        while self.breaker.state != "open":
            with pytest.raises(RemoteError):
                await anext(self.call(item(0)))
        self.clock.advance(BREAKER.open_for)


def breaker_of(channel: Channel) -> BreakerState:
    """Return the state of the breaker of WATCH."""
    state = channel.breaker(WATCH)
    assert state is not None
    return state


@pytest.fixture
def watching() -> Watching:
    """Return a client whose circuit is closed."""
    return Watching()


async def test_a_trial_succeeds_with_its_first_response(watching: Watching) -> None:
    """The circuit does not stay half-open for as long as a stream lasts."""
    await watching.trip()
    watching.fake.returns([item(1), item(2)])
    async with watching.call(item(0)) as stream:
        await anext(stream)
        assert watching.breaker.state == "closed"


async def test_a_trial_that_is_left_before_its_first_response_gives_its_permit_back(watching: Watching) -> None:
    """Cancelling the first wait of a trial leaves room for another."""
    await watching.trip()
    watching.fake.hangs()
    reading = asyncio.ensure_future(numbers(watching.call(item(0))))
    while watching.breaker.admits(watching.clock.monotonic()):
        await asyncio.sleep(0)
        assert not reading.done()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert watching.breaker.admits(watching.clock.monotonic())


async def test_a_stream_that_breaks_off_counts_as_one_more_call(watching: Watching) -> None:
    """Its beginning was a success, its end a failure."""
    watching.fake.fails(Code.UNAVAILABLE, after=[item(1)])
    with pytest.raises(RemoteError):
        await numbers(watching.call(item(0)))
    assert watching.breaker.state == "open"


async def test_a_trial_that_breaks_off_counts_where_its_success_led(watching: Watching) -> None:
    """Its first response has closed the circuit; breaking off, it is the first failure of the new time."""
    await watching.trip()
    watching.fake.fails(Code.UNAVAILABLE, after=[item(1)])
    with pytest.raises(RemoteError):
        await numbers(watching.call(item(0)))
    assert watching.breaker.state == "closed"
    assert watching.breaker.counts(watching.clock.monotonic()) == (1, 1, 0)


async def test_a_first_response_from_before_a_change_leaves_its_stream_without_a_say() -> None:
    """A stream whose beginning is not counted is not counted when it breaks off either."""
    state, clock, go_on = BreakerState(BREAKER), FakeClock(), asyncio.Event()

    async def late(request: Item, ctx: Context) -> object:
        await go_on.wait()
        return broken_off()

    async def broken_off() -> AsyncIterator[Item]:
        yield item(1)
        raise RemoteError(Code.UNAVAILABLE, "away")

    service = stack(late, breaker(state, endpoint="e", clock=clock, observe=ignore))
    beginning = asyncio.ensure_future(service(item(0), first_attempt(WATCH)))
    await asyncio.sleep(0)
    state.close()
    go_on.set()
    with pytest.raises(RemoteError):
        await numbers(await beginning)
    assert state.counts(clock.monotonic()) == (0, 0, 0)


async def test_a_slow_first_response_counts_as_slow() -> None:
    """It is the time to the first response that is measured; how long the rest takes is the reader's affair."""
    state = BreakerState(BreakerOptions(slow_after=1.0, min_calls=100))
    clock = FakeClock()

    async def slow(request: Item, ctx: Context) -> object:
        clock.advance(1.5)
        return items(2)

    service = stack(slow, breaker(state, endpoint="e", clock=clock, observe=ignore))
    stream = await service(item(0), first_attempt(WATCH))
    clock.advance(60.0)
    await numbers(stream)
    assert state.counts(clock.monotonic() - 60.0) == (1, 0, 1)


async def test_a_stream_breaks_off_after_the_circuit_was_opened(watching: Watching) -> None:
    """What a stream meets when nothing is let through changes nothing: not even the time of the opening."""
    watching.fake.fails(Code.UNAVAILABLE, after=[item(1)])
    old = watching.call(item(0))
    await anext(old)
    watching.breaker.open(watching.clock.monotonic())
    watching.clock.advance(4.0)
    with pytest.raises(RemoteError):
        await anext(old)
    assert watching.breaker.state == "open"
    assert watching.breaker.admits(watching.clock.monotonic() + 1.0)


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.FAILED_PRECONDITION])
async def test_an_answer_in_the_middle_of_a_stream_is_no_failure(watching: Watching, code: Code) -> None:
    """A status that speaks of the request says nothing against the endpoint, late as early."""
    for _ in range(4):
        watching.fake.fails(code, after=[item(1)], times=1)
        with pytest.raises(RemoteError):
            await numbers(watching.call(item(0)))
    assert watching.breaker.state == "closed"


async def test_leaving_a_stream_counts_for_nothing(watching: Watching) -> None:
    """A reader that has seen enough does not open the circuit."""
    watching.fake.returns([item(1), item(2)])
    for _ in range(4):
        async with watching.call(item(0)) as stream:
            await anext(stream)
    assert watching.breaker.state == "closed"
    assert watching.breaker.counts(watching.clock.monotonic()) == (4, 0, 0)


async def test_a_late_failure_of_an_earlier_state_is_ignored(watching: Watching) -> None:
    """A stream that began before the circuit opened and closed does not open it again."""
    watching.fake.fails(Code.UNAVAILABLE, after=[item(1)], times=1)
    old = watching.call(item(0))
    await anext(old)
    await watching.trip()
    watching.fake.returns([item(1)])
    await numbers(watching.call(item(0)))
    assert watching.breaker.state == "closed"
    with pytest.raises(RemoteError):
        await anext(old)
    assert watching.breaker.counts(watching.clock.monotonic()) == (0, 0, 0)


async def test_attempts_before_the_first_response_count_each() -> None:
    """The breaker stands inside retry, for streams too: two failed attempts open it, the third is refused."""
    fake = FakeServerStream(RETRIED_WATCH)
    fake.fails(Code.UNAVAILABLE)
    call = fake_channel(fake, clock=FakeClock(autojump=True)).server_stream(RETRIED_WATCH)
    with pytest.raises(RejectedError):
        await anext(call(item(0)))
    assert len(fake.contexts) == 2


async def test_what_was_refused_has_not_touched_its_requests() -> None:
    """A call that an open circuit refuses is retried with all its requests, which nobody has read."""
    clock = FakeClock(autojump=True)
    fake = FakeClientStream(RETRIED_UPLOAD)
    fake.fails(Code.UNAVAILABLE, times=2)
    fake.returns(item(1))
    call = fake_channel(fake, clock=clock).client_stream(RETRIED_UPLOAD)
    with pytest.raises(RejectedError):
        await call(items(3))
    clock.advance(BREAKER.open_for)
    assert await call(items(3)) == item(1)
    assert fake.requests == [[], [], [item(0), item(1), item(2)]]


async def test_requests_go_on_after_the_first_response() -> None:
    """A retried bidirectional stream that was answered sends the rest of its requests once."""
    fake = FakeBidiStream(RETRIED_TALK)

    async def echo(requests: AsyncIterator[Item]) -> AsyncIterator[Item]:
        async for request in requests:
            yield request

    fake.fails(Code.UNAVAILABLE, times=1)
    fake.computes(echo)
    call = fake_channel(fake, clock=FakeClock(autojump=True)).bidi_stream(RETRIED_TALK)
    assert await numbers(call(items(50))) == list(range(50))
    assert [len(each) for each in fake.requests] == [0, 50]


@pytest.mark.parametrize("idempotency", [IdempotencyLevel.UNKNOWN, IdempotencyLevel.IDEMPOTENT])
async def test_an_error_of_the_requests_is_no_answer(idempotency: IdempotencyLevel) -> None:
    """What another call failed with while it was read for this one is neither retried nor counted, and is raised."""
    upload = streaming(MethodKind.CLIENT_STREAM, idempotency=idempotency, policy=RETRIED)
    fake = FakeClientStream(upload)
    fake.returns(item(7))
    channel = fake_channel(fake, clock=FakeClock(autojump=True))
    refused = RejectedError(Code.UNAVAILABLE, "never sent", attempt=Attempt(1, AttemptKind.FIRST))

    async def handed_on() -> AsyncIterator[Item]:
        yield item(1)
        raise refused

    call = channel.client_stream(upload)
    with pytest.raises(RejectedError) as raised:
        await call(handed_on())
    assert raised.value is refused
    assert raised.value.__context__ is None
    state = channel.breaker(upload)
    assert state is not None
    assert state.counts(0.0) == (0, 0, 0)
