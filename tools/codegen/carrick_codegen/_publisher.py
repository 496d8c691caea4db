"""The classes in a generated module that publish events."""

from dataclasses import dataclass

from carrick_codegen._comments import docstring
from carrick_codegen._layout import WIDTH, Group
from carrick_codegen._message_names import MessageNames
from carrick_codegen.model import Event, File

__all__ = ["blocking_publisher", "publisher"]


@dataclass(frozen=True, slots=True)
class _Style:
    transaction: str
    definition: str
    write: str


_TIMES = ("delay: float | None = None", "at: datetime | None = None", "expires_in: float | None = None")
_TIMES_COMMENT = "Not before ``delay`` seconds or ``at`` a moment, and not after ``expires_in`` seconds, where given."
_ASYNC = _Style("AnyTransaction", "async def", "await self._outbox.write(")
_BLOCKING = _Style("AnyTransactionSync", "def", "self._outbox.write_sync(")


def publisher(file: File, messages: MessageNames) -> list[str]:
    """Return the class that publishes the events of a file."""
    summary = f"Publishes the events of {file.path} through the outbox."
    return _publisher(file, file.publisher, summary, messages, _ASYNC)


def blocking_publisher(file: File, messages: MessageNames) -> list[str]:
    """Return the class that does so from code without an event loop."""
    summary = f"Publishes the events of {file.path} through the outbox, from code without an event loop."
    return _publisher(file, file.blocking_publisher, summary, messages, _BLOCKING)


def _publisher(file: File, name: str, summary: str, messages: MessageNames, style: _Style) -> list[str]:
    lines = [
        f"class {name}:",
        *docstring(summary, indent=4, width=WIDTH),
        "",
        "    def __init__(self, outbox: Outbox) -> None:",
        '        """Write events to this outbox."""',
        "        self._outbox = outbox",
    ]
    for event in file.events:
        lines += ["", *_method(event, messages, style)]
    return lines


def _method(event: Event, messages: MessageNames, style: _Style) -> list[str]:
    comment = event.comment or f"Publish ``{event.full_name}``."
    order = "in any order" if event.unordered else f"in order for each ``{event.key}``"
    delivery = f"Published to ``{event.subject}``, {order}, if and only if ``tx`` commits."
    parameters = ["self", f"tx: {style.transaction}", f"event: {messages[event.message]}", "*", *_TIMES]
    arguments = ["tx", event.constant, "event", "delay=delay", "at=at", "expires_in=expires_in"]
    return [
        *Group(f"{style.definition} {event.python_name}(", parameters, ") -> None:").lines(4, expanded=True),
        *docstring(f"{comment}\n\n{delivery}\n\n{_TIMES_COMMENT}", indent=8, width=WIDTH),
        *Group(style.write, arguments).lines(8),
    ]
