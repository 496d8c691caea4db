import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.rpc.error_details_pb2 import ErrorInfo

from carrick import (
    Attempt,
    AttemptKind,
    CarrickError,
    Code,
    ConfigurationError,
    Context,
    IdempotencyOptions,
    KeyRule,
    MessagingError,
    MethodPolicy,
    MethodSpec,
    RemoteError,
    Service,
    StoreError,
)
from carrick.claim import Claim, Claimed, ClaimOutcome, InFlight, Mismatch, Refusal, Replay
from carrick.policy.idempotency import fingerprint, idempotency
from carrick.policy.pushback import PUSHBACK
from carrick.service import stack
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import OrderLine, PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import KEYED, OPTIONALLY_KEYED, REPLY, REQUEST, Hanging, Scripted, method, turns

REPEATING = method(
    "Repeating",
    policy=MethodPolicy(
        idempotency=IdempotencyOptions(
            key=KeyRule.REQUIRED,
            replayed_errors=frozenset({Code.FAILED_PRECONDITION, Code.UNAVAILABLE, Code.INTERNAL, Code.ABORTED}),
        )
    ),
)
REFUSED = CarrickError(Code.FAILED_PRECONDITION, "sold out", [ErrorInfo(reason="SOLD_OUT", domain="shop")])


class _Records:
    """A ClaimStore in memory that keeps the protocol's promises, and can be made to wait or to fail."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, Claim]] = {}
        self.replies: dict[str, bytes] = {}
        self.errors: dict[str, bytes] = {}
        self.renewed: list[float] = []
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
        if key in self.errors:
            return Refusal(self.errors[key])
        return Replay(self.replies[key]) if key in self.replies else InFlight(lease)

    async def release(self, claim: Claim) -> None:
        self.releasing.set()
        await self.may_release.wait()
        if self.error is not None:
            raise self.error
        if self.held.get(claim.key, (b"", None))[1] is claim and claim.key not in self.replies:
            del self.held[claim.key]

    async def renew(self, claim: Claim, lease: float) -> bool:
        self.renewed.append(lease)
        if self.error is not None:
            raise self.error
        return self.held[claim.key][1] is claim

    async def refuse(self, claim: Claim, status: bytes) -> bool:
        self.releasing.set()
        await self.may_release.wait()
        if self.error is not None:
            raise self.error
        if self.held[claim.key][1] is not claim or claim.key in self.replies:
            return False
        self.errors[claim.key] = status
        return True

    async def purge(self, most: int = 500) -> int:
        return 0

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


@pytest.mark.parametrize(
    ("deadline", "lease"), [(None, 30.0), (102.5, 3.5), (99.0, 1.0), (129.0, 30.0), (129.5, 30.0), (604_900.0, 30.0)]
)
async def test_a_claim_lasts_a_little_longer_than_the_call(deadline: float | None, lease: float) -> None:
    """Until the deadline and a second more, but half a minute at most, or where there is none."""
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


@pytest.mark.parametrize(("deadline", "renewals"), [(None, [30.0, 30.0]), (604_900.0, [30.0, 30.0]), (128.9, [])])
async def test_a_claim_is_renewed_while_its_handler_runs(deadline: float | None, renewals: list[float]) -> None:
    """A handler that runs longer than a lease keeps its key; a short call needs no renewal, an ended one none."""
    records, hanging, clock = _Records(), Hanging(), FakeClock(start=100.0)
    call = asyncio.ensure_future(_stack(records, hanging, clock)(REQUEST, _ctx(deadline=deadline)))
    await hanging.entered.wait()
    await turns()
    for _ in range(2):
        clock.advance(7.5)
        await turns()
    assert records.renewed == renewals

    call.cancel()
    await asyncio.wait((call,))
    clock.advance(7.5)
    await turns()
    assert records.renewed == renewals


async def test_a_claim_that_was_taken_over_is_not_renewed_any_more() -> None:
    """Who has lost the key leaves it alone."""
    records, hanging, clock = _Records(), Hanging(), FakeClock()
    call = asyncio.ensure_future(_stack(records, hanging, clock)(REQUEST, _ctx()))
    await hanging.entered.wait()
    await turns()
    records.held["k"] = (b"", Claim(KEYED, "k", "another's"))
    for _ in range(3):
        clock.advance(7.5)
        await turns()
    assert len(records.renewed) == 1
    call.cancel()
    await asyncio.wait((call,))


async def test_a_renewal_that_fails_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A database that is away for a moment costs no claim."""
    records, hanging, clock = _Records(), Hanging(), FakeClock()
    call = asyncio.ensure_future(_stack(records, hanging, clock)(REQUEST, _ctx()))
    await hanging.entered.wait()
    await turns()
    records.error = StoreError(Code.UNAVAILABLE, "locked")
    with caplog.at_level(logging.WARNING, "carrick.idempotency"):
        clock.advance(7.5)
        await turns()
    records.error = None
    clock.advance(7.5)
    await turns()
    assert caplog.messages == ["claim of test.v1.Tests/Keyed was not renewed: UNAVAILABLE: locked"]
    assert len(records.renewed) == 2
    call.cancel()
    await asyncio.wait((call,))


