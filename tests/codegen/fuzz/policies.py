"""Random options: Carrick's, of which all or few make sense, and protobuf's own."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    Edition,
    FileDescriptorProto,
    MethodDescriptorProto,
    MethodOptions,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from carrick.v1 import options_pb2
from tests.codegen.fuzz.messages import KEYS

__all__ = ["FAR", "HANDLING", "add_options", "add_policies", "near", "spoiled"]

Draw = Callable[[Any], Any]
Policy = TypeVar("Policy", bound=Message)

_PATH = "carrick/v1/options.proto"
_MAYBE = st.none()
_LONG = st.sampled_from(["2s", "1.5m", "24h", "60000ms"])
_SHORT = st.sampled_from(["1ms", "5ms", "0.01s"])
_TEXT = st.sampled_from(["", "2", "2 s", "-1s", "0s", "1e9s", "99999999h", "\n", 'a"b', "é"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)
_NUMBERS = st.integers(0, 2**32 - 1) | st.integers(0, 30)
_FLOATS = st.floats() | st.sampled_from([0.0, 0.5, 1.0, 2.0])
_CODES = st.lists(st.sampled_from([14, 10, 2]), max_size=3)


def _sensible(message: type[Message], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw a message of options with some of these fields, or none at all; a few are switched off."""
    enabled = st.sampled_from([None, None, None, True, False])
    return _MAYBE | st.builds(message, enabled=enabled, **{name: _MAYBE | each for name, each in fields.items()})


_RETRY = _sensible(
    options_pb2.RetryPolicy,
    max_attempts=st.integers(1, 100),
    initial_backoff=_SHORT,
    max_backoff=_LONG,
    multiplier=st.floats(1, 10),
    codes=_CODES,
    replay_bytes=st.integers(0, 2**32 - 1),
)
_RETRY_BUDGET = _sensible(
    options_pb2.RetryBudgetPolicy, ratio=st.floats(0, 10), per_second=st.floats(0, 1e6), window=_LONG
)
_BREAKER = _sensible(
    options_pb2.BreakerPolicy,
    failure_ratio=st.floats(0.1, 1),
    slow_after=_LONG,
    slow_ratio=st.floats(0.1, 1),
    window=_LONG,
    window_calls=st.integers(100, 10_000),
    min_calls=st.integers(1, 100),
    open_for=_LONG,
    trials=st.integers(1, 9),
)
_CONCURRENCY = _sensible(
    options_pb2.ConcurrencyPolicy,
    limit=st.integers(50, 1000),
    adaptive=st.booleans(),
    min_limit=st.integers(1, 50),
    max_limit=st.integers(1000, 2**32 - 1),
    max_queued=_NUMBERS,
)
_THROTTLE = _sensible(options_pb2.ThrottlePolicy, multiplier=st.floats(1, 10), window=_LONG)
_SHEDDING = _sensible(
    options_pb2.SheddingPolicy,
    limit=st.integers(50, 2**32 - 1),
    adaptive=st.booleans(),
    min_limit=st.integers(1, 50),
    max_queued=_NUMBERS,
    max_queue_time=_LONG,
    max_loop_lag=_LONG,
)
_RATE_LIMIT = _sensible(
    options_pb2.RateLimitPolicy,
    per_second=st.floats(10, 1e6),
    burst=st.integers(50, 2**32 - 1),
    by=st.integers(0, 3),
    max_keys=st.integers(1, 2**32 - 1),
)
_HEDGE = _sensible(
    options_pb2.HedgePolicy,
    delay=_LONG,
    quantile=st.floats(0.1, 0.99),
    window=_LONG,
    min_calls=st.integers(50, 1000),
    max_hedges=st.integers(1, 10),
)
_CACHE = _sensible(options_pb2.CachePolicy, ttl=_LONG | st.just("0s"), max_bytes=_NUMBERS, stale_if_error=_LONG)
_FALLBACK = _MAYBE | st.builds(options_pb2.FallbackPolicy, last_good=_LONG, max_bytes=_MAYBE | _NUMBERS, codes=_CODES)
_KEY = _MAYBE | st.builds(
    options_pb2.IdempotencyPolicy, key=st.sampled_from([1, 2]), expiry=_MAYBE | _LONG, replayed_errors=_CODES
)

_FOR_ALL = {
    "timeout": _MAYBE | _LONG,
    "attempt_timeout": _MAYBE | st.sampled_from(["1s", "2000ms"]),
    "deadline_margin": _MAYBE | _SHORT | st.just("0s"),
    "min_remaining": _MAYBE | _SHORT,
    "priority": _MAYBE | st.integers(0, 3),
    "retry_budget": _RETRY_BUDGET,
    "concurrency": _CONCURRENCY,
    "throttle": _THROTTLE,
    "shedding": _SHEDDING,
    "rate_limit": _RATE_LIMIT,
}
"""What fits any method, in values that let the few calls of a test through."""

FAR = st.builds(options_pb2.MethodPolicy, retry=_RETRY, breaker=_BREAKER, **_FOR_ALL)
"""Policies of a file or a service that make sense for all methods."""


def near(method: MethodDescriptorProto) -> st.SearchStrategy[Any]:
    """Draw what makes sense for one method. It switches on what it has to say something about."""
    unary = not (method.client_streaming or method.server_streaming)
    level = method.options.idempotency_level
    fitting: dict[str, st.SearchStrategy[Any]] = {}
    if unary:
        fitting |= {"idempotency": _KEY, "fallback": _FALLBACK}
    if level != MethodOptions.IDEMPOTENCY_UNKNOWN:
        fitting["hedge"] = _HEDGE
    if unary and level == MethodOptions.NO_SIDE_EFFECTS:
        fitting["cache"] = _CACHE
    policies = st.builds(options_pb2.MethodPolicy, retry=_RETRY, breaker=_BREAKER, **_FOR_ALL, **fitting)
    return policies.map(_switched_on)


