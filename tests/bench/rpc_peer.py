"""One process of ``make bench-rpc``: a server or a client of one side. Speaks JSON lines with the bench."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from carrick import BreakerOptions, Context, MethodPolicy, MethodRoute, MethodSpec, RetryOptions
from carrick.rpc import Channel, Server
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse, OrderLine

Call = Callable[[GetOrderRequest], Awaitable[GetOrderResponse]]

SERVICE, METHOD = "bench.Orders", "GetOrder"
TIMEOUT = 5.0
ORDER = GetOrderResponse(
    order_id="01a205eb-e03b-740a-90af-43100a0c3ee6",
    customer_id="customer-17",
    total=12_345,
    lines=[OrderLine(sku=f"article-{number}", quantity=number + 1, unit_price=350) for number in range(5)],
)
REQUEST = GetOrderRequest(order_id=ORDER.order_id)
GET_ORDER = MethodSpec(
    service=SERVICE,
    name=METHOD,
    request=GetOrderRequest,
    response=GetOrderResponse,
    policy=MethodPolicy(timeout=TIMEOUT, retry=RetryOptions(), breaker=BreakerOptions()),
)


class Orders:
    """The servicer of Carrick's side."""

    async def get_order(self, request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        """Answer."""
        return ORDER

    def routes(self) -> tuple[MethodRoute[GetOrderRequest, GetOrderResponse], ...]:
        """Return the one route."""
        return (MethodRoute(GET_ORDER, self.get_order),)


@asynccontextmanager
async def bare_server() -> AsyncIterator[str]:
    """Serve with grpc.aio alone."""

    async def get_order(request: GetOrderRequest, context: object) -> GetOrderResponse:
        return ORDER

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        get_order,
        request_deserializer=GetOrderRequest.FromString,
        response_serializer=GetOrderResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@asynccontextmanager
async def carrick_server() -> AsyncIterator[str]:
    """Serve with Carrick."""
    async with Server(Orders()) as server:
        yield server.address


@asynccontextmanager
async def bare_client(address: str) -> AsyncIterator[Call]:
    """Call with grpc.aio alone, with a timeout as anybody would."""
    async with grpc.aio.insecure_channel(address) as channel:
        invoke = channel.unary_unary(
            f"/{SERVICE}/{METHOD}",
            request_serializer=GetOrderRequest.SerializeToString,
            response_deserializer=GetOrderResponse.FromString,
        )

        async def call(request: GetOrderRequest) -> GetOrderResponse:
            return await invoke(request, timeout=TIMEOUT)

        yield call


@asynccontextmanager
async def carrick_client(address: str) -> AsyncIterator[Call]:
    """Call with Carrick and the contract's policies."""
    async with Channel(address) as channel:
        yield channel.unary(GET_ORDER)


async def serve(side: str) -> None:
    """Say the address, then the CPU seconds of this process whenever a line comes, until the input ends."""
    async with (bare_server if side == "bare" else carrick_server)() as address:
        say(address)
        while await asyncio.to_thread(sys.stdin.readline):
            say(time.process_time())


async def call(side: str, address: str, concurrency: int) -> None:
    """For each line, a number of seconds, call that long; say how often, how long, and at what CPU time."""
    async with (bare_client if side == "bare" else carrick_client)(address) as invoke:
        while line := await asyncio.to_thread(sys.stdin.readline):
            started, cpu = time.monotonic(), time.process_time()
            until = started + float(line)
            calls = sum(await asyncio.gather(*(calls_until(until, invoke) for _ in range(concurrency))))
            say({"calls": calls, "seconds": time.monotonic() - started, "cpu": time.process_time() - cpu})


async def calls_until(until: float, invoke: Call) -> int:
    """Call one after the other until the time is over; return how often."""
    calls = 0
    while time.monotonic() < until:
        await invoke(REQUEST)
        calls += 1
    return calls


def say(what: object) -> None:
    """Write a line for the bench."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "serve":
        asyncio.run(serve(arguments[0]))
    else:
        asyncio.run(call(arguments[0], arguments[1], int(arguments[2])))
