"""Fakes: what they record, what they answer, and that the client's policies are real in front of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from carrick import (
    CarrickError,
    Code,
    DeadlineError,
    IdempotencyLevel,
    MethodKind,
    MethodPolicy,
    RejectedError,
    RemoteError,
    RetryOptions,
    TransportError,
)
from carrick.rpc import BlockingChannel
from carrick.testing import FakeBidiStream, FakeClientStream, FakeClock, FakeServerStream, FakeUnary, fake_channel
from tests.unit.calls import KEYED
from tests.unit.streams import Item, item, items, numbers, streaming

RETRIED = MethodPolicy(retry=RetryOptions(max_attempts=3))
CALL = streaming(MethodKind.UNARY, idempotency=IdempotencyLevel.IDEMPOTENT, policy=RETRIED)
UPLOAD = streaming(MethodKind.CLIENT_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT, policy=RETRIED)
WATCH = streaming(MethodKind.SERVER_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT, policy=RETRIED)
TALK = streaming(MethodKind.BIDI_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT, policy=RETRIED)


class Fakes:
    """A fake of each shape on one channel, whose clock jumps over every wait."""

    def __init__(self) -> None:
        self.call, self.upload = FakeUnary(CALL), FakeClientStream(UPLOAD)
        self.watch, self.talk = FakeServerStream(WATCH), FakeBidiStream(TALK)
        self.channel = fake_channel(self.call, self.upload, self.watch, self.talk, clock=FakeClock(autojump=True))


@pytest.fixture
def fakes() -> Fakes:
    """Return fakes that were told nothing."""
    return Fakes()


async def test_a_fake_that_was_told_nothing_says_so(fakes: Fakes) -> None:
    """The error names the method and what to do."""
    with pytest.raises(RemoteError, match=r"test.v1.Streams/Unary.* was not told what to answer") as raised:
        await fakes.channel.unary(CALL)(item(1))
    assert raised.value.code is Code.UNIMPLEMENTED


async def test_a_method_that_is_no_fake_is_unimplemented(fakes: Fakes) -> None:
    """A channel answers for its own methods only."""
    with pytest.raises(RemoteError, match="Keyed") as raised:
        await fakes.channel.unary(KEYED)(KEYED.request())
    assert raised.value.code is Code.UNIMPLEMENTED


async def test_one_shape_after_the_other(fakes: Fakes) -> None:
    """Canned replies come back, and requests are recorded, in all shapes."""
    fakes.call.returns(item(1))
    fakes.upload.returns(item(2))
    fakes.watch.returns([item(3), item(4)])
    fakes.talk.returns([item(5)])
    assert await fakes.channel.unary(CALL)(item(10)) == item(1)
    assert await fakes.channel.client_stream(UPLOAD)(items(3)) == item(2)
    assert await numbers(fakes.channel.server_stream(WATCH)(item(11))) == [3, 4]
    assert await numbers(fakes.channel.bidi_stream(TALK)(items(2))) == [5]
    assert fakes.call.requests == [item(10)]
    assert fakes.upload.requests == [[item(0), item(1), item(2)]]
    assert fakes.watch.requests == [item(11)]
    assert fakes.talk.requests == [[item(0), item(1)]]


async def test_computed_replies(fakes: Fakes) -> None:
    """Replies can be made of the requests, by plain functions and asynchronous ones."""

    async def add(requests: list[Item]) -> Item:
        return item(sum(each.total for each in requests))

    async def successors(requests: AsyncIterator[Item]) -> AsyncIterator[Item]:
        async for each in requests:
            yield item(each.total + 1)

    fakes.call.computes(lambda request: item(request.total * 2))
    fakes.upload.computes(add)
    fakes.watch.computes(lambda request: items(request.total))
    fakes.talk.computes(successors)
    assert await fakes.channel.unary(CALL)(item(4)) == item(8)
    assert await fakes.channel.client_stream(UPLOAD)(items(4)) == item(6)
    assert await numbers(fakes.channel.server_stream(WATCH)(item(3))) == [0, 1, 2]
    assert await numbers(fakes.channel.bidi_stream(TALK)(items(3))) == [1, 2, 3]


async def test_answers_for_a_number_of_times_come_first(fakes: Fakes) -> None:
    """Answers are used in the order given, and the one without a number holds ever after."""
    fakes.call.returns(item(9))
    fakes.call.returns(item(1), times=1)
    fakes.call.returns(item(2), times=2)
    call = fakes.channel.unary(CALL)
    assert [(await call(item(0))).total for _ in range(5)] == [1, 2, 2, 9, 9]


async def test_policies_are_real(fakes: Fakes) -> None:
    """A fake that fails twice is called a third time by the retries of the contract, with the same requests."""
    fakes.call.fails(Code.UNAVAILABLE, times=2)
    fakes.call.returns(item(1))
    fakes.upload.fails(Code.UNAVAILABLE, times=2)
    fakes.upload.returns(item(2))
    assert await fakes.channel.unary(CALL)(item(7)) == item(1)
    assert await fakes.channel.client_stream(UPLOAD)(items(2)) == item(2)
    assert len(fakes.call.contexts) == 3
    assert [ctx.attempt and ctx.attempt.number for ctx in fakes.call.contexts] == [1, 2, 3]
    assert fakes.upload.requests == [[], [], [item(0), item(1)]]


async def test_an_error_is_the_peers(fakes: Fakes) -> None:
    """A CarrickError arrives as a handler's would; other classes as they are."""
    fakes.call.fails(CarrickError(Code.NOT_FOUND, "no such order"))
    with pytest.raises(RemoteError, match="no such order"):
        await fakes.channel.unary(CALL)(item(1))
    fakes.call.fails(RejectedError(Code.RESOURCE_EXHAUSTED, "shed"))
    with pytest.raises(RejectedError) as raised:
        await fakes.channel.unary(CALL)(item(1))
    assert raised.value.attempt is not None
    assert not raised.value.attempt.sent


