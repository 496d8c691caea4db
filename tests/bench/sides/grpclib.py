"""grpclib: gRPC in pure Python."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.server import Server

from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.bench.sides.listening import listening
from tests.bench.sides.work import ORDER, PATH, TIMEOUT, Call


class Orders:
    """What grpclib's generated code would be the base of."""

    async def get_order(self, stream: Any) -> None:
        """Answer."""
        await stream.recv_message()
        await stream.send_message(ORDER)

    def __mapping__(self) -> dict[str, Any]:
        return {PATH: Handler(self.get_order, Cardinality.UNARY_UNARY, GetOrderRequest, GetOrderResponse)}


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Serve on a free port."""
    with listening() as (sock, address):
        grpclib_server = Server([Orders()])
        await grpclib_server.start(sock=sock)
        yield address
        grpclib_server.close()
        await grpclib_server.wait_closed()


@asynccontextmanager
async def client(address: str) -> AsyncIterator[Call]:
    """Call on one channel, with a timeout."""
    host, port = address.split(":")
    async with Channel(host, int(port)) as channel:
        method = UnaryUnaryMethod(channel, PATH, GetOrderRequest, GetOrderResponse)

        async def call(request: GetOrderRequest) -> GetOrderResponse:
            reply: GetOrderResponse = await method(request, timeout=TIMEOUT)
            return reply

        yield call
