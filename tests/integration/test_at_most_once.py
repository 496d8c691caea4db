"""Events and requests without durability, over a real nats-server."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import nats
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from nats.aio.msg import Msg

from carrick.context import Context, enter
from carrick.errors import (
    CarrickError,
    Code,
    DeadlineError,
    MessagingError,
    RejectedError,
    RemoteError,
    TransportError,
)
from carrick.ids import random_id
from carrick.messaging.cloudevents import read
from carrick.messaging.nats import AtMostOnce, IntakeOptions, NatsBroker
from carrick.observe import EventDropped, EventOverflowed, Observation, RequestRefused
from carrick.testing import NatsServer
from carrick.trace import Trace
from shop.orders.v1.orders_carrick import ORDER_PLACED, on_order_placed
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse, OrderPlaced

TRACE = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True)


async def until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


class Heard:
    """A handler that keeps what it got."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.contexts: list[Context] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, event: OrderPlaced, ctx: Context) -> None:
        """Keep an event, or raise or wait as it says."""
        await self.gate.wait()
        if event.order_id == "raise":
            raise KeyError("broken")
        if event.order_id == "slow":
            await asyncio.sleep(30)
        self.orders.append(event.order_id)
        self.contexts.append(ctx)


def placed(order_id: str) -> OrderPlaced:
    """Make an event."""
    return OrderPlaced(order_id=order_id, total=1)


async def test_everybody_has_an_event_and_one_of_a_group(nats_server: NatsServer) -> None:
    """Two listeners without a group have all; of two in a group each has a part, and together they have all."""
    alone, also, one, other = Heard(), Heard(), Heard(), Heard()
    async with (
        AtMostOnce(nats_server.url, name="a") as a,
        AtMostOnce(nats_server.url, name="b") as b,
        a.subscribe(on_order_placed(alone.handle)),
        b.subscribe(on_order_placed(also.handle)),
        a.subscribe(on_order_placed(one.handle), "g"),
        b.subscribe(on_order_placed(other.handle), "g"),
    ):
        sent = [f"o-{number}" for number in range(100)]
        for each in sent:
            await a.publish(ORDER_PLACED, placed(each))
        await until(lambda: len(alone.orders) == len(also.orders) == len(one.orders + other.orders) == 100)
    assert alone.orders == also.orders == sent
    assert sorted(one.orders + other.orders) == sorted(sent)
    assert one.orders
    assert other.orders


async def test_what_nobody_hears_is_gone(nats_server: NatsServer) -> None:
    """An event before a subscription begins, or after it ended, is not delivered, and no error."""
    heard = Heard()
    async with AtMostOnce(nats_server.url, name="a") as words:
        await words.publish(ORDER_PLACED, placed("before"))
        async with words.subscribe(on_order_placed(heard.handle)):
            await words.publish(ORDER_PLACED, placed("during"))
            await until(lambda: heard.orders)
        await words.publish(ORDER_PLACED, placed("after"))
        async with words.subscribe(on_order_placed(heard.handle)):
            await words.publish(ORDER_PLACED, placed("again"))
            await until(lambda: len(heard.orders) == 2)
    assert heard.orders == ["during", "again"]


async def test_an_event_is_a_cloudevent_with_the_ids_of_its_cause(nats_server: NatsServer) -> None:
    """Headers as of the outbox; correlation, cause and trace go on to the handler."""
    heard = Heard()
    async with (
        AtMostOnce(nats_server.url, name="till", source="shop/till") as words,
        words.subscribe(on_order_placed(heard.handle), options=IntakeOptions(timeout=5.0)),
    ):
        with enter(Context(None, correlation_id="correlation", key="cause", trace=TRACE)):
            await words.publish(ORDER_PLACED, placed("ü 1"))
        await until(lambda: heard.contexts)
    (ctx,) = heard.contexts
    headers = {name: str(value) for name, value in ctx.metadata}
    assert (ctx.correlation_id, ctx.causation_id, ctx.trace) == ("correlation", "cause", TRACE)
    assert read(headers, fallback_id="none").id == ctx.key
    assert headers["ce-source"] == "shop/till"
    assert headers["ce-type"] == "shop.orders.v1.OrderPlaced"
    assert headers["ce-partitionkey"] == "%C3%BC%201"
    assert ctx.deadline is not None
    assert 0 < ctx.deadline - time.monotonic() < 5


