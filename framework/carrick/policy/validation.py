"""Requests that break their contract's rules are refused, with every field that does named."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest

from carrick.context import Context
from carrick.errors import CarrickError, Code
from carrick.method import MethodSpec
from carrick.service import Filter, Service
from carrick.stream import close

__all__ = ["MOST_VIOLATIONS", "Check", "Violation", "invalid", "validation"]

MOST_VIOLATIONS = 20
"""How many are sent."""

_MOST_BYTES = 2048
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a request breaks."""

    field: str
    """Path of the field, ``lines[0].quantity``; empty for a rule of the whole message."""
    description: str
    """For people, in the rule's words."""
    rule: str
    """Id of the rule, ``uint32.gt``."""


Check: TypeAlias = Callable[[Message], Sequence[Violation]]
"""Says what a message breaks: nothing, when it is valid. More than can be sent need not be counted."""


def validation(method: MethodSpec[Any, Any], check: Check) -> Filter:
    """Make a filter that answers ``INVALID_ARGUMENT`` in place of the service for a request that breaks a rule.

    Where requests are streamed, each is checked when it is read, and the first bad one is raised where it was asked
    for: the handler gets none after it.
    """

    async def valid(request: Any, ctx: Context, service: Service) -> Any:
        if violations := check(request):
            raise invalid(violations)
        return await service(request, ctx)

    async def valid_stream(requests: Any, ctx: Context, service: Service) -> Any:
        return await service(_Checked(requests, check), ctx)

    return valid_stream if method.streams_requests else valid


def invalid(violations: Sequence[Violation]) -> CarrickError:
    """Return the refusal. The details hold at most 20 violations and 2 KiB, each text 200 characters."""
    details = BadRequest()
    for violation in violations[:MOST_VIOLATIONS]:
        details.field_violations.add(
            field=_short(violation.field),
            description=_short(violation.description),
            reason=_reason(violation.rule),
        )
        if details.ByteSize() > _MOST_BYTES:
            del details.field_violations[-1]
            break
    first = violations[0]
    where = f"{_short(first.field)}: " if first.field else ""
    message = f"the request is not valid: {where}{_short(first.description)}{_and_more(len(violations) - 1)}"
    return CarrickError(Code.INVALID_ARGUMENT, message, [details])


def _and_more(others: int) -> str:
    if others == 0:
        return ""
    return f" (and {others} more)" if others < MOST_VIOLATIONS else " (and more)"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _reason(rule: str) -> str:
    """Return a rule's id as ``google.rpc.BadRequest`` wants it: up to 63 upper-case letters, digits and underscores."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in rule.upper())[:63].strip("_")


class _Checked:
    """Requests, each checked when it is read."""

    __slots__ = ("_check", "_iterator", "_refused", "_requests")

    def __init__(self, requests: Any, check: Check) -> None:
        self._requests = requests
        self._iterator: Any = None
        self._check = check
        self._refused = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._refused:
            raise StopAsyncIteration
        if self._iterator is None:
            self._iterator = aiter(self._requests)
        request = await anext(self._iterator)
        if violations := self._check(request):
            self._refused = True
            await self.aclose()
            raise invalid(violations)
        return request

    async def aclose(self) -> None:
        """Ask for no more."""
        await close(self._iterator)
