"""Fallbacks: which errors have a substitute, which substitute, and of what type."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from carrick import (
    CarrickError,
    Code,
    ConfigurationError,
    Context,
    FallbackOptions,
    MethodKind,
    RejectedError,
    RemoteError,
)
from carrick.observe import FallbackUsed
from carrick.options import OUTAGES
from carrick.policy.fallback import fallback
from carrick.service import stack
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import GetOrderResponse, PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import PLAIN, REPLY, REQUEST, Scripted, Seen, first_attempt, rejected
from tests.unit.streams import Item, item, items, numbers, streaming

WATCH = streaming(MethodKind.SERVER_STREAM)
SUBSTITUTE = PlaceOrderResponse(order_id="substitute")


class Failing:
    """A call that failed, behind a fallback."""

    def __init__(self, options: FallbackOptions, *outcomes: Code | BaseException) -> None:
        self.seen = Seen()
        self.clock = FakeClock()
        self.peer = Scripted(*(outcomes or (Code.UNAVAILABLE,)))
        self.service = stack(self.peer, fallback(options, clock=self.clock, observe=self.seen))

    async def call(self, request: PlaceOrderRequest = REQUEST) -> Any:
        """Make the call."""
        return await self.service(request, first_attempt(PLAIN))


async def test_a_value_stands_in() -> None:
    """The caller gets a copy, and an observer hears of it."""
    failing = Failing(PLAIN.fallback(value=SUBSTITUTE))
    reply = await failing.call()
    assert reply == SUBSTITUTE
    assert reply is not SUBSTITUTE
    assert failing.seen.observations == [FallbackUsed(method=PLAIN.full_name, code="UNAVAILABLE", source="value")]


async def test_a_success_passes() -> None:
    """Nothing is observed."""
    failing = Failing(PLAIN.fallback(value=SUBSTITUTE), Code.OK)
    assert await failing.call() == REPLY
    assert failing.seen.observations == []


@pytest.mark.parametrize("code", sorted(set(Code) - {Code.OK}))
async def test_only_outages_have_a_substitute(code: Code) -> None:
    """What the peer says of the request is its answer."""
    failing = Failing(PLAIN.fallback(value=SUBSTITUTE), code)
    if code in OUTAGES:
        assert await failing.call() == SUBSTITUTE
    else:
        with pytest.raises(RemoteError):
            await failing.call()


async def test_the_codes_can_be_given() -> None:
    """And then no others count."""
    codes = frozenset({Code.NOT_FOUND})
    assert await Failing(PLAIN.fallback(value=SUBSTITUTE, codes=codes), Code.NOT_FOUND).call() == SUBSTITUTE
    with pytest.raises(RemoteError):
        await Failing(PLAIN.fallback(value=SUBSTITUTE, codes=codes), Code.UNAVAILABLE).call()


async def test_a_call_that_was_never_sent_has_one_too() -> None:
    """An open circuit is what fallbacks are for."""
    assert await Failing(PLAIN.fallback(value=SUBSTITUTE), rejected()).call() == SUBSTITUTE


@pytest.mark.parametrize("waits", [False, True])
async def test_a_function_sees_request_and_error(waits: bool) -> None:
    """It may be a coroutine function."""
    told: list[tuple[Any, CarrickError]] = []

    def compute(request: PlaceOrderRequest, error: CarrickError) -> PlaceOrderResponse:
        told.append((request, error))
        return SUBSTITUTE

    async def compute_later(request: PlaceOrderRequest, error: CarrickError) -> PlaceOrderResponse:
        return compute(request, error)

    options = PLAIN.fallback(function=compute_later) if waits else PLAIN.fallback(function=compute)
    assert await Failing(options).call() == SUBSTITUTE
    ((request, error),) = told
    assert request is REQUEST
    assert error.code is Code.UNAVAILABLE


async def test_a_functions_own_error_is_raised() -> None:
    """With the call's as its context."""

    def compute(request: PlaceOrderRequest, error: CarrickError) -> PlaceOrderResponse:
        raise KeyError("none")

    with pytest.raises(KeyError) as caught:
        await Failing(PLAIN.fallback(function=compute)).call()
    assert isinstance(caught.value.__context__, RemoteError)


async def test_a_function_must_return_the_methods_reply() -> None:
    """Something else is a fault in the program, and is named."""
    options = FallbackOptions(function=lambda request, error: 5)
    with pytest.raises(TypeError, match=r"fallback of test.v1.Tests/Plain must return a PlaceOrderResponse, not a int"):
        await Failing(options).call()


async def test_the_last_good_reply_stands_in_until_it_is_too_old() -> None:
    """To the same request; after that the value does."""
    failing = Failing(PLAIN.fallback(value=SUBSTITUTE, last_good=5.0), Code.OK, Code.UNAVAILABLE)
    assert await failing.call() == REPLY
    failing.clock.advance(5.0)
    assert await failing.call() == REPLY
    assert await failing.call(PlaceOrderRequest(customer_id="another")) == SUBSTITUTE
    failing.clock.advance(0.01)
    assert await failing.call() == SUBSTITUTE
    assert [each.source for each in failing.seen.observations if isinstance(each, FallbackUsed)] == [
        "last_good",
        "value",
        "value",
    ]


async def test_without_a_last_good_reply_the_error_is_raised() -> None:
    """There is nothing to answer with."""
    with pytest.raises(RemoteError):
        await Failing(PLAIN.fallback(last_good=5.0)).call()


async def _streamed(options: FallbackOptions, outcome: Code = Code.UNAVAILABLE) -> list[int]:
    service = stack(Scripted(outcome), fallback(options, clock=FakeClock(), observe=Seen()))
    return await numbers(await service(item(0), first_attempt(WATCH)))


async def test_a_stream_has_a_sequence_or_an_iterator() -> None:
    """Values are copied for each caller; a function makes a stream."""
    assert await _streamed(WATCH.fallback(value=[item(1), item(2)])) == [1, 2]
    assert await _streamed(WATCH.fallback(function=lambda request, error: items(3))) == [0, 1, 2]


async def test_a_stream_that_has_begun_has_no_substitute() -> None:
    """Its reader has seen some of it."""

    async def breaking(request: Any, ctx: Context) -> AsyncIterator[Item]:
        async def stream() -> AsyncIterator[Item]:
            yield item(7)
            raise RejectedError(Code.UNAVAILABLE, "broken off")

        return stream()

    service = stack(breaking, fallback(WATCH.fallback(value=[item(1)]), clock=FakeClock(), observe=Seen()))
    stream = await service(item(0), first_attempt(WATCH))
    assert (await anext(stream)).total == 7
    with pytest.raises(RejectedError):
        await anext(stream)


def test_the_types_of_a_value_are_checked_when_it_is_given() -> None:
    """Not when the first call fails."""
    with pytest.raises(ConfigurationError, match=r"value must be a PlaceOrderResponse, not a GetOrderResponse"):
        PLAIN.fallback(value=GetOrderResponse())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"value must be a sequence of GetOrderResponse, not a PlaceOrder"):
        WATCH.fallback(value=[PlaceOrderResponse()])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match=r"streaming and has no last good reply"):
        WATCH.fallback(last_good=5.0)
