"""Random policies for a file, a service, a method and an event: an error, or at run time exactly what they say."""

import ast
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, get_args, get_type_hints

from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
)
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import carrick
from carrick import (
    Code,
    EventSpec,
    HandlingOptions,
    IdempotencyLevel,
    KeyRule,
    MethodPolicy,
    MethodSpec,
    Priority,
    RateKey,
    UnknownType,
)
from carrick.v1 import options_pb2
from carrick_codegen.plugin import generate
from tests.codegen.fuzz.contracts import request_for
from tests.codegen.fuzz.effort import bounded
from tests.codegen.fuzz.policies import FAR, HANDLING, near, spoiled

_UNITS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600)}
_ENUMS: dict[str, Any] = {
    "Code": Code,
    "Priority": Priority,
    "By": RateKey,
    "Key": KeyRule,
    "UnknownType": UnknownType,
}


def said_by(levels: Sequence[Message]) -> MethodPolicy:
    """Return what these levels say, the outermost first, as the runtime has it; by no code of the plugin's."""
    merged: dict[str, Any] = {}
    for level in levels:
        _overlay(merged, level)
    hints = get_type_hints(MethodPolicy)
    parts = {name: _part(get_args(hints[name])[0], given) for name, given in merged.items() if type(given) is dict}
    return MethodPolicy(**{**merged, **parts})


def _overlay(merged: dict[str, Any], level: Message) -> None:
    for field, value in level.ListFields():
        if field.message_type is not None:
            _overlay(merged.setdefault(field.name, {}), value)
        elif field.enum_type is not None:
            enum = _ENUMS[field.enum_type.name]
            names = [field.enum_type.values_by_number[each].name for each in (value if field.is_repeated else [value])]
            if not names[0].endswith("_UNSPECIFIED"):
                merged[field.name] = frozenset(enum[name] for name in names) if field.is_repeated else enum[names[0]]
        else:
            merged[field.name] = _seconds(value) if isinstance(value, str) else value


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(.*?)([a-z]+)", text).groups()  # type: ignore[union-attr]  # the plugin took it
    return float(Fraction(number) * _UNITS[unit])


def _part(options: Any, given: dict[str, Any]) -> Any:
    if given.get("enabled", True):
        return options(**given)
    return None if "key" in options.__slots__ else options(enabled=False)


def spec_in(text: str, constant: str) -> Any:
    """Return a specification in a generated module, made as it is there."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == constant:
            return eval(ast.unparse(node.value), {**vars(carrick), "Empty": Empty, "Placed": Empty})  # noqa: S307 - generated
    raise AssertionError(text)


def contract(method: MethodDescriptorProto, file: Message, service: Message) -> FileDescriptorSet:
    """Return a contract with one method, and policies for its file and its service."""
    imports = ["carrick/v1/options.proto", "google/protobuf/empty.proto"]
    proto = FileDescriptorProto(name="a.proto", syntax="proto3", dependency=imports)
    _options(proto.options, options_pb2.file).policy.CopyFrom(file)
    _options(proto.service.add(name="S").options, options_pb2.service).policy.CopyFrom(service)
    proto.service[0].method.append(method)
    return FileDescriptorSet(file=[proto])


def _options(options: Any, extension: Any) -> Any:
    return options.Extensions[extension]


EMPTY = FileDescriptorProto()
Empty.DESCRIPTOR.file.CopyToProto(EMPTY)


def test_what_a_contract_says_is_what_the_runtime_gets() -> None:
    """Whatever the plugin does not refuse, the runtime takes, and understands alike."""
    outcomes: Counter[bool] = Counter()

    @bounded(400)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        method = MethodDescriptorProto(
            name="Get",
            input_type=".google.protobuf.Empty",
            output_type=".google.protobuf.Empty",
            server_streaming=data.draw(st.booleans()),
        )
        levels = MethodOptions.IDEMPOTENCY_UNKNOWN, MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS
        method.options.idempotency_level = data.draw(st.sampled_from(levels))
        policies = [data.draw(FAR), data.draw(spoiled(FAR)), data.draw(spoiled(near(method)))]
        _options(method.options, options_pb2.method).CopyFrom(policies[-1])
        request = request_for(contract(method, *policies[:2]))
        request.proto_file.insert(0, EMPTY)
        response = generate(request)
        outcomes[bool(response.error)] += 1
        if not response.error:
            spec = spec_in(response.file[0].content, "GET")
            assert isinstance(spec, MethodSpec)
            assert spec.policy == said_by(policies)
            level = MethodOptions.IdempotencyLevel.Name(method.options.idempotency_level).lower()
            assert spec.idempotency is IdempotencyLevel(level.removeprefix("idempotency_"))

    check()
    assert min(outcomes[True], outcomes[False]) > outcomes.total() / 10, outcomes


def test_what_a_contract_says_of_consumers_is_what_they_get() -> None:
    """The same for the handling of an event, whether its order matters or not."""
    outcomes: Counter[bool] = Counter()

    @bounded(400)
    @given(spoiled(HANDLING), st.booleans())
    def check(handling: options_pb2.HandlingPolicy, unordered: bool) -> None:
        file = FileDescriptorProto(name="a.proto", syntax="proto3", dependency=["carrick/v1/options.proto"])
        message = file.message_type.add(name="Placed")
        message.field.add(
            name="id", number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
        )
        event = options_pb2.EventPolicy(subject="a.v1", key="id", unordered=unordered, handling=handling)
        _options(message.options, options_pb2.event).CopyFrom(event)
        response = generate(request_for(FileDescriptorSet(file=[file])))
        outcomes[bool(response.error)] += 1
        if not response.error:
            spec = spec_in(response.file[0].content, "PLACED")
            assert isinstance(spec, EventSpec)
            said: dict[str, Any] = {}
            _overlay(said, handling)
            assert spec.handling == HandlingOptions(**said)
            assert not (spec.unordered and spec.handling.hold_key)

    check()
    assert min(outcomes[True], outcomes[False]) > outcomes.total() / 10, outcomes
