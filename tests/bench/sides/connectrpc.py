"""connectrpc's Connect protocol on uvicorn, the server that its documents name first.

Without compression and without an access log, which the other sides do not have either.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from connectrpc.client import ConnectClient
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_codecs
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint

from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.bench.sides.listening import listening
from tests.bench.sides.work import METHOD, ORDER, PATH, SERVICE, TIMEOUT, Call

GET_ORDER = MethodInfo(
    name=METHOD,
    service_name=SERVICE,
    input=GetOrderRequest,
    output=GetOrderResponse,
    stream_type=StreamType.UNARY,
    idempotency_level=IdempotencyLevel.UNKNOWN,
)


class Orders:
    """The service."""

    async def get_order(self, request: GetOrderRequest, ctx: object) -> GetOrderResponse:
        """Answer."""
        return ORDER


class Application(ConnectASGIApplication[Orders]):  # type: ignore[misc]
    """What connectrpc's generated code would be."""

    def __init__(self) -> None:
        super().__init__(
            service=Orders(),
            endpoints=lambda service: {PATH: Endpoint.unary(method=GET_ORDER, function=service.get_order)},
            compressions=(),
            codecs=google_protobuf_codecs(),
        )

    @property
    def path(self) -> str:
        """Where it is mounted."""
        return f"/{SERVICE}"


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Serve with one worker on a free port."""
    config: Any = uvicorn.Config(Application(), loop="asyncio", access_log=False, log_level="warning")
    uvicorn_server = uvicorn.Server(config)
    with listening() as (sock, address):
        serving = asyncio.create_task(uvicorn_server.serve(sockets=[sock]))
        yield address
        uvicorn_server.should_exit = True
        await serving


@asynccontextmanager
async def client(address: str) -> AsyncIterator[Call]:
    """Call with a timeout."""
    async with ConnectClient(
        f"http://{address}",
        codec=google_protobuf_binary_codec(),
        accept_compression=(),
        send_compression=None,
        timeout_ms=int(TIMEOUT * 1000),
    ) as connect:

        async def call(request: GetOrderRequest) -> GetOrderResponse:
            reply: GetOrderResponse = await connect.execute_unary(request=request, method=GET_ORDER)
            return reply

        yield call