async def test_a_stream_that_breaks_off(fakes: Fakes) -> None:
    """Responses before the error are delivered, and nothing is tried again."""
    fakes.watch.fails(Code.UNAVAILABLE, after=[item(1)])
    stream = fakes.channel.server_stream(WATCH)(item(0))
    assert await anext(stream) == item(1)
    with pytest.raises(RemoteError):
        await anext(stream)
    assert len(fakes.watch.contexts) == 1


async def test_a_fake_that_hangs_runs_into_the_deadline(fakes: Fakes) -> None:
    """Without waiting in real time, where the clock is a fake."""
    fakes.call.hangs()
    fakes.watch.hangs()
    with pytest.raises(DeadlineError):
        await fakes.channel.unary(CALL)(item(1), timeout=60)
    with pytest.raises(DeadlineError):
        await anext(fakes.channel.server_stream(WATCH)(item(1), timeout=60))


async def test_a_fake_that_hangs_can_be_cancelled(fakes: Fakes) -> None:
    """Without a deadline it waits until the caller has enough."""
    fakes.watch.hangs()
    reading = asyncio.ensure_future(numbers(fakes.channel.server_stream(WATCH)(item(1))))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_keys_and_metadata_are_recorded() -> None:
    """Each call's context shows what it came with."""
    fake = FakeUnary(KEYED)
    fake.returns(KEYED.response(order_id="o"))
    await fake_channel(fake).unary(KEYED)(KEYED.request(), key="k", metadata=(("x-extra", "1"),))
    assert [(ctx.key, ctx.metadata) for ctx in fake.contexts] == [("k", (("x-extra", "1"),))]


async def test_messages_are_copies(fakes: Fakes) -> None:
    """Changing a message after the call changes nothing that was recorded or will be answered."""
    canned, request = item(1), item(5)
    fakes.call.returns(canned)
    reply = await fakes.channel.unary(CALL)(request)
    request.total = reply.total = 99
    assert fakes.call.requests == [item(5)]
    assert await fakes.channel.unary(CALL)(request) == item(1)


