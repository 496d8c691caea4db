"""Carrick's options on the elements of a contract, read with classes of the request's own descriptor pool.

So the plugin follows the ``carrick/v1/options.proto`` that the contract was compiled with, needs no runtime, and reads
extensions that an edition 2024 file imports with ``import option``.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from carrick_codegen._errors import ContractErrors
from carrick_codegen._source import FilePath, Given, Place, SourceMap

__all__ = ["EVENT", "FILE", "METHOD", "SERVICE", "OptionMessage", "OptionReader"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """An extension of Carrick's, the options message that it extends, and that message's field in its element."""

    extension: str
    options: str
    field: int


FILE = _Kind("carrick.v1.file", "google.protobuf.FileOptions", 8)
SERVICE = _Kind("carrick.v1.service", "google.protobuf.ServiceOptions", 3)
METHOD = _Kind("carrick.v1.method", "google.protobuf.MethodOptions", 4)
EVENT = _Kind("carrick.v1.event", "google.protobuf.MessageOptions", 7)


class _Element(Protocol):
    """A descriptor."""

    has_options: bool

    def GetOptions(self) -> Message: ...  # noqa: N802 - protobuf's name


class OptionMessage:
    """A message given as an option: its fields, and where the contract gives them."""

    def __init__(self, message: Message, source: SourceMap, path: FilePath) -> None:
        self._fields = {field.name: (field, value) for field, value in message.ListFields()}
        self._type = message.DESCRIPTOR.full_name
        self._source = source
        self._path = path

    @property
    def at(self) -> Place:
        """Where the option stands."""
        return self._source.at(self._path)

    def given(self, name: str) -> Given[Any] | None:
        """Return a field's value, enums by name and repeated fields as tuples; None when it is not given."""
        if name not in self._fields:
            return None
        field, value = self._fields[name]
        return Given(_plain(field, value), self._source.at((*self._path, field.number)))

    def part(self, name: str) -> "OptionMessage | None":
        """Return a field that is a message; None when it is not given."""
        if name not in self._fields:
            return None
        field, value = self._fields[name]
        return OptionMessage(value, self._source, (*self._path, field.number))

    def refuse_unknown(self, known: Collection[str], errors: ContractErrors) -> None:
        """Report fields that this plugin does not know: dropping a policy silently would be worse."""
        for name in sorted(self._fields.keys() - set(known)):
            field, _ = self._fields[name]
            at = self._source.at((*self._path, field.number))
            errors.add(at, f"this protoc-gen-carrick does not know {self._type}.{name}; install a newer carrick")


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if field.is_repeated:
        return tuple(_scalar(field, item) for item in value)
    return _scalar(field, value)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is None:
        return value
    known = field.enum_type.values_by_number.get(value)
    return str(value) if known is None else known.name


class OptionReader:
    """Reads Carrick's options of descriptors that belong to one pool."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool
        self._kinds: dict[_Kind, tuple[Any, type[Message]] | None] = {}

    def read(self, kind: _Kind, element: _Element, source: SourceMap, path: FilePath) -> OptionMessage | None:
        """Return the option of this kind on the element that stands at ``path``; None when it has none."""
        if not element.has_options:
            return None
        found = self._kinds[kind] if kind in self._kinds else self._kinds.setdefault(kind, self._find(kind))
        if found is None:
            return None
        extension, options_type = found
        options: Any = options_type.FromString(element.GetOptions().SerializeToString())
        if not options.HasExtension(extension):
            return None
        return OptionMessage(options.Extensions[extension], source, (*path, kind.field, extension.number))

    def _find(self, kind: _Kind) -> tuple[Any, type[Message]] | None:
        """Return an extension and the class of the options that it extends; None when no contract imports it."""
        try:
            extension = self._pool.FindExtensionByName(kind.extension)
            return extension, GetMessageClass(self._pool.FindMessageTypeByName(kind.options))
        except KeyError:
            return None
