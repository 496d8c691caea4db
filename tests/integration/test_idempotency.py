"""Idempotency over the wire, with records in a real database: what a caller gets the second time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from carrick import (
    CarrickError,
    Code,
    Context,
    Filter,
    IdempotencyOptions,
    KeyRule,
    MethodPolicy,
    MethodRoute,
    MethodSpec,
    RemoteError,
    Service,
)
from carrick.rpc import Channel, Server
from carrick.store import IdempotencyRecords
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import OrderLine, PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import REQUEST, method
from tests.unit.testing.programs import until

Handler = Callable[[PlaceOrderRequest, Context], Awaitable[PlaceOrderResponse]]
Spec = MethodSpec[PlaceOrderRequest, PlaceOrderResponse]

PLACE = method(
    "Place",
    policy=MethodPolicy(
        idempotency=IdempotencyOptions(
            key=KeyRule.REQUIRED, replayed_errors=frozenset({Code.FAILED_PRECONDITION, Code.INTERNAL})
        )
    ),
)
DETAILS = "grpc-status-details-bin"
UNKNOWN = b"\xfa\x3e\x05extra"  # a field 1007 that no version of the message here knows
REFUSED = CarrickError(
    Code.FAILED_PRECONDITION,
    "sold out",
    [ErrorInfo(reason="SOLD_OUT", domain="shop", metadata={f"sku-{number}": str(number) for number in range(40)})],
)


class Shop:
    """Handlers that write an effect, and a count of how often they ran."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self.executed = 0

    async def place(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """Commit an effect and the reply."""
        self.executed += 1
        async with self.database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES ('placed')")
            return await tx.reply(PlaceOrderResponse(order_id=f"o-{self.executed}", reason="none"))

    async def fail(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """Fail before anything was committed."""
        self.executed += 1
        raise REFUSED

    async def refuse(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """Commit an effect and a refusal."""
        self.executed += 1
        refusal = CarrickError(Code.PERMISSION_DENIED, "not you", REFUSED.details)
        async with self.database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES ('audit')")
            await tx.refuse(refusal)
        raise refusal

    async def forget(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """Return without ``tx.reply``."""
        self.executed += 1
        return PlaceOrderResponse()

    async def effects(self) -> list[str]:
        """What was committed."""
        async with self.database.read() as tx:
            return [row[0] for row in (await tx.execute("SELECT note FROM effects")).all()]

    async def set(self, assignment: str, **parameters: Any) -> None:
        """Change all records."""
        async with self.database.transaction() as tx:
            await tx.execute(f"UPDATE carrick_idempotency SET {assignment}", parameters)

    async def records(self) -> int:
        """How many records there are."""
        async with self.database.read() as tx:
            return int((await tx.execute("SELECT count(*) FROM carrick_idempotency")).scalar_one())


@pytest.fixture
async def shop(database: SqliteDatabase) -> Shop:
    """A shop with an empty table of effects."""
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE effects (note TEXT)")
    return Shop(database)


class Route:
    """A servicer of the one method."""

    def __init__(self, handler: Handler) -> None:
        self._route = MethodRoute(PLACE, handler)

    def routes(self) -> tuple[MethodRoute[Any, Any], ...]:
        """Return the route."""
        return (self._route,)


@dataclass(frozen=True)
class Answer:
    """What a bare client got."""

    reply: bytes = b""
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    details: bytes = b""

    @property
    def reason(self) -> str:
        """The reason in the status's one detail."""
        (packed,) = Status.FromString(self.details).details
        info = ErrorInfo.FromString(packed.value)
        assert info.domain == "carrick"
        return str(info.reason)


class Bare:
    """A client without Carrick: it sends and gets bytes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call: Any = channel.unary_unary(f"/{PLACE.full_name}")

    async def __call__(self, *keys: str, request: PlaceOrderRequest = REQUEST, timeout: float | None = 10.0) -> Answer:
        """Call, and return the reply, or the status and its details."""
        metadata = tuple(("idempotency-key", key) for key in keys)
        try:
            return Answer(await self._call(request.SerializeToString(), metadata=metadata, timeout=timeout))
        except grpc.aio.AioRpcError as error:
            details = dict(error.trailing_metadata() or ())[DETAILS]
            assert isinstance(details, bytes)
            return Answer(b"", error.code(), error.details() or "", details)


@asynccontextmanager
async def serving(shop: Shop, handler: Handler, filters: Sequence[Filter] = ()) -> AsyncIterator[Bare]:
    """Serve the handler, and give a bare client."""
    async with (
        Server(Route(handler), claims=IdempotencyRecords(shop.database), filters=filters) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield Bare(channel)


async def test_a_reply_is_repeated_byte_for_byte(shop: Shop) -> None:
    """Also where this protobuf runtime would encode it in another way, and has unknown fields in it."""
    odd = b"\x1a\x04none" + UNKNOWN + b"\x0a\x03o-1"
    assert PlaceOrderResponse.FromString(odd).SerializeToString() != odd
    async with serving(shop, shop.place) as call:
        first = await call("k")
        assert await call("k") == first
        await shop.set("reply = :reply", reply=odd)
        assert await call("k") == Answer(odd)
    assert (shop.executed, await shop.effects()) == (1, ["placed"])


async def test_filters_see_a_message_and_may_change_it(shop: Shop) -> None:
    """A filter gets the reply whether or not it is repeated, and what it makes of it is sent."""
    seen: list[str] = []

    async def look(request: Any, ctx: Context, service: Service) -> Any:
        reply = await service(request, ctx)
        seen.append(reply.order_id)
        if ("idempotency-key", "changed") in ctx.metadata:
            reply.reason = "of the filter"
        if ("idempotency-key", "replaced") in ctx.metadata:
            return PlaceOrderResponse(reason="instead")
        return reply

    async with serving(shop, shop.place, [look]) as call:
        for key, reply in [
            ("same", PlaceOrderResponse(order_id="o-1", reason="none")),
            ("changed", PlaceOrderResponse(order_id="o-2", reason="of the filter")),
            ("replaced", PlaceOrderResponse(reason="instead")),
        ]:
            for _ in range(2):
                assert await call(key) == Answer(reply.SerializeToString())
    assert seen == ["o-1", "o-1", "o-2", "o-2", "o-3", "o-3"]


async def test_an_error_is_repeated_byte_for_byte(shop: Shop) -> None:
    """Code, message and ``grpc-status-details-bin``, whatever order this process would give to a map."""
    async with serving(shop, shop.fail) as call:
        first = await call("k")
        assert (first.code, first.message) == (grpc.StatusCode.FAILED_PRECONDITION, "sold out")
        assert [await call("k") for _ in range(3)] == [first] * 3

        odd = UNKNOWN + first.details
        assert Status.FromString(odd).SerializeToString() != odd
        await shop.set("error = :error", error=odd)
        assert (await call("k")).details == odd
    assert shop.executed == 1


async def test_filters_see_a_repeated_error_and_may_change_it(shop: Shop) -> None:
    """A filter catches the error with its details, and what it raises instead is sent."""
    seen: list[CarrickError] = []

    async def look(request: Any, ctx: Context, service: Service) -> Any:
        try:
            return await service(request, ctx)
        except CarrickError as error:
            seen.append(error)
            if ("idempotency-key", "forgiven") in ctx.metadata:
                return PlaceOrderResponse(reason=error.message)
            raise CarrickError(Code.NOT_FOUND, "of the filter") from error

    async with serving(shop, shop.fail, [look]) as call:
        for _ in range(2):
            answer = await call("k")
            assert (answer.code, answer.message) == (grpc.StatusCode.NOT_FOUND, "of the filter")
            assert Status.FromString(answer.details).code == Code.NOT_FOUND
        for _ in range(2):
            assert await call("forgiven") == Answer(PlaceOrderResponse(reason="sold out").SerializeToString())
    assert [error.details for error in seen] == [REFUSED.details] * 4
    assert shop.executed == 2


async def test_a_refusal_and_its_effect_are_there_once(shop: Shop) -> None:
    """A handler may commit what is to stay of a refused call, with any code."""
    async with serving(shop, shop.refuse) as call:
        first = await call("k")
        assert (first.code, first.message) == (grpc.StatusCode.PERMISSION_DENIED, "not you")
        assert await call("k") == first
    assert (shop.executed, await shop.effects()) == (1, ["audit"])


async def test_a_repeated_error_is_an_error_of_the_client(shop: Shop) -> None:
    """Carrick's own client gets code, message and details, each time."""
    async with (
        Server(Route(shop.fail), claims=IdempotencyRecords(shop.database)) as server,
        Channel(server.address) as channel,
    ):
        for _ in range(2):
            with pytest.raises(RemoteError) as caught:
                await channel.unary(PLACE)(REQUEST, key="k")
            assert (caught.value.code, caught.value.message) == (REFUSED.code, REFUSED.message)
            assert caught.value.details == REFUSED.details
    assert shop.executed == 1


async def test_the_three_refusals(shop: Shop) -> None:
    """No key, a key of another request, a key in flight: each has a code and a reason of its own, as the draft has."""
    async with serving(shop, shop.place) as call:
        missing = await call()
        await call("k")
        reused = await call("k", request=PlaceOrderRequest(customer_id="another", lines=[OrderLine(sku="tea")]))
        await shop.set("reply = NULL, lease = 1000, lease_until = lease_until + 1000")
        in_flight = await call("k")
    assert [(answer.code, answer.reason) for answer in (missing, reused, in_flight)] == [
        (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_MISSING"),
        (grpc.StatusCode.FAILED_PRECONDITION, "IDEMPOTENCY_KEY_REUSED"),
        (grpc.StatusCode.ABORTED, "IDEMPOTENCY_KEY_IN_FLIGHT"),
    ]
    assert shop.executed == 1


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [(["k" * 129], "is not 1 to 128 visible"), (["a b"], "is not 1 to 128 visible"), (["a", "b"], "more than one")],
)
async def test_a_key_that_is_none_is_refused(shop: Shop, keys: list[str], complaint: str) -> None:
    """A malformed key, and two keys, are refused before anything else: which of them counts would be a guess."""
    async with serving(shop, shop.place) as call:
        answer = await call(*keys)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert complaint in answer.message
    assert answer.reason == "IDEMPOTENCY_KEY_INVALID"
    assert (shop.executed, await shop.records()) == (0, 0)


async def test_a_handler_that_forgets_its_record_fails_each_time(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Loudly, and never as a recorded answer, though INTERNAL is repeated by this contract."""
    async with serving(shop, shop.forget) as call:
        for _ in range(2):
            answer = await call("k")
            assert answer.code is grpc.StatusCode.INTERNAL
            assert "without completing its idempotency record" in answer.message
    assert shop.executed == 2
    assert "return await tx.reply(response)" in caplog.text


async def test_a_lease_is_bounded_by_the_deadline_and_by_half_a_minute(shop: Shop) -> None:
    """A caller with a week to spare holds a key for no longer than thirty seconds if its server dies."""
    leases: list[float] = []

    class Watched(IdempotencyRecords):
        async def claim(self, of: Any, key: str, fingerprint: bytes, lease: float) -> Any:
            leases.append(lease)
            return await super().claim(of, key, fingerprint, lease)

    async with (
        Server(Route(shop.place), claims=Watched(shop.database), clock=FakeClock()) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        call = Bare(channel)
        await call("short", timeout=5.0)
        await call("long", timeout=604_800.0)
        await call("none", timeout=None)
    assert leases[1:] == [30.0, 30.0]
    assert 1.0 < leases[0] <= 6.01  # gRPC sends tens of milliseconds, rounded up


async def test_expired_records_go_away_while_a_server_runs(shop: Shop) -> None:
    """Nobody has to remember to remove them."""
    async with serving(shop, shop.place) as call:
        await call("old")
        await call("older")
    await shop.set("expires_at = 1")

    async def gone() -> bool:
        return await shop.records() == 0

    async with serving(shop, shop.place):
        await until(gone)
