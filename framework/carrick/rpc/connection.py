"""A grpc.aio channel, and unary calls on it that leave grpc.aio's own Python out.

For each unary call grpc.aio makes an object, a task to run it, a dictionary of its metadata and an entry in a weak set:
a quarter of what a client spends on a call, and more than all policies of the framework together. What lies below, the
channel and the call in Cython, is private to grpcio. What is used of it is the same in grpcio 1.80 and 1.85; it is
listed here and looked for before anything is called, and ``pyproject.toml`` asks for versions in which it was seen.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from carrick.context import Metadata
from carrick.errors import ConfigurationError

__all__ = ["Connection", "check_grpcio"]

_PRIVATE = {
    "AioChannel": ("call",),
    "_AioCall": (
        "cancel",
        "initial_metadata",
        "is_locally_cancelled",
        "send_serialized_message",
        "status",
        "unary_unary",
    ),
}
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Connection:
    """A channel to one target. Belongs to the event loop in which it is made; connects with the first call."""

    def __init__(self, target: str, options: Sequence[tuple[str, Any]]) -> None:
        self.channel = grpc.aio.insecure_channel(target, options=options)
        self._calls: set[Any] = set()

    async def unary(self, method: bytes, request: bytes, timeout: float | None, metadata: Metadata) -> bytes:
        """Make a call and return the answer's bytes, as grpc.aio's does.

        ``timeout`` is in seconds. Raises ``AioRpcError`` for a status, ``DecodeError`` for an OK without an answer, and
        ``CancelledError`` when the connection is closed meanwhile. Cancelling cancels the call at the peer.
        """
        deadline = None if timeout is None else time.time() + timeout  # the core's clock, whatever ours is
        call = self.channel._channel.call(method, deadline, None, None)  # type: ignore[attr-defined]
        self._calls.add(call)
        try:
            answer: bytes | None = await call.unary_unary(request, metadata)
        except BaseException:
            call.cancel("the caller cancelled the call")
            raise
        finally:
            self._calls.discard(call)
        if answer is None:
            await _raise_status(call)
        return answer

    async def close(self) -> None:
        """Cancel the calls under way and close the channel."""
        for call in self._calls:
            call.cancel("the channel was closed")
        await self.channel.close()


async def _raise_status(call: Any) -> NoReturn:
    if call.is_locally_cancelled():
        raise asyncio.CancelledError
    status = await call.status()
    code = _STATUS_CODES[status.code()]
    if code is grpc.StatusCode.OK:
        raise DecodeError("none came with the status OK")
    raise grpc.aio.AioRpcError(
        code,
        grpc.aio.Metadata.from_tuple(await call.initial_metadata()),
        grpc.aio.Metadata.from_tuple(status.trailing_metadata()),
        details=status.details(),
        debug_error_string=status.debug_error_string(),
    )


def check_grpcio() -> None:
    """Raise ``ConfigurationError`` when the installed grpcio lacks something private to it that is used here."""
    missing = [
        f"{name}.{attribute}"
        for name, attributes in _PRIVATE.items()
        for attribute in attributes
        if not hasattr(getattr(cygrpc, name, None), attribute)
    ]
    if missing:
        raise ConfigurationError(
            f"grpcio {grpc.__version__} has no {', '.join(missing)}, which Carrick calls with: "
            "install a version of grpcio that this version of Carrick asks for"
        )
