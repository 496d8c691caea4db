import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.rpc.error_details_pb2 import ErrorInfo

from carrick import CarrickError, Code, Context, MethodSpec, RemoteError, Service, StoreError
from carrick.claim import Claim, Claimed, ClaimOutcome, InFlight, Mismatch, Replay
from carrick.policy.idempotency import fingerprint, idempotency
from carrick.policy.retry import PUSHBACK
from carrick.service import stack
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import OrderLine, PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import KEYED, OPTIONALLY_KEYED, REPLY, REQUEST, Hanging, Scripted


class _Records:
    """A ClaimStore in memory that keeps the protocol's promises, and can be made to wait or to fail."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, Claim]] = {}
        self.replies: dict[str, bytes] = {}
        self.leases: list[float] = []
        self.releasing = asyncio.Event()
        self.may_release = asyncio.Event()
        self.may_release.set()
        self.error: Exception | None = None

    async def claim(self, method: MethodSpec[Any, Any], key: str, fingerprint: bytes, lease: float) -> ClaimOutcome:
        self.leases.append(lease)
        held = self.held.get(key)
        if held is None:
            claim = Claim(method, key, f"token-{len(self.leases)}")
            self.held[key] = (fingerprint, claim)
            return Claimed(claim)
        if held[0] != fingerprint:
            return Mismatch()
        return Replay(self.replies[key]) if key in self.replies else InFlight(lease)

    async def release(self, claim: Claim) -> None:
        self.releasing.set()
        await self.may_release.wait()
        if self.error is not None:
            raise self.error
        if self.held.get(claim.key, (b"", None))[1] is claim and claim.key not in self.replies:
            del self.held[claim.key]

    async def reply(self, ctx: Context, response: PlaceOrderResponse) -> PlaceOrderResponse:
        """Do what ``tx.reply`` and the commit after it do."""
        claim = ctx.call.claim
        if claim is not None:
            self.replies[claim.key] = claim.method.encode_response(response)
            claim.fulfil()
        return response


Handler = Callable[[Any, Context], Awaitable[Any]]


def _ctx(key: str | None = "k", *, of: MethodSpec[Any, Any] = KEYED, deadline: float | None = None) -> Context:
    return Context(of, key=key, deadline=deadline)


def _stack(records: _Records, handler: Service, clock: FakeClock | None = None) -> Service:
    return stack(handler, idempotency(records, clock=clock or FakeClock()))


def _replying(records: _Records, executed: list[str]) -> Handler:
    async def handler(request: Any, ctx: Context) -> Any:
        executed.append(request.customer_id)
        return await records.reply(ctx, PlaceOrderResponse(order_id=f"o-{len(executed)}"))

    return handler


def _reason(error: CarrickError) -> str:
    (info,) = error.details
    assert isinstance(info, ErrorInfo)
    assert info.domain == "carrick"
    return str(info.reason)


async def test_a_key_is_executed_once_and_answered_ever_after() -> None:
    """The second call with a key gets the first one's reply, without the handler."""
    records, executed = _Records(), list[str]()
    service = _stack(records, _replying(records, executed))

    replies = [await service(REQUEST, _ctx()) for _ in range(3)]

    assert executed == ["c-1"]
    assert replies == [PlaceOrderResponse(order_id="o-1")] * 3


async def test_other_keys_are_other_calls() -> None:
    """Each key is executed."""
    records, executed = _Records(), list[str]()
    service = _stack(records, _replying(records, executed))

    await service(REQUEST, _ctx("a"))
    await service(REQUEST, _ctx("b"))

    assert len(executed) == 2


async def test_a_key_with_another_request_is_refused() -> None:
    """A key belongs to one request: nothing is executed, and the status says that trying again is no use."""
    records, executed = _Records(), list[str]()
    service = _stack(records, _replying(records, executed))
    await service(REQUEST, _ctx())

    with pytest.raises(CarrickError, match="used with another request") as caught:
        await service(PlaceOrderRequest(customer_id="c-2"), _ctx())

    assert caught.value.code is Code.FAILED_PRECONDITION
    assert _reason(caught.value) == "IDEMPOTENCY_KEY_REUSED"
    assert executed == ["c-1"]


