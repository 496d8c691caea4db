"""Handlers in the shapes in which gRPC takes them, and finds and calls them the fastest."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio

from carrick.context import Metadata
from carrick.method import MethodKind, MethodSpec

__all__ = ["Handlers", "Unregistered", "handler_for", "received_metadata"]


_metadata: ContextVar[Metadata] = ContextVar("carrick_metadata", default=())


def received_metadata() -> Metadata:
    """Return what came in with the call that this task handles."""
    return _metadata.get()


class Handlers(grpc.GenericRpcHandler):
    """Finds who handles a call, and keeps its metadata: asked for later, grpc.aio converts them once more.

    grpc.aio looks for the handler in the task in which it then calls it.
    """

    def __init__(self, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]) -> None:
        self._handlers = handlers

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the handler of a call, or None when its method is not served here."""
        _metadata.set(details.invocation_metadata)
        return self._handlers.get(details.method)


_SHAPES = {
    MethodKind.UNARY: grpc.unary_unary_rpc_method_handler,
    MethodKind.CLIENT_STREAM: grpc.stream_unary_rpc_method_handler,
    MethodKind.SERVER_STREAM: grpc.unary_stream_rpc_method_handler,
    MethodKind.BIDI_STREAM: grpc.stream_stream_rpc_method_handler,
}


def handler_for(
    method: MethodSpec[Any, Any], decode: Callable[[bytes], Any], handle: Any
) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return what handles a method, as gRPC wants to see it; ``decode`` is for requests that are streamed."""
    make: Any = _SHAPES[method.kind]
    handler: grpc.RpcMethodHandler[Any, Any] = make(handle, decode if method.streams_requests else None)
    return handler


class Unregistered:
    """A server as generated code is given it to add its handlers: each is found by its name, none is registered.

    grpc.aio waits for a call to any registered method and to all others side by side, and begins to wait anew with each
    call that comes in: each registered method, called or not, makes all calls dearer.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Leave it at the generic handlers, which are the same ones."""