async def test_the_streams_of_the_contracts_store_nothing(nats_server: NatsServer) -> None:
    """A stream that takes all of the contract's subjects has neither events nor requests of here, nor answers them."""
    async with NatsBroker(nats_server.url, name="b") as broker, AtMostOnce(nats_server.url, name="a") as words:
        await broker.ensure_stream("ORDERS", ["orders.>"])
        await words.publish(ORDER_PLACED, placed("o-1"))
        with pytest.raises(TransportError, match="nobody responds"):
            await words.request("orders.get", GetOrderRequest(), GetOrderResponse, timeout=5.0)
        holding = await broker.holding("ORDERS")
    assert holding is not None
    assert holding.messages == 0


async def test_a_slow_consumer_drops_and_counts(nats_server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    """What finds no room is observed one by one, counted, and told in a line; what waited is handled in order."""
    heard, seen = Heard(), list[Observation]()
    heard.gate.clear()
    async with AtMostOnce(nats_server.url, name="slow", observe=seen.append) as words:
        options = IntakeOptions(max_waiting=3)
        async with words.subscribe(on_order_placed(heard.handle), options=options) as listener:
            for number in range(10):
                await words.publish(ORDER_PLACED, placed(f"o-{number}"))
            await until(lambda: listener.overflowed == 6)
            heard.gate.set()
            await until(lambda: listener.handled == 4)
    assert heard.orders == ["o-0", "o-1", "o-2", "o-3"]
    assert seen == [EventOverflowed(subject="LIVE.orders.placed.v1", event_type="shop.orders.v1.OrderPlaced")] * 6
    assert "too slow" in caplog.text


async def test_waiting_events_are_bounded_in_bytes(nats_server: NatsServer) -> None:
    """A few large events fill the room as many small ones do."""
    heard = Heard()
    heard.gate.clear()
    async with AtMostOnce(nats_server.url, name="slow") as words:
        options = IntakeOptions(max_waiting_bytes=250_000)
        async with words.subscribe(on_order_placed(heard.handle), options=options) as listener:
            for number in range(5):
                await words.publish(ORDER_PLACED, OrderPlaced(order_id=f"o-{number}", customer_id="x" * 100_000))
            await until(lambda: listener.overflowed == 2)
            heard.gate.set()
    assert heard.orders == ["o-0", "o-1", "o-2"]


async def test_a_failed_event_is_dropped_and_the_next_is_handled(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that raises or takes too long, and bytes that are no event: each is observed once, none repeated."""
    heard, seen = Heard(), list[Observation]()
    async with AtMostOnce(nats_server.url, name="a", observe=seen.append) as words:
        options = IntakeOptions(timeout=0.2)
        async with words.subscribe(on_order_placed(heard.handle), options=options) as listener:
            for order_id in ("raise", "slow"):
                await words.publish(ORDER_PLACED, placed(order_id))
            raw = await nats.connect(nats_server.url)
            await raw.publish("LIVE.orders.placed.v1", b"\xff\xff", headers={"ce-id": "bad"})
            await raw.publish("LIVE.orders.placed.v1", b"", headers={"ce-id": "other", "ce-type": "a.B"})
            await raw.close()
            await until(lambda: listener.failed == 4)
            await words.publish(ORDER_PLACED, placed("good"))
            await until(lambda: heard.orders == ["good"])
    reasons = sorted(each.reason for each in seen if isinstance(each, EventDropped))
    assert [reason.partition(":")[0] for reason in reasons] == [
        "KeyError",
        "it is of type 'a.B', not shop.orders.v1.OrderPlaced",
        "not handled within 0.2 s",
        "the payload is no shop.orders.v1.OrderPlaced",
    ]
    assert "Traceback" in caplog.text


async def test_several_events_are_handled_at_once(nats_server: NatsServer) -> None:
    """As many as the limit says, and no more."""
    at_once, most = 0, 0

    async def handle(event: OrderPlaced, ctx: Context) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1

    async with (
        AtMostOnce(nats_server.url, name="a") as words,
        words.subscribe(on_order_placed(handle), options=IntakeOptions(concurrency=4)) as listener,
    ):
        for number in range(20):
            await words.publish(ORDER_PLACED, placed(f"o-{number}"))
        await until(lambda: listener.handled == 20)
    assert most == 4


async def test_subscriptions_live_on_after_an_outage(nats_server: NatsServer) -> None:
    """While NATS is away publishing and asking fail at once, unsent; afterwards all goes on, without what failed."""
    heard = Heard()
    async with (
        AtMostOnce(nats_server.url, name="a") as words,
        words.subscribe(on_order_placed(heard.handle)),
        words.respond("orders.get", GetOrderRequest, _order),
    ):
        nats_server.kill()
        await _away(words)
        began = time.monotonic()
        with pytest.raises(MessagingError) as caught:
            await words.publish(ORDER_PLACED, placed("lost"))
        assert caught.value.code is Code.UNAVAILABLE
        with pytest.raises(TransportError) as unsent:
            await words.request("orders.get", GetOrderRequest(), GetOrderResponse, timeout=9.0)
        assert time.monotonic() - began < 1.0
        assert unsent.value.code is Code.UNAVAILABLE
        assert unsent.value.attempt is not None
        assert not unsent.value.attempt.sent
        nats_server.start()
        await _back(words)
        await until(lambda: heard.orders)
        reply = await words.request("orders.get", GetOrderRequest(order_id="1"), GetOrderResponse, timeout=5.0)
    assert reply.order_id == "1"
    assert set(heard.orders) == {"back"}


async def test_subscriptions_live_on_with_another_client(nats_server: NatsServer) -> None:
    """Some errors end nats-py's client for good: the next one listens to the same, and is answered."""
    heard = Heard()
    async with (
        AtMostOnce(nats_server.url, name="a") as words,
        words.subscribe(on_order_placed(heard.handle)),
        words.respond("orders.get", GetOrderRequest, _order),
    ):
        ended = words._connection.client
        assert ended is not None
        await ended.close()  # as nats-py does by itself after such an error
        await until(lambda: words._connection.client is not ended)
        await words.publish(ORDER_PLACED, placed("o-1"))
        await until(lambda: heard.orders)
        reply = await words.request("orders.get", GetOrderRequest(order_id="1"), GetOrderResponse, timeout=5.0)
    assert (heard.orders, reply.order_id) == (["o-1"], "1")


async def test_who_begins_to_listen_in_an_outage_hears_what_comes_after(nats_server: NatsServer) -> None:
    """The server is told of the subscription when it is back."""
    heard = Heard()
    async with AtMostOnce(nats_server.url, name="a") as words:
        nats_server.kill()
        await _away(words)
        async with words.subscribe(on_order_placed(heard.handle)):
            nats_server.start()
            await _back(words)
            await until(lambda: heard.orders)


async def test_who_left_in_an_outage_hears_nothing_after(nats_server: NatsServer) -> None:
    """A subscription that ended while NATS was away does not come back with it."""
    heard = Heard()
    async with AtMostOnce(nats_server.url, name="a") as words:
        async with words.subscribe(on_order_placed(heard.handle), "g"):
            nats_server.kill()
            await _away(words)
        nats_server.start()
        await _back(words)
        async with words.subscribe(on_order_placed(heard.handle), "g"):
            for number in range(50):
                await words.publish(ORDER_PLACED, placed(f"o-{number}"))
            await until(lambda: len(heard.orders) == 50)


async def _order(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
    return GetOrderResponse(order_id=request.order_id)


async def _away(words: AtMostOnce) -> None:
    client = words._connection.client
    assert client is not None
    await until(lambda: not client.is_connected)


async def _back(words: AtMostOnce) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await words.publish(ORDER_PLACED, placed("back"))
            except MessagingError:
                await asyncio.sleep(0.05)


async def test_a_request_is_answered_and_carries_its_ids(nats_url: str) -> None:
    """The answer is the handler's message; correlation, cause, trace and deadline are there, and a key derived."""
    subject, seen = f"t.{random_id()}", list[Context]()

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        seen.append(ctx)
        return GetOrderResponse(order_id=request.order_id, total=7)

    async with AtMostOnce(nats_url, name="a") as words, words.respond(subject, GetOrderRequest, handle):
        for _ in range(2):  # the same event handled again asks with the same key
            cause = Context(None, correlation_id="correlation", key="cause", trace=TRACE)
            with enter(cause):
                reply = await words.request(subject, GetOrderRequest(order_id="o"), GetOrderResponse, timeout=5.0)
        await words.request(subject, GetOrderRequest(order_id="o"), GetOrderResponse, timeout=5.0)
    assert (reply.order_id, reply.total) == ("o", 7)
    first, again, free = seen
    assert (first.correlation_id, first.causation_id, first.trace) == ("correlation", "cause", TRACE)
    assert first.key == again.key != free.key
    assert first.deadline is not None
    assert 0 < first.deadline - time.monotonic() <= 5


async def test_a_request_goes_to_one_responder(nats_url: str) -> None:
    """Two processes that respond to one subject share the requests."""
    subject, answered = f"t.{random_id()}", list[str]()

    def responder(name: str) -> Callable[[GetOrderRequest, Context], object]:
        async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
            answered.append(name)
            return GetOrderResponse()

        return handle

    async with AsyncExitStack() as parts:
        for name in ("a", "b"):
            words = await parts.enter_async_context(AtMostOnce(nats_url, name=name))
            await parts.enter_async_context(words.respond(subject, GetOrderRequest, responder(name)))  # type: ignore[arg-type]
        for _ in range(60):
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)
    assert len(answered) == 60
    assert set(answered) == {"a", "b"}


async def test_nobody_there_is_told_at_once(nats_url: str) -> None:
    """Without a responder the request was certainly not handled."""
    async with AtMostOnce(nats_url, name="a") as words:
        began = time.monotonic()
        with pytest.raises(TransportError, match="nobody responds") as caught:
            await words.request(f"t.{random_id()}", GetOrderRequest(), GetOrderResponse, timeout=30.0)
    assert time.monotonic() - began < 5
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.attempt is not None
    assert (caught.value.attempt.sent, caught.value.attempt.code) == (False, Code.UNAVAILABLE)


async def test_an_error_comes_back_with_its_details(nats_url: str) -> None:
    """What the handler raises is raised where it was asked, as the peer's word."""
    subject = f"t.{random_id()}"

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        raise CarrickError(Code.NOT_FOUND, "no order ü\n2", [ErrorInfo(reason="NONE", domain="shop")])

    async with AtMostOnce(nats_url, name="a") as words, words.respond(subject, GetOrderRequest, handle):
        with pytest.raises(RemoteError) as caught:
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, "no order ü\n2")
    assert caught.value.details == (ErrorInfo(reason="NONE", domain="shop"),)
    assert caught.value.attempt is not None
    assert (caught.value.attempt.sent, caught.value.attempt.code) == (True, Code.NOT_FOUND)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyError("secret"), Code.INTERNAL, "internal error"),
        (asyncio.CancelledError("secret"), Code.INTERNAL, "internal error"),
        (MessagingError(Code.UNAVAILABLE, "secret"), Code.INTERNAL, "internal error"),
        (RejectedError(Code.UNAVAILABLE, "busy"), Code.UNAVAILABLE, "busy"),
    ],
)
async def test_what_is_no_answer_is_not_told(nats_url: str, error: BaseException, code: Code, words: str) -> None:
    """As over gRPC: a bug says no more than the correlation id, and does not end the responder."""
    subject, errors = f"t.{random_id()}", [error]

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        while errors:
            raise errors.pop()
        return GetOrderResponse(order_id="well")

    async with AtMostOnce(nats_url, name="a") as live, live.respond(subject, GetOrderRequest, handle):
        with pytest.raises(RemoteError, match=words) as caught:
            await live.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)
        assert (await live.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)).order_id == "well"
    assert caught.value.code is code
    assert "secret" not in caught.value.message


