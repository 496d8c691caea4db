"""The pairing of what a contract says with what handles it. Generated servicers and functions make these."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from carrick.context import Context
from carrick.event import EventSpec
from carrick.method import MethodSpec
from carrick.options import HandlingOptions

__all__ = ["EventRoute", "MethodRoute", "Upcaster"]

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)
Event = TypeVar("Event", bound=Message)


@dataclass(frozen=True, slots=True)
class MethodRoute(Generic[Req, Res]):
    """An RPC method and its handler, whose shape is that of the method."""

    spec: MethodSpec[Req, Res]
    handler: (
        Callable[[Req, Context], Awaitable[Res]]
        | Callable[[AsyncIterator[Req], Context], Awaitable[Res]]
        | Callable[[Req, Context], AsyncIterator[Res]]
        | Callable[[AsyncIterator[Req], Context], AsyncIterator[Res]]
    )


@dataclass(frozen=True, slots=True)
class Upcaster(Generic[Event]):
    """Makes an event of an older version into one of the version that is handled. It must be pure.

    ``upcast`` gets a message of ``spec`` and returns one of the route's event. The key stays that of the older event.
    """

    spec: EventSpec[Any]
    upcast: Callable[[Any], Event]


@dataclass(frozen=True, slots=True)
class EventRoute(Generic[Event]):
    """An event and its handler.

    With ``applies`` the handler is ``handler(event, tx, ctx)``: its whole effect is in the transaction that it is
    given, and it awaits nothing else. Many events then share a transaction, which is run again, event by event, when
    one of them fails.
    """

    spec: EventSpec[Event]
    handler: Callable[..., Awaitable[None]]
    applies: bool = False
    handling: HandlingOptions | None = None
    """In place of the contract's."""
    upcasters: tuple[Upcaster[Event], ...] = ()
    """For older versions, which are subscribed to as well."""

    @property
    def options(self) -> HandlingOptions:
        """How the event is handled."""
        return self.handling or self.spec.handling
