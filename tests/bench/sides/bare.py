"""grpc.aio alone, with a timeout as anybody would."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.bench.sides.work import METHOD, ORDER, PATH, SERVICE, TIMEOUT, Call


@asynccontextmanager
async def server(interceptors: Sequence[Any] = ()) -> AsyncIterator[str]:
    """Serve one generic handler."""

    async def get_order(request: GetOrderRequest, context: object) -> GetOrderResponse:
        return ORDER

    grpc_server = grpc.aio.server(interceptors=interceptors)
    handler = grpc.unary_unary_rpc_method_handler(
        get_order,
        request_deserializer=GetOrderRequest.FromString,
        response_serializer=GetOrderResponse.SerializeToString,
    )
    grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    yield f"127.0.0.1:{port}"
    await grpc_server.stop(0)


@asynccontextmanager
async def client(address: str, interceptors: Sequence[Any] = ()) -> AsyncIterator[Call]:
    """Call on one channel."""
    async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
        invoke = channel.unary_unary(
            PATH,
            request_serializer=GetOrderRequest.SerializeToString,
            response_deserializer=GetOrderResponse.FromString,
        )

        async def call(request: GetOrderRequest) -> GetOrderResponse:
            return await invoke(request, timeout=TIMEOUT)

        yield call