def _switched_on(policy: options_pb2.MethodPolicy) -> options_pb2.MethodPolicy:
    for field, part in policy.ListFields():
        if field.message_type is not None and not part.HasField("enabled"):
            part.enabled = True
    return policy


def _any(message: type[Message]) -> st.SearchStrategy[Any]:
    """Draw a message of options with whatever its fields can hold."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in message.DESCRIPTOR.fields:
        each = _any_value(field)
        fields[field.name] = st.lists(each, max_size=3) if field.is_repeated else _MAYBE | each
    return st.builds(message, **fields)


def _any_value(field: Any) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return _any(GetMessageClass(field.message_type))
    if field.enum_type is not None:
        return st.integers(0, 20) if field.is_repeated else st.integers(0, 9)
    return {
        FieldDescriptor.TYPE_STRING: _TEXT | _LONG | _SHORT,
        FieldDescriptor.TYPE_DOUBLE: _FLOATS,
        FieldDescriptor.TYPE_BOOL: st.booleans(),
    }.get(field.type, _NUMBERS)


_ANY = _any(options_pb2.MethodPolicy)
_ANY_HANDLING = _any(options_pb2.HandlingPolicy)


@st.composite
def spoiled(draw: Draw, policies: st.SearchStrategy[Policy]) -> Policy:
    """Draw a policy of which up to two fields or parts have been replaced by anything."""
    policy: Policy = copy.deepcopy(draw(policies))
    message: Any = type(policy)
    for name in draw(st.lists(st.sampled_from([*policy.DESCRIPTOR.fields_by_name]), max_size=2)):
        policy.ClearField(name)
        policy.MergeFrom(draw(_one_of(message, name)))
    return policy


@cache
def _one_of(message: Any, name: str) -> st.SearchStrategy[Any]:
    """Draw a policy of one field, with whatever that can hold."""
    return st.builds(message, **{name: _any_value(message.DESCRIPTOR.fields_by_name[name])})


HANDLING = st.builds(
    options_pb2.HandlingPolicy,
    max_attempts=_MAYBE | st.integers(1, 1000),
    timeout=_MAYBE | _LONG | _SHORT,
    initial_backoff=_MAYBE | _SHORT,
    max_backoff=_MAYBE | st.sampled_from(["2s", "1.5m", "24h"]),
    hold_key=_MAYBE | st.booleans(),
    unknown_type=_MAYBE | st.integers(0, 2),
)
"""What an event's consumers do with it, as far as that makes sense by itself."""


def _events(**fields: Any) -> st.SearchStrategy[options_pb2.EventPolicy]:
    """Draw an event with these fields that makes sense."""
    events = st.builds(options_pb2.EventPolicy, unordered=_MAYBE | st.booleans(), handling=_MAYBE | HANDLING, **fields)
    return events.filter(lambda event: not (event.unordered and event.handling.hold_key))


_ANY_EVENTS = st.builds(
    options_pb2.EventPolicy,
    unordered=_MAYBE | st.booleans(),
    handling=_MAYBE | _ANY_HANDLING,
    subject=_MAYBE | _TEXT | st.sampled_from(["a.v1", "a.b.v1", "a.*.v1", "a..v1", ">", "v1"]),
    key=_MAYBE | _TEXT | st.sampled_from(["id", "M", "self"]),
)


def add_options(draw: Draw, file: FileDescriptorProto) -> None:
    """Give some elements options of protobuf's own."""
    methods = [method for service in file.service for method in service.method]
    elements: list[Any] = [file, *file.message_type, *file.service, *methods]
    for element in elements:
        if draw(st.integers(0, 4)) == 4:
            element.options.deprecated = True
    for method in methods:
        if level := draw(st.sampled_from([None, MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS])):
            method.options.idempotency_level = level


def add_policies(draw: Draw, file: FileDescriptorProto, topic: str, *, sensible: bool) -> None:
    """Give some elements options of Carrick's, and import those, which an edition 2024 file may do in two ways.

    The subjects of its events begin with ``topic``.
    """
    in_two_ways = file.edition == Edition.EDITION_2024
    imports = file.option_dependency if in_two_ways and draw(st.booleans()) else file.dependency
    imports.append(_PATH)
    if draw(st.booleans()):
        _option(file.options, options_pb2.file).policy.CopyFrom(draw(FAR if sensible else _ANY))
    for service in file.service:
        if draw(st.booleans()):
            _option(service.options, options_pb2.service).policy.CopyFrom(draw(FAR if sensible else _ANY))
        for method in service.method:
            if draw(st.booleans()):
                _option(method.options, options_pb2.method).CopyFrom(draw(near(method) if sensible else _ANY))
    for index, message in enumerate(file.message_type):
        if draw(st.booleans()):
            _add_event(draw, message, f"{topic}.message{index}.v1", sensible)


def _option(options: Any, extension: Any) -> Any:
    return options.Extensions[extension]


def _add_event(draw: Draw, message: DescriptorProto, subject: str, sensible: bool) -> None:
    keys = [field.name for field in message.field if field.type in KEYS and field.label == 1]
    if not sensible:
        _option(message.options, options_pb2.event).CopyFrom(draw(_ANY_EVENTS))
    elif keys:
        option = draw(_events(subject=st.just(subject), key=st.sampled_from(keys)))
        _option(message.options, options_pb2.event).CopyFrom(option)