async def test_a_late_answer_is_none(nats_url: str) -> None:
    """A timeout says that the outcome is unknown; the handler is cancelled then, and what waited is not begun."""
    subject, begun, cancelled, seen = f"t.{random_id()}", list[str](), list[str](), list[Observation]()

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        begun.append(request.order_id)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(request.order_id)
            raise
        return GetOrderResponse()

    async with (
        AtMostOnce(nats_url, name="a") as words,
        AtMostOnce(nats_url, name="b", observe=seen.append) as other,
        other.respond(subject, GetOrderRequest, handle, options=IntakeOptions()),
    ):
        first = asyncio.create_task(
            words.request(subject, GetOrderRequest(order_id="first"), GetOrderResponse, timeout=0.6)
        )
        await until(lambda: begun)
        with pytest.raises(DeadlineError, match="unknown") as caught:
            await words.request(subject, GetOrderRequest(order_id="second"), GetOrderResponse, timeout=0.2)
        with pytest.raises((DeadlineError, RemoteError)):
            await first
        await until(lambda: seen)
    assert caught.value.attempt is not None
    assert caught.value.attempt.sent
    assert (begun, cancelled) == (["first"], ["first"])
    assert seen == [RequestRefused(subject=subject, reason="expired")]


async def test_a_deadline_is_inherited(nats_url: str) -> None:
    """What is handled until a moment asks for no longer, and not at all when that has passed."""
    subject, began = f"t.{random_id()}", time.monotonic()

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        await asyncio.sleep(30)
        return GetOrderResponse()

    async with AtMostOnce(nats_url, name="a") as words, words.respond(subject, GetOrderRequest, handle):
        with enter(Context(None, deadline=began + 0.3)), pytest.raises((DeadlineError, RemoteError)):
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=20.0)
        assert time.monotonic() - began < 5
        with enter(Context(None, deadline=began)), pytest.raises(DeadlineError, match="not sent") as caught:
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=20.0)
    assert caught.value.attempt is not None
    assert not caught.value.attempt.sent


