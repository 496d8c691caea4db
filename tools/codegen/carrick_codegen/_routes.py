"""The functions in a generated module that pair events with handlers: ``on_order_placed``, ``apply_order_placed``."""

from carrick_codegen._comments import docstring
from carrick_codegen._deprecation import deprecation
from carrick_codegen._layout import WIDTH, Group
from carrick_codegen._message_names import MessageNames
from carrick_codegen.model import Event

__all__ = ["apply_route", "on_route"]

_ON = """Handle ``{0}`` in its own way.

The handler ends its transaction with ``await tx.handled()`` where the subscriber has an inbox.
"""
_APPLY = """Apply ``{0}`` in the transaction that records it in the inbox.

The handler's whole effect is in the transaction that it is given, and it awaits nothing else: many events may share the
transaction, and it is run again when one of them fails.
"""
_OPTIONS = """
``handling`` stands in place of all that the contract says of it; ``upcasters`` take events of older versions.
"""


def on_route(event: Event, messages: MessageNames) -> list[str]:
    """Return the function for handlers that do as they like."""
    return _route("on", event, messages, _ON, ["Context"], [])


def apply_route(event: Event, messages: MessageNames) -> list[str]:
    """Return the function for handlers whose effect is in the transaction that they are given."""
    return _route("apply", event, messages, _APPLY, ["Transaction", "Context"], ["applies=True"])


def _route(
    verb: str, event: Event, messages: MessageNames, comment: str, given: list[str], flags: list[str]
) -> list[str]:
    message = messages[event.message]
    parameters: list[str | Group] = [
        Group("handler: Callable[", [Group("[", [message, *given], "]"), "Awaitable[None]"], "]"),
        "*",
        "handling: HandlingOptions | None = None",
        f"upcasters: Sequence[Upcaster[{message}]] = ()",
    ]
    arguments = [event.constant, "handler", *flags, "handling=handling", "upcasters=tuple(upcasters)"]
    return [
        *(deprecation(event.full_name) if event.deprecated else []),
        *Group(f"def {verb}_{event.python_name}(", parameters, f") -> EventRoute[{message}]:").lines(expanded=True),
        *docstring(comment.format(event.full_name) + _OPTIONS, indent=4, width=WIDTH),
        *Group("return EventRoute(", arguments).lines(4),
    ]