async def test_an_error_that_the_contract_repeats_is_recorded() -> None:
    """The second call gets the first one's code, message and details, without the handler."""
    records, handler = _Records(), Scripted(REFUSED, KeyError("never reached"))
    service = _stack(records, handler)
    errors = []
    for _ in range(3):
        with pytest.raises(CarrickError) as caught:
            await service(REQUEST, _ctx(of=REPEATING))
        errors.append(caught.value)

    assert handler.calls == 1
    assert errors[0] is REFUSED
    for error in errors:
        assert (error.code, error.message, error.details) == (REFUSED.code, REFUSED.message, REFUSED.details)


async def test_what_is_repeated_is_on_the_call() -> None:
    """Who sends the answer finds the recorded bytes there, for a reply and for an error; a first answer has none."""
    records = _Records()
    replying = _stack(records, _replying(records, []))
    first, again = _ctx(), _ctx()
    await replying(REQUEST, first)
    reply = await replying(REQUEST, again)
    assert first.call.recorded is None
    assert again.call.recorded is not None
    assert again.call.recorded.outcome is reply
    assert again.call.recorded.encoded == records.replies["k"]

    failing, refused = _stack(records, Scripted(REFUSED)), _ctx("e", of=REPEATING)
    for ctx in (_ctx("e", of=REPEATING), refused):
        with pytest.raises(CarrickError) as caught:
            await failing(REQUEST, ctx)
    assert refused.call.recorded is not None
    assert refused.call.recorded.outcome is caught.value
    assert refused.call.recorded.encoded == records.errors["e"]


@pytest.mark.parametrize(
    "error",
    [
        CarrickError(Code.NOT_FOUND, "of another code"),
        RemoteError(Code.FAILED_PRECONDITION, "of a call", attempt=Attempt(1, AttemptKind.FIRST)),
        StoreError(Code.UNAVAILABLE, "locked"),
        ConfigurationError("no such thing"),
        MessagingError(Code.UNAVAILABLE, "no broker"),
        KeyError("a bug"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_other_errors_are_not_recorded(error: BaseException) -> None:
    """What is no word of the handler's own, or of another code, frees the key."""
    records = _Records()
    with pytest.raises(type(error)):
        await _stack(records, Scripted(error))(REQUEST, _ctx(of=REPEATING))

    assert records.errors == {}
    assert records.held == {}


async def test_an_error_after_the_commit_is_not_recorded() -> None:
    """The reply was committed, so it stays the answer, whatever the handler raised afterwards."""
    records = _Records()

    async def stumbling(request: Any, ctx: Context) -> Any:
        await records.reply(ctx, REPLY)
        raise REFUSED

    service = _stack(records, stumbling)
    with pytest.raises(CarrickError, match="sold out"):
        await service(REQUEST, _ctx(of=REPEATING))
    assert not records.releasing.is_set()
    assert await service(REQUEST, _ctx(of=REPEATING)) == REPLY


async def test_an_error_of_a_claim_that_was_taken_over_is_not_recorded() -> None:
    """The key is another execution's: its answer counts."""
    records = _Records()

    async def late(request: Any, ctx: Context) -> Any:
        records.held["k"] = (b"", Claim(REPEATING, "k", "another's"))
        raise REFUSED

    with pytest.raises(CarrickError, match="sold out"):
        await _stack(records, late)(REQUEST, _ctx(of=REPEATING))
    assert records.errors == {}
    assert records.held["k"][1].token == "another's"  # noqa: S105


async def test_a_forgotten_reply_is_not_recorded_as_an_error() -> None:
    """It is a bug, and fails loudly each time, also where INTERNAL is repeated."""
    records, handler = _Records(), Scripted()
    for _ in range(2):
        with pytest.raises(CarrickError, match="returned without completing"):
            await _stack(records, handler)(REQUEST, _ctx(of=REPEATING))
    assert (handler.calls, records.errors) == (2, {})


async def test_an_error_that_cannot_be_recorded_is_answered_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets the handler's error, the log says that a repetition will execute again."""
    records = _Records()
    records.error = StoreError(Code.UNAVAILABLE, "locked")
    with caplog.at_level(logging.WARNING, "carrick.idempotency"), pytest.raises(CarrickError, match="sold out"):
        await _stack(records, Scripted(REFUSED))(REQUEST, _ctx(of=REPEATING))
    assert caplog.messages == ["an error of test.v1.Tests/Repeating was not recorded: UNAVAILABLE: locked"]


async def test_cancelling_while_an_error_is_recorded_does_not_stop_it() -> None:
    """It is recorded, then the cancellation goes on."""
    records = _Records()
    records.may_release.clear()
    call = asyncio.ensure_future(_stack(records, Scripted(REFUSED))(REQUEST, _ctx(of=REPEATING)))
    await records.releasing.wait()
    call.cancel()
    await turns()
    assert not call.done()
    records.may_release.set()
    await asyncio.wait((call,))
    assert call.cancelled()
    assert list(records.errors) == ["k"]


async def test_a_refusal_that_was_committed_is_the_answer_though_the_handler_returns() -> None:
    """A handler that forgets to raise what it committed does not give its first caller another answer than the rest."""
    records = _Records()

    async def forgetful(request: Any, ctx: Context) -> Any:
        assert ctx.call.claim is not None
        ctx.call.claim.refuse(REFUSED)
        return REPLY

    with pytest.raises(CarrickError, match="sold out") as caught:
        await _stack(records, forgetful)(REQUEST, _ctx())
    assert caught.value is REFUSED
    assert not records.releasing.is_set()