async def test_too_many_requests_are_refused_at_once(nats_url: str) -> None:
    """What finds no room is answered, not left to wait."""
    subject, gate, seen = f"t.{random_id()}", asyncio.Event(), list[Observation]()

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        await gate.wait()
        return GetOrderResponse(order_id=request.order_id)

    options = IntakeOptions(concurrency=2, max_waiting=1)
    async with (
        AtMostOnce(nats_url, name="a", observe=seen.append) as words,
        words.respond(subject, GetOrderRequest, handle, options=options) as responder,
    ):
        taken = [
            asyncio.create_task(words.request(subject, GetOrderRequest(order_id="t"), GetOrderResponse, timeout=9.0))
            for _ in range(3)
        ]
        await until(lambda: (responder.intake.running, responder.intake.waiting) == (2, 1))
        with pytest.raises(RemoteError) as caught:
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=9.0)
        gate.set()
        assert [reply.order_id for reply in await asyncio.gather(*taken)] == ["t"] * 3
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert seen == [RequestRefused(subject=subject, reason="queue")]


async def test_what_is_too_large_is_refused(nats_url: str) -> None:
    """A request or event above the server's limit is not sent, an answer becomes an error; the connection lives on."""
    subject = f"t.{random_id()}"
    huge = "x" * 1_100_000

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        return GetOrderResponse(order_id=huge if request.order_id == "huge" else "fits")

    async with AtMostOnce(nats_url, name="a") as words, words.respond(subject, GetOrderRequest, handle):
        with pytest.raises(MessagingError, match="max_payload") as asked:
            await words.request(subject, GetOrderRequest(order_id=huge), GetOrderResponse, timeout=5.0)
        with pytest.raises(MessagingError, match="max_payload") as published:
            await words.publish(ORDER_PLACED, placed(huge))
        with pytest.raises(RemoteError, match="larger than") as answered:
            await words.request(subject, GetOrderRequest(order_id="huge"), GetOrderResponse, timeout=5.0)
        assert (await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)).order_id == "fits"
    assert asked.value.code is published.value.code is Code.INVALID_ARGUMENT
    assert answered.value.code is Code.RESOURCE_EXHAUSTED


