"""The specifications in a generated module: ``PLACE_ORDER``, ``ORDER_PLACED``."""

from carrick_codegen._comments import first_paragraph
from carrick_codegen._exports import EVENTS
from carrick_codegen._layout import Group, statement, tuple_lines
from carrick_codegen._literals import string
from carrick_codegen._message_names import MessageNames
from carrick_codegen._policy_text import handling_arguments, policy_arguments
from carrick_codegen.model import Event, File, Method, Service

__all__ = ["event_list", "event_spec", "method_spec"]

_KINDS = {(True, False): "CLIENT_STREAM", (False, True): "SERVER_STREAM", (True, True): "BIDI_STREAM"}


def method_spec(service: Service, method: Method, messages: MessageNames) -> list[str]:
    """Return the constant of a method."""
    arguments: list[str | Group] = [
        f'service="{service.full_name}"',
        f'name="{method.name}"',
        f"request={messages[method.request]}",
        f"response={messages[method.response]}",
    ]
    if kind := _KINDS.get((method.streams_requests, method.streams_responses)):
        arguments.append(f"kind=MethodKind.{kind}")
    if method.idempotency_level is not None:
        arguments.append(f"idempotency=IdempotencyLevel.{method.idempotency_level}")
    if policy := policy_arguments(method.policy):
        arguments.append(Group("policy=MethodPolicy(", policy))
    if method.validated:
        arguments.append("validated=True")
    return statement(f"{method.constant} =", Group("MethodSpec(", arguments), expanded=True)


def event_spec(file: File, event: Event, messages: MessageNames) -> list[str]:
    """Return the constant of an event."""
    arguments: list[str | Group] = [
        f'full_name="{event.full_name}"',
        f'subject="{event.subject}"',
        f'key="{event.key}"',
        f"message={messages[event.message]}",
        f"source={string(file.path)}",
    ]
    if description := first_paragraph(event.comment):
        arguments.append(f"description={string(description)}")
    if event.unordered:
        arguments.append("unordered=True")
    if handling := handling_arguments(event):
        arguments.append(Group("handling=HandlingOptions(", handling))
    if event.deprecated:
        arguments.append("deprecated=True")
    return statement(f"{event.constant} =", Group("EventSpec(", arguments), expanded=True)


def event_list(file: File) -> list[str]:
    """Return the constant that lists the events of a file."""
    constants = [event.constant for event in file.events]
    return tuple_lines(f"{EVENTS}: tuple[EventSpec[Any], ...] = (", constants)
