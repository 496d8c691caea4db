"""What can go wrong, in the words of gRPC's status codes.

Every error that the framework raises is a :class:`CarrickError`. A handler raises one to answer with that status. Its
class says where the call ended, its code says what a caller may do about it.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeGuard

from google.protobuf.message import Message

if TYPE_CHECKING:
    from carrick.context import Attempt

__all__ = [
    "OWN_FAULTS",
    "CarrickError",
    "Code",
    "ConfigurationError",
    "DeadlineError",
    "DuplicateEventError",
    "MessagingError",
    "OutboxError",
    "RejectedError",
    "RemoteError",
    "StoreError",
    "TransportError",
    "is_answer",
]


class Code(IntEnum):
    """The status codes of gRPC, with their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_ERROR_CODES = frozenset(Code) - {Code.OK}


class CarrickError(Exception):
    """A call or an event ended with ``code``.

    ``message`` is for people, and goes to the caller when a handler raises the error: it must hold nothing secret.
    ``details`` are protobuf messages (``google.rpc.ErrorInfo`` and the like) for programs. ``attempt`` is the try that
    failed, where there was one.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        details: Sequence[Message] = (),
        *,
        attempt: Attempt | None = None,
    ) -> None:
        super().__init__(code, message)
        if code not in _ERROR_CODES:
            raise TypeError(f"an error needs a Code other than OK, like Code.NOT_FOUND, not {code!r}")
        if isinstance(details, Message):
            raise TypeError("details is a list of messages; write details=[...]")
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.attempt = attempt

    def __reduce__(self) -> tuple[Any, ...]:  # past __init__, whose arguments are not the same in all classes
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class RejectedError(CarrickError):
    """The call was certainly never executed: a circuit was open, a limit was reached, the work was shed."""


class DeadlineError(CarrickError):
    """The deadline passed, or left no time for what had to be done. The code is ``DEADLINE_EXCEEDED``."""

    def __init__(self, message: str, *, attempt: Attempt | None = None) -> None:
        super().__init__(Code.DEADLINE_EXCEEDED, message, attempt=attempt)


class TransportError(CarrickError):
    """No answer came from the peer. Whether it executed the call is unknown unless ``attempt.sent`` is false."""


class RemoteError(CarrickError):
    """The peer answered with this status."""


class MessagingError(CarrickError):
    """The broker did not do what was asked of it."""


class OutboxError(CarrickError):
    """An event could not be written to the outbox."""


class StoreError(CarrickError):
    """The database was not there, was locked for too long, or refused the framework's own statement."""


class DuplicateEventError(CarrickError):
    """The event's effect was committed by an earlier delivery, so this one's transaction must not be."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.ALREADY_EXISTS, message)


class PermanentError(CarrickError):
    """A handler's word that it can never handle this event: it goes to the dead letters at once."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.FAILED_PRECONDITION, message)


class ConfigurationError(CarrickError):
    """A setting or an option makes no sense. Raised only while something is constructed, never by a call."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.FAILED_PRECONDITION, message)

    def __str__(self) -> str:
        return self.message


OWN_FAULTS = (ConfigurationError, MessagingError, OutboxError)
"""Errors of the framework that a handler lets pass: not its words to its caller."""


def is_answer(error: BaseException) -> TypeGuard[CarrickError]:
    """Say whether a handler's error is its own word to its caller.

    An error of a call that it made, of its database or broker, or of anything else that failed under it, is not.
    """
    return (
        isinstance(error, CarrickError) and error.attempt is None and not isinstance(error, (*OWN_FAULTS, StoreError))
    )