async def test_a_cancelled_request_leaves_nothing_behind(nats_url: str) -> None:
    """Who gives up is cancelled at once; a late answer goes nowhere, and the next request has its own."""
    subject, gate, arrived = f"t.{random_id()}", asyncio.Event(), asyncio.Event()

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        arrived.set()
        await gate.wait()
        return GetOrderResponse(order_id=request.order_id)

    async with AtMostOnce(nats_url, name="a") as words, words.respond(subject, GetOrderRequest, handle):
        task = asyncio.create_task(
            words.request(subject, GetOrderRequest(order_id="1"), GetOrderResponse, timeout=30.0)
        )
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert words._answers._waiting == {}
        gate.set()
        reply = await words.request(subject, GetOrderRequest(order_id="2"), GetOrderResponse, timeout=5.0)
    assert reply.order_id == "2"


async def test_closing_lets_what_was_taken_finish(nats_url: str) -> None:
    """A request under way when the responder leaves is answered; one that comes after finds nobody."""
    subject, begun = f"t.{random_id()}", asyncio.Event()

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        begun.set()
        await asyncio.sleep(0.3)
        return GetOrderResponse(order_id=request.order_id)

    async with AtMostOnce(nats_url, name="client") as words:
        async with (
            AtMostOnce(nats_url, name="server") as server,
            server.respond(subject, GetOrderRequest, handle),
        ):
            task = asyncio.create_task(
                words.request(subject, GetOrderRequest(order_id="1"), GetOrderResponse, timeout=9.0)
            )
            await begun.wait()
        assert (await task).order_id == "1"
        with pytest.raises(TransportError, match="nobody"):
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=9.0)


