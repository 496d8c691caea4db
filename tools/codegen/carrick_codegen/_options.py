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

__all__ = ["EVENT", "FILE", "METHOD", "SERVICE", "OptionKind", "OptionMessage", "OptionReader"]


@dataclass(frozen=True, slots=True)
class OptionKind:
    """An extension, the options message that it extends, and that message's field in its element."""

    extension: str
    options: str
    field: int


FILE = OptionKind("carrick.v1.file", "google.protobuf.FileOptions", 8)
SERVICE = OptionKind("carrick.v1.service", "google.protobuf.ServiceOptions", 3)
METHOD = OptionKind("carrick.v1.method", "google.protobuf.MethodOptions", 4)
EVENT = OptionKind("carrick.v1.event", "google.protobuf.MessageOptions", 7)


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
        self._kinds: dict[OptionKind, tuple[Any, type[Message]] | None] = {}

    def read(self, kind: OptionKind, element: _Element, source: SourceMap, path: FilePath) -> OptionMessage | None:
        """Return the option of this kind on the element that stands at ``path``; None when it has none."""
        if (found := self._given(kind, element)) is None:
            return None
        extension, options = found
        return OptionMessage(options.Extensions[extension], source, (*path, kind.field, extension.number))

    def has(self, kind: OptionKind, element: _Element) -> bool:
        """Tell whether an element has the option of this kind."""
        return self._given(kind, element) is not None

    def knows(self, kind: OptionKind) -> bool:
        """Tell whether any contract could have it: whether its extension is declared in the request."""
        return self._declared(kind) is not None

    def _given(self, kind: OptionKind, element: _Element) -> tuple[Any, Any] | None:
        """Return an element's options with the extension of this kind, when they have it."""
        if not element.has_options or (declared := self._declared(kind)) is None:
            return None
        extension, options_type = declared
        options: Any = options_type.FromString(element.GetOptions().SerializeToString())
        return (extension, options) if options.HasExtension(extension) else None

    def _declared(self, kind: OptionKind) -> tuple[Any, type[Message]] | None:
        return self._kinds[kind] if kind in self._kinds else self._kinds.setdefault(kind, self._find(kind))

    def _find(self, kind: OptionKind) -> tuple[Any, type[Message]] | None:
        """Return an extension and the class of the options that it extends; None when no contract imports it."""
        try:
            extension = self._pool.FindExtensionByName(kind.extension)
            return extension, GetMessageClass(self._pool.FindMessageTypeByName(kind.options))
        except KeyError:
            return None
