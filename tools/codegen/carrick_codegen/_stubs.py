"""Which of protoc's stubs type checkers can read."""

import keyword
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

from carrick_codegen.names import importable, module_name

__all__ = ["Stubs"]


class Stubs:
    """Tells whether protoc's ``.pyi`` of a file is of any use.

    It is not when it defines or imports a Python keyword, which is a syntax error. Mypy then gives up whatever imports
    it, so neither is one that imports such a stub.
    """

    def __init__(self) -> None:
        self._readable: dict[str, bool] = {}

    def readable(self, file: FileDescriptor) -> bool:
        """Tell whether type checkers can read the stub of a file, and all that it imports."""
        if file.name in self._readable:
            return self._readable[file.name]
        waiting = [file]
        while waiting:
            unknown = [each for each in _followed(waiting[-1]) if each.name not in self._readable]
            waiting += unknown
            if not unknown:
                current = waiting.pop()
                if current.name not in self._readable:
                    self._readable[current.name] = self._is_readable(current)
        return self._readable[file.name]

    def _is_readable(self, file: FileDescriptor) -> bool:
        return (
            not any(map(keyword.iskeyword, _declared(file)))
            and all(importable(module_name(each.name)) for each in _imported(file))
            and all(self._readable[each.name] for each in _followed(file))
        )


def _followed(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """Yield the imports of a file whose stubs its stub imports. It loads paths with keywords by importlib instead."""
    for imported in file.dependencies:
        if not any(map(keyword.iskeyword, module_name(imported.name).split("."))):
            yield imported


def _imported(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """Yield the imports of a file that its stub has import statements for: public ones in any case."""
    yield from file.public_dependencies
    yield from _followed(file)


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
