"""Random messages: nested ones, enums, oneofs, maps, groups, optional and repeated fields."""

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from hypothesis import strategies as st

from tests.codegen.fuzz.names import FIELDS, MESSAGES, NESTED
from tests.codegen.fuzz.symbols import Symbols, joined

__all__ = ["KEYS", "MessageBuilder"]

KEYS = (3, 4, 5, 8, 9, 13, 17)
"""Types of fields that may be keys: of maps, and of events."""

_SCALARS = (1, 2, 6, 7, 12, 15, 16, 18, *KEYS)
_OPTIONAL = FieldDescriptorProto.LABEL_OPTIONAL
_REPEATED = FieldDescriptorProto.LABEL_REPEATED


class MessageBuilder:
    """Builds one message with all that is nested in it."""

    def __init__(
        self,
        draw: Callable[[Any], Any],
        symbols: Symbols,
        message: DescriptorProto,
        scope: str,
        *,
        nested: bool = False,
    ) -> None:
        self._draw = draw
        self._symbols = symbols
        self._message = message
        self._json_names: set[str] = set()
        message.name = symbols.declare(scope, draw(NESTED if nested else MESSAGES))
        self.full_name = joined(scope, message.name)

    def build(self, syntax: str, *, depth: int = 1) -> list[str]:
        """Fill the message; return the full names of it and of those in it."""
        names = [self.full_name]
        for _ in range(self._draw(st.integers(0, depth))):
            nested = self._message.nested_type.add()
            builder = MessageBuilder(self._draw, self._symbols, nested, self.full_name, nested=True)
            names += builder.build(syntax, depth=depth - 1)
        if self._draw(st.booleans()):
            self._oneof()
        kinds = [self._scalar, self._repeated, self._map, self._enum]
        kinds += {"proto2": [self._group], "proto3": [self._optional]}.get(syntax, [])
        for _ in range(self._draw(st.integers(0, 2))):
            self._draw(st.sampled_from(kinds))()
        self._of_message(names)
        return names

    def _name(self) -> str:
        """Return the name of a field or oneof, which is not that of another in JSON either."""
        name = self._symbols.declare(self.full_name, self._draw(FIELDS))
        while _json_name(name) in self._json_names:
            name = self._symbols.declare(self.full_name, f"{name}3")
        self._json_names.add(_json_name(name))
        return name

    def _field(self, type_: int) -> FieldDescriptorProto:
        return self._message.field.add(
            name=self._name(),
            number=len(self._message.field) + 1,
            label=_OPTIONAL,
            type=FieldDescriptorProto.Type.ValueType(type_),
        )

    def _scalar(self) -> FieldDescriptorProto:
        return self._field(self._draw(st.sampled_from(_SCALARS)))

    def _repeated(self) -> None:
        self._scalar().label = _REPEATED

    def _of_message(self, names: Sequence[str]) -> None:
        self._field(FieldDescriptorProto.TYPE_MESSAGE).type_name = f".{self._draw(st.sampled_from(names))}"

    def _oneof(self) -> None:
        self._message.oneof_decl.add(name=self._name())
        for _ in range(2):
            self._scalar().oneof_index = 0

    def _optional(self) -> None:
        """Add a field of proto3 whose presence is known; it has a oneof of its own, behind those that are real."""
        field = self._scalar()
        field.oneof_index = len(self._message.oneof_decl)
        field.proto3_optional = True
        self._message.oneof_decl.add(name=self._symbols.declare(self.full_name, f"_{field.name}"))

    def _enum(self) -> None:
        enum = self._message.enum_type.add(name=self._symbols.declare(self.full_name, self._draw(NESTED)))
        for number in range(2):
            enum.value.add(name=self._symbols.declare(self.full_name, f"{enum.name}_V{number}"), number=number)
        self._field(FieldDescriptorProto.TYPE_ENUM).type_name = f".{self.full_name}.{enum.name}"

    def _group(self) -> None:
        name = f"Group{len(self._message.field)}"
        group = self._message.nested_type.add(name=self._symbols.declare(self.full_name, name))
        field = self._field(FieldDescriptorProto.TYPE_GROUP)
        field.name = self._symbols.declare(self.full_name, group.name.lower())
        field.type_name = f".{self.full_name}.{group.name}"

    def _map(self) -> None:
        field = self._scalar()
        name = "".join(word[:1].upper() + word[1:] for word in field.name.split("_")) + "Entry"
        if name[0].isdigit() or self._symbols.declare(self.full_name, name) != name:
            return  # the name of a map's entry cannot be chosen
        entry = self._message.nested_type.add(name=name)
        entry.options.map_entry = True
        key = FieldDescriptorProto.Type.ValueType(self._draw(st.sampled_from(KEYS)))
        entry.field.add(name="key", number=1, label=_OPTIONAL, type=key)
        entry.field.add(name="value", number=2, label=_OPTIONAL, type=field.type)
        field.label, field.type = _REPEATED, FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{self.full_name}.{name}"


def _json_name(name: str) -> str:
    return name.replace("_", "").lower()