@pytest.mark.parametrize(("remaining", "pushback"), [(30.0, "250"), (0.1, "100"), (0.0001, "1"), (-1.0, "1")])
async def test_a_key_in_flight_is_aborted_with_a_wait(remaining: float, pushback: str) -> None:
    """The caller is told to come back in a quarter of a second, or when the lease ends."""

    class Busy(_Records):
        async def claim(self, *_: object) -> ClaimOutcome:
            return InFlight(remaining)

    handler, ctx = Scripted(), _ctx()
    with pytest.raises(CarrickError, match="still being executed") as caught:
        await _stack(Busy(), handler)(REQUEST, ctx)

    assert caught.value.code is Code.ABORTED
    assert _reason(caught.value) == "IDEMPOTENCY_KEY_IN_FLIGHT"
    assert ctx.call.trailers == ((PUSHBACK, pushback),)
    assert handler.calls == 0


async def test_a_missing_key_is_refused_where_it_is_required() -> None:
    """The message says which metadata to send."""
    handler, records = Scripted(), _Records()
    with pytest.raises(CarrickError, match="send metadata idempotency-key") as caught:
        await _stack(records, handler)(REQUEST, _ctx(None))

    assert caught.value.code is Code.INVALID_ARGUMENT
    assert _reason(caught.value) == "IDEMPOTENCY_KEY_MISSING"
    assert (handler.calls, records.leases) == (0, [])


async def test_a_missing_key_is_fine_where_it_is_optional() -> None:
    """A call without key is executed each time, and nothing is claimed."""
    handler, records = Scripted(), _Records()
    service = _stack(records, handler)

    for _ in range(2):
        assert await service(REQUEST, _ctx(None, of=OPTIONALLY_KEYED)) == REPLY
    assert (handler.calls, records.leases) == (2, [])


@pytest.mark.parametrize(("deadline", "lease"), [(None, 30.0), (102.5, 3.5), (99.0, 1.0)])
async def test_a_claim_lasts_a_little_longer_than_the_call(deadline: float | None, lease: float) -> None:
    """Until the deadline and a second more, or half a minute where there is none."""
    records = _Records()
    await _stack(records, _replying(records, []), FakeClock(start=100.0))(REQUEST, _ctx(deadline=deadline))

    assert records.leases == [lease]


async def test_a_handler_that_forgets_its_reply_fails_loudly() -> None:
    """Without ``tx.reply`` nothing was recorded: the caller gets INTERNAL, and the key is free again."""
    records = _Records()
    with pytest.raises(CarrickError, match=r"end the handler with `return await tx\.reply\(response\)`") as caught:
        await _stack(records, Scripted())(REQUEST, _ctx())

    assert caught.value.code is Code.INTERNAL
    assert records.held == {}


@pytest.mark.parametrize("error", [KeyError("bug"), RemoteError(Code.UNAVAILABLE, "down"), asyncio.CancelledError()])
async def test_a_handler_that_fails_frees_its_key(error: BaseException) -> None:
    """What failed may be tried again at once, and the error passes as it is."""
    records = _Records()
    with pytest.raises(type(error)) as caught:
        await _stack(records, Scripted(error))(REQUEST, _ctx())

    assert caught.value is error
    assert records.held == {}


async def test_what_failed_can_be_executed_again() -> None:
    """A retry with the same key runs the handler."""
    records, executed = _Records(), list[str]()
    with pytest.raises(KeyError):
        await _stack(records, Scripted(KeyError("bug")))(REQUEST, _ctx())

    await _stack(records, _replying(records, executed))(REQUEST, _ctx())
    assert executed == ["c-1"]