@pytest.mark.parametrize("wrong", [None, 1, KEYED.request()])
async def test_an_answer_of_a_wrong_type_is_refused(fakes: Fakes, wrong: Any) -> None:
    """A fake that is told to answer with something else says what it should be."""
    fakes.call.returns(wrong)
    with pytest.raises(TypeError, match=f"answers with a GetOrderResponse, not a {type(wrong).__name__}"):
        await fakes.channel.unary(CALL)(item(1))


async def test_a_request_of_a_wrong_type_is_refused(fakes: Fakes) -> None:
    """A fake says what is wrong with a stream of requests in the words of a connection."""

    async def wrong() -> AsyncIterator[Any]:
        yield 1

    fakes.upload.returns(item(1))
    with pytest.raises(TypeError, match="takes a stream of GetOrderResponse, not a int in it"):
        await fakes.channel.client_stream(UPLOAD)(wrong())


@pytest.mark.parametrize("leave_early", [True, False])
async def test_requests_are_closed_with_the_call(leave_early: bool) -> None:
    """When the responses have ended, or their reader has left, the requests are closed as by a connection."""
    closed = False

    async def endless() -> AsyncIterator[Item]:
        nonlocal closed
        try:
            while True:
                yield item(1)
        finally:
            closed = True

    async def twice(requests: AsyncIterator[Item]) -> AsyncIterator[Item]:
        for _ in range(2):
            yield await anext(requests)

    spec = streaming(MethodKind.BIDI_STREAM)
    fake = FakeBidiStream(spec)
    fake.computes(twice)
    async with fake_channel(fake).bidi_stream(spec)(endless()) as stream:
        await anext(stream)
        if not leave_early:
            assert await numbers(stream) == [1]
            assert closed
    assert closed


def test_blocking_clients_can_use_a_fake(fakes: Fakes) -> None:
    """The same fakes answer calls that wait."""
    fakes.call.returns(item(1))
    fakes.watch.returns([item(2), item(3)])
    with BlockingChannel(fakes.channel) as channel:
        assert channel.unary(CALL)(item(0)) == item(1)
        assert [each.total for each in channel.server_stream(WATCH)(item(0))] == [2, 3]


async def test_a_computed_refusal_is_the_peers(fakes: Fakes) -> None:
    """A CarrickError of a function arrives as a handler's would, so that what answers for it does as in production."""

    def refuse(request: Item) -> Item:
        raise CarrickError(Code.NOT_FOUND, "no such order")

    fakes.call.computes(refuse)
    with pytest.raises(RemoteError, match="no such order") as raised:
        await fakes.channel.unary(CALL)(item(1))
    assert raised.value.attempt is not None


async def test_a_computed_answer_has_until_the_deadline(fakes: Fakes) -> None:
    """A function that waits is cancelled when the call's time is over, in the middle of a stream too."""
    ended = asyncio.Event()

    async def slow(request: Item) -> AsyncIterator[Item]:
        try:
            yield item(1)
            await asyncio.Event().wait()
        finally:
            ended.set()

    fakes.watch.computes(slow)
    stream = fakes.channel.server_stream(WATCH)(item(1), timeout=0.01)
    assert await anext(stream) == item(1)
    with pytest.raises(DeadlineError):
        await anext(stream)
    assert ended.is_set()


async def test_a_timeout_of_the_functions_own_is_its_error(fakes: Fakes) -> None:
    """It is no deadline of the call's."""

    def late(request: Item) -> Item:
        raise TimeoutError("mine")

    fakes.call.computes(late)
    with pytest.raises(TimeoutError, match="mine"):
        await fakes.channel.unary(CALL)(item(1), timeout=60)


async def test_a_closed_channel_answers_no_more(fakes: Fakes) -> None:
    """As with a real one."""
    fakes.call.returns(item(1))
    await fakes.channel.close()
    with pytest.raises(TransportError, match="the channel is closed"):
        await fakes.channel.unary(CALL)(item(1))
