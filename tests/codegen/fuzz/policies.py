"""Random options: Carrick's, of which all or few make sense, and protobuf's own."""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, Edition, FileDescriptorProto, MethodOptions
from hypothesis import strategies as st

from carrick.v1 import options_pb2
from tests.codegen.fuzz.messages import KEYS

__all__ = ["add_options", "add_policies"]

Draw = Callable[[Any], Any]

_PATH = "carrick/v1/options.proto"
_MAYBE = st.none()
_LONG = st.sampled_from(["2s", "1.5m", "24h", "60000ms"])
_SHORT = st.sampled_from(["1ms", "5ms", "0.01s"])
_TEXT = st.sampled_from(["", "2", "2 s", "-1s", "0s", "1e9s", "99999999h", "\n", 'a"b', "é"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)
_NUMBERS = st.integers(0, 2**32 - 1)
_FLOATS = st.floats() | st.just(0.0)

_SENSIBLE = st.builds(
    options_pb2.MethodPolicy,
    timeout=_MAYBE | _LONG,
    retry=_MAYBE
    | st.builds(
        options_pb2.RetryPolicy,
        max_attempts=_MAYBE | st.integers(1, 100),
        initial_backoff=_MAYBE | _SHORT,
        max_backoff=_MAYBE | _LONG,
        multiplier=_MAYBE | st.floats(1, 10),
        codes=st.lists(st.sampled_from([14, 10, 2]), max_size=3),
    ),
    breaker=_MAYBE
    | st.builds(
        options_pb2.BreakerPolicy,
        failure_ratio=_MAYBE | st.floats(0.1, 1),
        window=_MAYBE | _LONG,
        min_calls=_MAYBE | st.integers(1, 100),
        open_for=_MAYBE | _LONG,
        trials=_MAYBE | st.integers(1, 9),
    ),
)
_SENSIBLE_KEYS = st.builds(options_pb2.IdempotencyPolicy, key=st.sampled_from([1, 2]), expiry=_MAYBE | _LONG)

_ANY = st.builds(
    options_pb2.MethodPolicy,
    timeout=_MAYBE | _TEXT | _LONG,
    retry=_MAYBE
    | st.builds(
        options_pb2.RetryPolicy,
        max_attempts=_MAYBE | _NUMBERS,
        initial_backoff=_MAYBE | _TEXT | _LONG,
        max_backoff=_MAYBE | _TEXT | _SHORT,
        multiplier=_MAYBE | _FLOATS,
        codes=st.lists(st.integers(0, 20), max_size=3),
    ),
    breaker=_MAYBE | st.builds(options_pb2.BreakerPolicy, failure_ratio=_MAYBE | _FLOATS, window=_MAYBE | _TEXT),
    idempotency=_MAYBE
    | st.builds(options_pb2.IdempotencyPolicy, key=_MAYBE | st.integers(0, 9), expiry=_MAYBE | _TEXT),
)
_ANY_EVENTS = st.builds(
    options_pb2.EventPolicy,
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
    policies = _SENSIBLE if sensible else _ANY
    if draw(st.booleans()):
        _option(file.options, options_pb2.file).policy.CopyFrom(draw(policies))
    for service in file.service:
        if draw(st.booleans()):
            _option(service.options, options_pb2.service).policy.CopyFrom(draw(policies))
        for method in service.method:
            if draw(st.booleans()):
                _option(method.options, options_pb2.method).CopyFrom(draw(policies))
                if not (method.client_streaming or method.server_streaming) and draw(st.booleans()):
                    _option(method.options, options_pb2.method).idempotency.CopyFrom(draw(_SENSIBLE_KEYS))
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
        option = options_pb2.EventPolicy(subject=subject, key=draw(st.sampled_from(keys)))
        _option(message.options, options_pb2.event).CopyFrom(option)
