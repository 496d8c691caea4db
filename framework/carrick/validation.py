"""The rules of contracts, as protovalidate checks them: the one place where it is imported."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from carrick.errors import CarrickError, Code, ConfigurationError
from carrick.method import MethodSpec
from carrick.policy.validation import MOST_VIOLATIONS, Check, Violation

if TYPE_CHECKING:
    import protovalidate

__all__ = ["request_check"]

_ALL_UP_TO = 4 * 1024
_LONGEST_KEY = 64


def request_check(method: MethodSpec[Any, Any]) -> Check:
    """Return what checks the requests of a method.

    Raises ``ConfigurationError`` where protovalidate is missing, and for a rule that can't be compiled, or evaluated
    for an empty message. What a rule does with others shows only when one comes: the check then raises ``INTERNAL``.

    A request of more than 4 KiB is told only the first rule that it breaks: to find all costs microseconds each.
    """
    try:
        import protovalidate
    except ImportError as error:
        raise ConfigurationError(
            f"{method.full_name} has rules for its requests, which protovalidate checks: "
            "pip install 'carrick[validation]'"
        ) from error
    collect = protovalidate.Validator().collect_violations
    evaluation_error = protovalidate.EvaluationError
    described: Descriptor = method.request.DESCRIPTOR
    for message in _reachable(described):
        try:
            collect(GetMessageClass(message)())
        except (protovalidate.CompilationError, evaluation_error) as error:
            raise ConfigurationError(
                f"{method.full_name}: a rule of {message.full_name} can't be used: {error}; correct the contract"
            ) from error

    def check(request: Message) -> Sequence[Violation]:
        try:
            broken = collect(request, fail_fast=True)
            if broken and request.ByteSize() <= _ALL_UP_TO:
                broken = collect(request)
        except evaluation_error as error:
            raise _not_evaluated(method, error) from None  # its words may hold what the request held
        return [_violation(each, described) for each in broken[: MOST_VIOLATIONS + 1]] if broken else ()

    return check


def _not_evaluated(method: MethodSpec[Any, Any], error: Exception) -> CarrickError:
    """Name the rule, and leave out what came of it."""
    rule = str(error).partition(":")[0].removeprefix("error evaluating ")
    return CarrickError(
        Code.INTERNAL, f"the contract's rule {rule} for requests of {method.full_name} can't be evaluated"
    )


def _reachable(message: Descriptor) -> Iterator[Descriptor]:
    """Yield a message type and those of its fields, and of their fields, once each."""
    seen, waiting = {message.full_name}, [message]
    while waiting:
        each = waiting.pop()
        yield each
        for field in each.fields:
            if field.message_type is not None and field.message_type.full_name not in seen:
                seen.add(field.message_type.full_name)
                waiting.append(field.message_type)


def _violation(broken: "protovalidate.Violation", message: Descriptor) -> Violation:
    """Put a violation into the framework's words. Of a field marked ``debug_redact`` only the rule is named."""
    proto = broken.proto
    path, redacted = _path(proto.field.elements if proto.field is not None else (), message)
    description = f"breaks the rule {proto.rule_id}" if redacted else proto.message
    return Violation(path, description or f"breaks the rule {proto.rule_id}", proto.rule_id)


def _path(elements: Sequence[Any], message: Descriptor | None) -> tuple[str, bool]:
    """Return the path of a field, and whether anything on it is marked ``debug_redact``."""
    parts: list[str] = []
    redacted = False
    for element in elements:
        field = _field(message, element.field_number)
        redacted = redacted or (field is not None and field.GetOptions().debug_redact)
        parts.append(f"{element.field_name}{_subscript(element, redacted)}")
        message = _inside(field)
    return ".".join(parts), redacted


def _field(message: Descriptor | None, number: int) -> FieldDescriptor | None:
    if message is None:
        return None
    return message.fields_by_number.get(number) or message.file.pool.FindExtensionByNumber(message, number)


def _inside(field: FieldDescriptor | None) -> Descriptor | None:
    """Return the type of the messages in a field; in a map, of its values."""
    if field is None or field.message_type is None:
        return None
    if field.message_type.GetOptions().map_entry:
        return field.message_type.fields_by_name["value"].message_type
    return field.message_type


def _subscript(element: Any, redacted: bool) -> str:
    subscript = element.subscript
    if subscript is None:
        return ""
    if subscript.field == "index":
        return f"[{subscript.value}]"
    if redacted:
        return "[...]"
    key = subscript.value
    return f"[{json.dumps(key[:_LONGEST_KEY] if isinstance(key, str) else key, ensure_ascii=False)}]"
