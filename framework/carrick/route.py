"""The pairing of what a contract says with what handles it. Generated servicers and ``on_...`` functions make these."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from carrick.context import Context
from carrick.event import EventSpec
from carrick.method import MethodSpec

__all__ = ["EventRoute", "MethodRoute"]

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
class EventRoute(Generic[Event]):
    """An event and its handler."""

    spec: EventSpec[Event]
    handler: Callable[[Event, Context], Awaitable[None]]
