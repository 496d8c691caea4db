"""Where tracing plugs in: filters for the stacks, and two hooks for events. Without it nothing is in the way."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from carrick.context import Context
from carrick.event import EventSpec
from carrick.service import Filter
from carrick.trace import Trace

__all__ = ["Instruments"]


class Instruments(Protocol):
    """Makes spans. ``carrick.telemetry`` has the one for OpenTelemetry."""

    def position(self, ctx: Context | None) -> Trace | None:
        """Return the trace position that a call made inside ``ctx`` is born with; None when it begins a recorded trace.

        This is where it is decided whether to record.
        """
        ...

    def call(self) -> Filter:
        """Return the filter around a client's call, its attempts included."""
        ...

    def attempt(self) -> Filter:
        """Return the filter around each attempt."""
        ...

    def server(self) -> Filter:
        """Return the filter around the handling of a call."""
        ...

    def process(self, spec: EventSpec[Any], consumer: str) -> Filter:
        """Return the filter around the handling of an event by one consumer."""
        ...

    def created(self, spec: EventSpec[Any], event_id: str, ctx: Context | None) -> Trace | None:
        """Note that an event was written to the outbox; return the trace position it carries."""
        ...

    def send(self, subject: str, event_id: str, trace: Trace | None) -> AbstractContextManager[None]:
        """Return a block around the publishing of an event."""
        ...
