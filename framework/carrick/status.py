"""Errors as ``google.rpc.Status``: what a peer is told, and what a record keeps of it."""

import logging
from collections.abc import Sequence

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from carrick.errors import OWN_FAULTS, CarrickError, Code, StoreError, is_answer

__all__ = ["decoded", "details_of", "encoded", "shortened", "told"]

STANDARD_DETAILS = error_details_pb2
"""google.rpc's own details; importing them makes their types known, so that they are unpacked."""

_MAX_MESSAGE = 1024  # bytes; on the wire each may become three
_MAX_DETAILS = 3072  # bytes, the message once more among them: a peer drops a call with more than 8 KiB of metadata
_PASSED_ON = frozenset(
    {Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.UNAVAILABLE}
)
_logger = logging.getLogger("carrick.status")


def told(error: BaseException, correlation_id: str) -> CarrickError:
    """Return what a caller is told of an error that ended the handling of its call.

    An error that the handler raised itself is passed as it is. One from a call that the handler made keeps its code
    only when it may pass (else this service is at fault: ``INTERNAL``), and loses its message. Anything else is
    ``INTERNAL`` and says nothing but the correlation id.
    """
    if is_answer(error):
        return error
    if not isinstance(error, CarrickError) or isinstance(error, OWN_FAULTS):
        return CarrickError(Code.INTERNAL, f"internal error; correlation id {correlation_id}")
    if isinstance(error, StoreError):
        return CarrickError(error.code, f"the service's database is not available; correlation id {correlation_id}")
    if error.code in _PASSED_ON:
        return CarrickError(error.code, "a call that this one depends on failed")
    return CarrickError(Code.INTERNAL, f"a call that this one depends on failed; correlation id {correlation_id}")


def encoded(code: Code, message: str, details: Sequence[Message] = ()) -> bytes:
    """Return the status, its message cut to 1 KiB and with as many of its details as fit into 3 KiB.

    A detail that can't be encoded is logged and left out: an error must not get lost over what describes it.
    """
    status = status_pb2.Status(code=code, message=shortened(message))
    for detail in details:
        try:
            packed = _packed(detail)
        except Exception as error:  # noqa: BLE001  # protobuf has many words for what is no message, or not whole
            _logger.error(
                "a %s among the details of a %s can't be encoded (%s) and is left out",
                type(detail).__name__,
                code.name,
                type(error).__name__,
            )
            continue
        if status.ByteSize() + packed.ByteSize() > _MAX_DETAILS:
            break
        status.details.append(packed)
    whole: bytes = status.SerializeToString()
    return whole


def _packed(detail: Message) -> AnyMessage:
    """Return a detail as it is sent. One that came packed, as its type is not known here, stays as it is."""
    if isinstance(detail, AnyMessage):
        return detail
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def shortened(message: str) -> str:
    """Return a message as it can be sent: at most 1 KiB of UTF-8."""
    return message.encode(errors="replace")[:_MAX_MESSAGE].decode(errors="ignore")


def decoded(status: bytes) -> CarrickError:
    """Return the error that was encoded."""
    parsed = status_pb2.Status.FromString(status)
    return CarrickError(Code(parsed.code), parsed.message, [_unpacked(detail) for detail in parsed.details])


def details_of(status: bytes) -> tuple[Message, ...]:
    """Return a status's details; none where the bytes are no status."""
    try:
        return tuple(_unpacked(detail) for detail in status_pb2.Status.FromString(status).details)
    except DecodeError:
        return ()


def _unpacked(detail: AnyMessage) -> Message:
    """Return the message inside, or the wrapped one when its type is not known to this process."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(detail.TypeName())
    except KeyError:
        return detail
    return GetMessageClass(descriptor).FromString(detail.value)
