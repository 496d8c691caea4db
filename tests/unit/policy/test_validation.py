"""The refusal of invalid requests, and where it is raised, without an engine of rules."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest

from carrick import CarrickError, Code, Context, MethodKind
from carrick.policy.validation import Violation, invalid, validation
from carrick.service import stack
from tests.unit.calls import PLAIN, REPLY, REQUEST, Scripted
from tests.unit.streams import Item, items, streaming

EMPTY = Violation("customer_id", "must not be empty", "string.min_len")
UPLOAD = streaming(MethodKind.CLIENT_STREAM)
TALK = streaming(MethodKind.BIDI_STREAM)


def _details(error: CarrickError) -> list[tuple[str, str, str]]:
    (details,) = error.details
    assert isinstance(details, BadRequest)
    return [(each.field, each.description, each.reason) for each in details.field_violations]


def _even(request: Message) -> Sequence[Violation]:
    """Break a rule with every odd number from 3 up."""
    assert isinstance(request, Item)
    return [Violation("total", "must be even", "total.even")] if request.total > 2 and request.total % 2 else ()


async def test_a_valid_request_passes() -> None:
    """The service gets it, and its reply comes back."""
    service = Scripted()
    assert await stack(service, validation(PLAIN, lambda request: ()))(REQUEST, Context(PLAIN)) == REPLY
    assert service.calls == 1


async def test_an_invalid_request_is_refused() -> None:
    """The service is not called; code and details are gRPC's own."""
    service = Scripted()
    with pytest.raises(CarrickError) as caught:
        await stack(service, validation(PLAIN, lambda request: [EMPTY]))(REQUEST, Context(PLAIN))
    assert service.calls == 0
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "the request is not valid: customer_id: must not be empty"
    assert _details(caught.value) == [("customer_id", "must not be empty", "STRING_MIN_LEN")]


def test_every_violation_is_named() -> None:
    """The message has the first, and says how many more there are; one of the whole message has no field."""
    error = invalid([Violation("", "a gift needs a note", "order.gift"), EMPTY, EMPTY])
    assert error.message == "the request is not valid: a gift needs a note (and 2 more)"
    assert [field for field, _, _ in _details(error)] == ["", "customer_id", "customer_id"]


def test_not_more_than_twenty_violations_are_sent() -> None:
    """However many there are."""
    error = invalid([Violation(f"f{number}", "no", "r") for number in range(1000)])
    assert [field for field, _, _ in _details(error)] == [f"f{number}" for number in range(20)]
    assert error.message.endswith("(and more)")
    assert invalid([EMPTY] * 20).message.endswith("(and 19 more)")


def test_long_texts_are_cut() -> None:
    """Paths and descriptions have 200 characters at most, and all of them together fit into a status."""
    error = invalid([Violation("f" * 5000, "d" * 5000, "r" * 5000)] * 20)
    details = _details(error)
    assert {(len(field), len(description), len(reason)) for field, description, reason in details} == {(200, 200, 63)}
    assert details[0][0].endswith("f...")
    assert 1 <= len(details) <= 5
    assert error.details[0].ByteSize() <= 2048
    assert len(error.message) < 500


@pytest.mark.parametrize(
    ("rule", "reason"), [("string.min_len", "STRING_MIN_LEN"), ("my-rule 7.", "MY_RULE_7"), ("größe", "GR_SSE")]
)
def test_a_rules_id_is_the_reason(rule: str, reason: str) -> None:
    """As google.rpc.BadRequest writes reasons."""
    assert _details(invalid([Violation("f", "d", rule)])) == [("f", "d", reason)]


@pytest.mark.parametrize("of", [UPLOAD, TALK], ids=["upload", "talk"])
async def test_each_request_of_a_stream_is_checked_when_it_is_read(of: Any) -> None:
    """The handler gets those before a bad one, the refusal in its place, and none after it."""
    read: list[int] = []
    source = items(10)

    async def handler(requests: AsyncIterator[Item], ctx: Context) -> Item:
        try:
            async for each in requests:
                read.append(each.total)  # noqa: PERF401  # what was read before the refusal counts
        except CarrickError:
            read.extend([each.total async for each in requests])
            raise
        return Item()

    with pytest.raises(CarrickError, match="total: must be even") as caught:
        await stack(handler, validation(of, _even))(source, Context(of))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert read == [0, 1, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(source)  # it was closed


async def test_nothing_is_read_after_a_refusal_though_the_source_goes_on() -> None:
    """Also where the source can't be closed."""

    class Odd:
        def __aiter__(self) -> AsyncIterator[Item]:
            return self

        async def __anext__(self) -> Item:
            return Item(total=3)

    async def handler(requests: AsyncIterator[Item], ctx: Context) -> int:
        with pytest.raises(CarrickError):
            await anext(requests)
        return len([each async for each in requests])

    assert await stack(handler, validation(UPLOAD, _even))(Odd(), Context(UPLOAD)) == 0


async def test_requests_are_not_read_before_they_are_asked_for() -> None:
    """A handler that reads none has none checked."""

    def check(request: Message) -> Sequence[Violation]:
        raise AssertionError

    async def handler(requests: AsyncIterator[Item], ctx: Context) -> Item:
        return Item(total=7)

    assert await stack(handler, validation(UPLOAD, check))(items(3), Context(UPLOAD)) == Item(total=7)


async def test_cancelling_a_read_is_no_answer() -> None:
    """A handler that is cancelled while it waits for a request is cancelled."""

    async def hang() -> AsyncIterator[Item]:
        await asyncio.Event().wait()
        yield Item()

    async def handler(requests: AsyncIterator[Item], ctx: Context) -> Item:
        return await anext(requests)

    call = asyncio.ensure_future(stack(handler, validation(UPLOAD, _even))(hang(), Context(UPLOAD)))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait((call,))
    assert call.cancelled()
