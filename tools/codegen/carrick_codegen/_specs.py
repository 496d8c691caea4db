"""The specifications in a generated module: ``PLACE_ORDER``, ``ORDER_PLACED``."""

from collections.abc import Iterable

from carrick_codegen._comments import first_paragraph
from carrick_codegen._exports import EVENTS
from carrick_codegen._layout import Group, statement, tuple_lines
from carrick_codegen._literals import string
from carrick_codegen._message_names import MessageNames
from carrick_codegen._source import Given
from carrick_codegen.model import Breaker, Event, File, Idempotency, Method, Policy, Retry, Service

__all__ = ["event_list", "event_spec", "method_spec"]

Argument = str | Group

_KINDS = {(True, False): "CLIENT_STREAM", (False, True): "SERVER_STREAM", (True, True): "BIDI_STREAM"}


def method_spec(service: Service, method: Method, messages: MessageNames) -> list[str]:
    """Return the constant of a method. Options that the contract does not give are left to the runtime's defaults."""
    arguments: list[Argument] = [
        f'service="{service.full_name}"',
        f'name="{method.name}"',
        f"request={messages[method.request]}",
        f"response={messages[method.response]}",
    ]
    if kind := _KINDS.get((method.streams_requests, method.streams_responses)):
        arguments.append(f"kind=MethodKind.{kind}")
    if method.idempotency_level is not None:
        arguments.append(f"idempotency=IdempotencyLevel.{method.idempotency_level}")
    if policy := _policy(method.policy):
        arguments.append(Group("policy=MethodPolicy(", policy))
    return statement(f"{method.constant} =", Group("MethodSpec(", arguments), expanded=True)


def event_spec(file: File, event: Event, messages: MessageNames) -> list[str]:
    """Return the constant of an event."""
    arguments: list[Argument] = [
        f'full_name="{event.full_name}"',
        f'subject="{event.subject}"',
        f'key="{event.key}"',
        f"message={messages[event.message]}",
        f"source={string(file.path)}",
    ]
    if description := first_paragraph(event.comment):
        arguments.append(f"description={string(description)}")
    if event.deprecated:
        arguments.append("deprecated=True")
    return statement(f"{event.constant} =", Group("EventSpec(", arguments), expanded=True)


def event_list(file: File) -> list[str]:
    """Return the constant that lists the events of a file."""
    constants = [event.constant for event in file.events]
    return tuple_lines(f"{EVENTS}: tuple[EventSpec[Any], ...] = (", constants)


def _policy(policy: Policy) -> list[Argument]:
    arguments = _given(timeout=policy.timeout)
    if policy.retry is not None:
        arguments.append(Group("retry=RetryOptions(", _retry(policy.retry)))
    if policy.breaker is not None:
        arguments.append(Group("breaker=BreakerOptions(", _breaker(policy.breaker)))
    if policy.idempotency is not None:
        arguments.append(Group("idempotency=IdempotencyOptions(", _idempotency(policy.idempotency)))
    return arguments


def _retry(retry: Retry) -> list[Argument]:
    arguments = _given(
        max_attempts=retry.max_attempts,
        initial_backoff=retry.initial_backoff,
        max_backoff=retry.max_backoff,
        multiplier=retry.multiplier,
    )
    if retry.codes is not None:
        codes = [f"Code.{name}" for name in retry.codes.value]
        arguments.append(Group("codes=frozenset(", [Group("{", codes, "}")]))
    return [*arguments, *_given(replay_bytes=retry.replay_bytes)]


def _breaker(breaker: Breaker) -> list[Argument]:
    return _given(
        failure_ratio=breaker.failure_ratio,
        window=breaker.window,
        min_calls=breaker.min_calls,
        open_for=breaker.open_for,
        trials=breaker.trials,
    )


def _idempotency(idempotency: Idempotency) -> list[Argument]:
    assert idempotency.key is not None, "the reader reports a policy without a key"
    key: Iterable[Argument] = [f"key=KeyRule.{idempotency.key.value}"]
    return [*key, *_given(expiry=idempotency.expiry)]


def _given(**numbers: Given[float] | None) -> list[Argument]:
    return [f"{name}={given.value!r}" for name, given in numbers.items() if given is not None]