async def test_closing_is_bounded(nats_url: str) -> None:
    """A handler that does not end is cancelled after the grace, and who asked is told so."""
    subject, begun = f"t.{random_id()}", asyncio.Event()

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        begun.set()
        await asyncio.sleep(30)
        return GetOrderResponse()

    async with AtMostOnce(nats_url, name="client") as words:
        async with (
            AtMostOnce(nats_url, name="server", grace=0.2) as server,
            server.respond(subject, GetOrderRequest, handle),
        ):
            task = asyncio.create_task(words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=20.0))
            await begun.wait()
            began = time.monotonic()
        with pytest.raises(RemoteError, match="stopped while handling") as caught:
            await task
    assert caught.value.code is Code.UNAVAILABLE
    assert time.monotonic() - began < 5


async def test_closing_a_frozen_server_is_bounded(nats_server: NatsServer) -> None:
    """A server that stands still does not hold up the end."""
    heard = Heard()
    async with AtMostOnce(nats_server.url, name="a") as words, words.subscribe(on_order_placed(heard.handle)):
        nats_server.freeze()
        began = time.monotonic()
    assert time.monotonic() - began < 8
    nats_server.thaw()


async def test_a_server_that_stood_still_is_heard_again(nats_server: NatsServer) -> None:
    """Who began and ended subscriptions meanwhile goes on as before: what came late does no harm."""
    heard = Heard()
    async with AtMostOnce(nats_server.url, name="a") as words:
        nats_server.freeze()
        async with words.subscribe(on_order_placed(heard.handle)):
            pass
        async with words.subscribe(on_order_placed(heard.handle)) as listener:
            nats_server.thaw()
            async with asyncio.timeout(10):
                while not listener.handled:
                    await words.publish(ORDER_PLACED, placed("thawed"))
                    await asyncio.sleep(0.05)


async def test_a_subscription_is_known_when_its_block_begins(nats_url: str) -> None:
    """Others reach it at once, again and again, and no more once it has ended."""
    subject = f"t.{random_id()}"
    async with AtMostOnce(nats_url, name="a") as words, AtMostOnce(nats_url, name="b") as other:
        for _ in range(100):
            async with other.respond(subject, GetOrderRequest, _order):
                await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)
            with pytest.raises(TransportError, match="nobody"):
                await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)


async def test_closing_with_subscriptions_open_ends_them(nats_url: str) -> None:
    """Who closes the connection first loses nothing that was taken; leaving the block later does no harm."""
    heard = Heard()
    words = AtMostOnce(nats_url, name="a")
    await words.open()
    async with words.subscribe(on_order_placed(heard.handle)) as listener:
        await words.publish(ORDER_PLACED, placed("o-1"))
        await until(lambda: listener.handled)
        await words.close()
    with pytest.raises(MessagingError, match="not open"):
        await words.publish(ORDER_PLACED, placed("o-2"))


