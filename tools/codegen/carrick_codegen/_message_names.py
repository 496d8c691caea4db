"""The names of message classes in a generated file, and how the file comes by the classes."""

from collections.abc import Iterator
from dataclasses import dataclass

from carrick_codegen._exports import exported
from carrick_codegen._scope import Scope
from carrick_codegen.model import File, MessageType
from carrick_codegen.names import (
    MEMBERS,
    best_reference,
    camel_case,
    importable,
    is_plain,
    module_name,
    public,
    relative,
)

__all__ = ["Import", "MessageNames", "Untyped"]


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """An outermost class that an import statement brings in."""

    module: str
    declared: str
    name: str
    has_types: bool
    """Whether type checkers find a stub of the module, or need to be told to do without."""


@dataclass(frozen=True, slots=True, order=True)
class Untyped:
    """A class, nested or not, that no statement could import with its types."""

    name: str
    module: str
    full_name: str


class MessageNames:
    """The name of each message class in one generated file.

    A class has its own name, unless the file needs that for something else: then its file's name stands in front.
    """

    def __init__(self, file: File) -> None:
        self._own_module = module_name(file.path)
        self.uses_own_module = any(message.module == self._own_module for message in _messages(file))
        """Whether a message of the contract's own file is among them."""
        self._relative = file.relative_imports
        self._scope = Scope({*MEMBERS, *exported(file), *_members(file)})
        self._names: dict[MessageType, str] = {}
        imports: dict[tuple[str, str], Import] = {}
        untyped: list[Untyped] = []
        for message in sorted(set(_messages(file)), key=lambda each: (each.module != self._own_module, each)):
            reference = self._reference(message)
            module = best_reference(reference, self._own_module)
            if not (message.has_stub and importable(module) and all(map(is_plain, message.names))):
                untyped.append(Untyped(self._name(message, "_".join(message.names)), reference, message.full_name))
                self._names[message] = untyped[-1].name
                continue
            declared = message.names[0]
            if (module, declared) not in imports:
                name = self._name(message, declared)
                imports[module, declared] = Import(module, declared, name, has_types=not _is_untyped_package(message))
            self._names[message] = ".".join((imports[module, declared].name, *message.names[1:]))
        self.imports = tuple(sorted(imports.values()))
        self.untyped = tuple(sorted(untyped))

    def __getitem__(self, message: MessageType) -> str:
        """Return how to write a message class, ``Outer.Inner`` for a nested one."""
        return self._names[message]

    def _name(self, message: MessageType, own: str) -> str:
        file = camel_case(message.module.rpartition(".")[2].removesuffix("_pb2"))
        return self._scope.name(public(own), public(file + own[:1].upper() + own[1:]))

    def _reference(self, message: MessageType) -> str:
        """Return the module of a message as the generated file has to write it."""
        if self._relative and message.same_run and not message.module.startswith("google.protobuf."):
            return relative(message.module, self._own_module)
        return message.module


def _is_untyped_package(message: MessageType) -> bool:
    """Tell whether a class comes from the package googleapis-common-protos, which does not count as typed."""
    google = message.module.startswith("google.") and not message.module.startswith("google.protobuf.")
    return google and not message.same_run


def _messages(file: File) -> Iterator[MessageType]:
    for service in file.services:
        for method in service.methods:
            yield from (method.request, method.response)
    for event in file.events:
        yield event.message


def _members(file: File) -> Iterator[str]:
    for service in file.services:
        yield from (method.python_name for method in service.methods)
    yield from (event.python_name for event in file.events)
