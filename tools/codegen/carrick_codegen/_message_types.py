"""Message descriptors as the Python classes that protoc generates for them."""

import keyword
from collections.abc import Collection, Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

from carrick_codegen.model import MessageType
from carrick_codegen.names import importable, module_name

__all__ = ["MessageTypes"]


class MessageTypes:
    """The classes of messages, given the paths of the files that are generated in one run."""

    def __init__(self, generated: Collection[str]) -> None:
        self._generated = generated
        self._readable: dict[str, bool] = {}
        self._types: dict[str, MessageType] = {}

    def of(self, message: Descriptor) -> MessageType:
        """Return the class of a message."""
        known = self._types.get(message.full_name)
        if known is None:
            known = self._types[message.full_name] = MessageType(
                module=module_name(message.file.name),
                names=_names(message),
                full_name=message.full_name,
                same_run=message.file.name in self._generated,
                has_stub=self._has_stub(message.file),
            )
        return known

    def _has_stub(self, file: FileDescriptor) -> bool:
        """Tell whether type checkers can read protoc's ``.pyi`` of a file.

        They cannot when it defines a Python keyword, and mypy gives up when it imports a stub that does.
        """
        waiting = [] if file.name in self._readable else [file]
        while waiting:
            current = waiting[-1]
            unknown = [each for each in _followed(current) if each.name not in self._readable]
            if unknown:
                waiting += unknown
                continue
            waiting.pop()
            self._readable[current.name] = (
                not any(map(keyword.iskeyword, _declared(current)))
                and all(self._readable[each.name] for each in _followed(current))
                and all(importable(module_name(each.name)) for each in _followed(current))
            )
        return self._readable[file.name]


def _names(message: Descriptor) -> tuple[str, ...]:
    outer = message.containing_type
    return (*(_names(outer) if outer is not None else ()), message.name)


def _followed(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """Yield the imports of a file whose stubs its stub imports. It loads paths with keywords by importlib instead."""
    for imported in file.dependencies:
        if not any(map(keyword.iskeyword, module_name(imported.name).split("."))):
            yield imported


def _declared(file: FileDescriptor) -> Iterator[str]:
    """Yield the names that the stub of a file declares. It leaves out fields that are named like keywords."""
    yield from file.extensions_by_name
    for enum in file.enum_types_by_name.values():
        yield from _declared_by_enum(enum)
    for message in file.message_types_by_name.values():
        yield from _declared_by_message(message)


def _declared_by_message(message: Descriptor) -> Iterator[str]:
    yield message.name
    yield from message.extensions_by_name
    for enum in message.enum_types:
        yield from _declared_by_enum(enum)
    for nested in message.nested_types:
        yield from _declared_by_message(nested)


def _declared_by_enum(enum: EnumDescriptor) -> Iterator[str]:
    yield enum.name
    yield from enum.values_by_name