async def test_others_can_ask_and_answer(nats_url: str) -> None:
    """A peer that knows nothing of the framework: no headers, an error as in NATS's service API, broken bytes."""
    subject = f"t.{random_id()}"
    async with AtMostOnce(nats_url, name="a") as words, await nats.connect(nats_url) as raw:
        async with words.respond(subject, GetOrderRequest, _order):
            answer = await raw.request(f"LIVE.{subject}", GetOrderRequest(order_id="7").SerializeToString(), timeout=5)
            assert GetOrderResponse.FromString(answer.data).order_id == "7"
            answer = await raw.request(f"LIVE.{subject}", b"\xff\xff", timeout=5)
            assert (answer.headers or {})["Nats-Service-Error-Code"] == "3"
            await raw.publish(f"LIVE.{subject}", b"")  # nobody to answer to
        replies = [(b"", {"Nats-Service-Error-Code": "500", "Nats-Service-Error": "boom"}), (b"\xff\xff", None)]

        async def reply(message: Msg) -> None:
            data, headers = replies.pop(0)
            await raw.publish(message.reply, data, headers=headers)

        await raw.subscribe(f"LIVE.{subject}", cb=reply)
        await raw.flush()
        with pytest.raises(RemoteError, match="boom") as caught:
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)
        assert caught.value.code is Code.UNKNOWN
        with pytest.raises(TransportError, match="can't be read"):
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=5.0)


@pytest.mark.parametrize("subject", ["", "a b", "a.*", "a.>", ".a", "a..b", "a\r\nb"])
async def test_what_is_no_subject_is_refused(nats_url: str, subject: str) -> None:
    """Wildcards and empty words are no place to ask or to respond at."""
    async with AtMostOnce(nats_url, name="a") as words:
        with pytest.raises(MessagingError, match="no subject"):
            await words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=1.0)
        with pytest.raises(MessagingError, match="no subject"):
            async with words.respond(subject, GetOrderRequest, _order):
                pass


async def test_what_the_server_forbids_is_told_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who asks hears of it, and that it was not handled; who publishes has a line in the log. The rest goes on."""
    denied = 'authorization { users: [ {user: a, password: b, permissions: { publish: { deny: "LIVE.secret.>" } } } ] }'
    with NatsServer(tmp_path, config=denied) as server:
        url = server.url.replace("nats://", "nats://a:b@")
        async with AtMostOnce(url, name="a") as words, words.respond("open.get", GetOrderRequest, _order):
            with pytest.raises(MessagingError, match="does not let this user publish") as caught:
                await words.request("secret.get", GetOrderRequest(), GetOrderResponse, timeout=30.0)
            await words.request("open.get", GetOrderRequest(), GetOrderResponse, timeout=5.0)
    assert caught.value.code is Code.PERMISSION_DENIED
    assert caught.value.attempt is not None
    assert not caught.value.attempt.sent
    assert "secret.get" in caplog.text
    assert "a:b@" not in caplog.text


async def test_a_cancelled_end_leaves_nothing_running(nats_url: str) -> None:
    """Who is cancelled while handlers finish cancels them; who asked is told so."""
    subject, begun, ended = f"t.{random_id()}", asyncio.Event(), asyncio.Event()

    async def handle(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return GetOrderResponse()

    async def serve() -> None:
        async with AtMostOnce(nats_url, name="server") as server, server.respond(subject, GetOrderRequest, handle):
            await begun.wait()

    async with AtMostOnce(nats_url, name="client") as words:
        asking = asyncio.create_task(words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=20.0))
        serving = asyncio.create_task(serve())
        while not begun.is_set():  # asked before anybody responds is refused: ask again
            await asyncio.sleep(0.01)
            if asking.done():
                asking.exception()
                asking = asyncio.create_task(words.request(subject, GetOrderRequest(), GetOrderResponse, timeout=20.0))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert ended.is_set()
        assert time.monotonic() - began < 5
        with pytest.raises(RemoteError, match="stopped while handling"):
            await asking


async def test_a_bad_group_is_refused(nats_url: str) -> None:
    """Before anything is sent."""
    async with AtMostOnce(nats_url, name="a") as words:
        for group in ("", "a b", "g>"):
            with pytest.raises(MessagingError, match="no name for a group"):
                async with words.subscribe(on_order_placed(Heard().handle), group):
                    pass
