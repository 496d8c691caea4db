"""Handlers in the shapes in which gRPC takes them, and finds and calls them the fastest."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from carrick.context import Metadata
from carrick.method import MethodSpec

__all__ = ["Handler", "Handlers", "Unregistered"]


class Handler(grpc.RpcMethodHandler):  # type: ignore[type-arg]
    """Who handles one call, as gRPC wants to see it. Making one of gRPC's own takes four times as long."""

    __slots__ = (
        "request_deserializer",
        "request_streaming",
        "response_serializer",
        "response_streaming",
        "stream_stream",
        "stream_unary",
        "unary_stream",
        "unary_unary",
    )

    def __init__(self, method: MethodSpec[Any, Any], decode: Callable[[bytes], Any], handle: Any) -> None:
        self.request_streaming = method.streams_requests
        self.response_streaming = method.streams_responses
        self.request_deserializer = decode if method.streams_requests else None
        self.response_serializer = None
        self.unary_unary = self.unary_stream = self.stream_unary = self.stream_stream = handle


class Handlers(grpc.GenericRpcHandler):
    """Finds who handles a call, and hands on its metadata: asked for later, grpc.aio converts them once more."""

    def __init__(self, handlers: Mapping[str, Callable[[Metadata], Handler]]) -> None:
        self._handlers = handlers

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the handler of a call, or None when its method is not served here."""
        handler = self._handlers.get(details.method)
        return None if handler is None else handler(tuple(details.invocation_metadata))


class Unregistered:
    """A server as generated code is given it to add its handlers: each is found by its name, none is registered.

    grpc.aio waits for a call to any registered method and to all others side by side, and begins to wait anew with each
    call that comes in: each registered method, called or not, makes all calls dearer.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Leave it at the generic handlers, which are the same ones."""