async def test_an_error_after_the_commit_keeps_the_record() -> None:
    """The effect is there, so the key stays taken and a retry gets the reply."""
    records, executed = _Records(), list[str]()
    replying = _replying(records, executed)

    async def stumbling(request: Any, ctx: Context) -> Any:
        await replying(request, ctx)
        raise KeyError("after the commit")

    with pytest.raises(KeyError):
        await _stack(records, stumbling)(REQUEST, _ctx())

    assert not records.releasing.is_set()
    assert await _stack(records, stumbling)(REQUEST, _ctx()) == PlaceOrderResponse(order_id="o-1")
    assert executed == ["c-1"]


async def test_cancelling_the_handler_frees_its_key() -> None:
    """A caller that goes away does not leave the key taken."""
    records, hanging = _Records(), Hanging()
    call = asyncio.ensure_future(_stack(records, hanging)(REQUEST, _ctx()))
    await hanging.entered.wait()

    call.cancel()
    await asyncio.wait((call,))

    assert call.cancelled()
    assert hanging.cancelled
    assert records.held == {}


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelling_during_the_release_does_not_stop_it(times: int) -> None:
    """The release is finished, then the cancellation goes on; the handler's error does not hide it."""
    records = _Records()
    records.may_release.clear()
    call = asyncio.ensure_future(_stack(records, Scripted(KeyError("bug")))(REQUEST, _ctx()))
    await records.releasing.wait()

    for _ in range(times):
        call.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
    assert not call.done()
    records.may_release.set()
    await asyncio.wait((call,))

    assert call.cancelled()
    assert records.held == {}


async def test_cancelled_while_it_runs_and_again_while_it_is_released() -> None:
    """Cancelling again does not make the first cancellation forget the release."""
    records, hanging = _Records(), Hanging()
    records.may_release.clear()
    call = asyncio.ensure_future(_stack(records, hanging)(REQUEST, _ctx()))
    await hanging.entered.wait()
    call.cancel()
    await records.releasing.wait()
    call.cancel()
    await asyncio.sleep(0)
    records.may_release.set()
    await asyncio.wait((call,))

    assert call.cancelled()
    assert records.held == {}


async def test_a_release_that_fails_is_logged_and_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The handler's error is what the caller gets; the lease will end the claim."""
    records = _Records()
    records.error = StoreError(Code.UNAVAILABLE, "locked")
    with caplog.at_level(logging.WARNING, "carrick.idempotency"), pytest.raises(KeyError):
        await _stack(records, Scripted(KeyError("bug")))(REQUEST, _ctx())

    assert caplog.messages == ["claim of test.v1.Tests/Keyed was not released and will expire: UNAVAILABLE: locked"]


async def test_a_store_that_is_away_refuses_the_call() -> None:
    """Where it cannot be told whether the key was used, nothing is executed."""

    class Away(_Records):
        async def claim(self, *_: object) -> ClaimOutcome:
            raise StoreError(Code.UNAVAILABLE, "locked")

    handler = Scripted()
    with pytest.raises(StoreError):
        await _stack(Away(), handler)(REQUEST, _ctx())
    assert handler.calls == 0


def test_a_fingerprint_does_not_depend_on_the_order_of_a_map() -> None:
    """A client that repeats a request may fill its maps in another order."""
    names = [f"name-{number}" for number in range(50)]
    one, other = Struct(), Struct()
    one.update(dict.fromkeys(names, 1))
    other.update(dict.fromkeys(reversed(names), 1))

    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (PlaceOrderRequest(customer_id="a"), PlaceOrderRequest(customer_id="a"), True),
        (PlaceOrderRequest(customer_id="a"), PlaceOrderRequest(customer_id="b"), False),
        (PlaceOrderRequest(lines=[OrderLine(sku="x")]), PlaceOrderRequest(lines=[OrderLine(sku="x")] * 2), False),
        (PlaceOrderRequest(), PlaceOrderRequest(customer_id=""), True),
    ],
)
def test_a_fingerprint_tells_requests_apart(one: Message, other: Message, same: bool) -> None:
    """Equal requests have equal fingerprints of 16 bytes, others do not."""
    assert (fingerprint(one) == fingerprint(other)) is same
    assert len(fingerprint(one)) == 16
