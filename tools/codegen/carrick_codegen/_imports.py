"""The imports of a generated file, and the names that its message classes have there."""

from collections.abc import Iterable, Iterator

from carrick_codegen._layout import WIDTH, Group
from carrick_codegen.model import Event, File, MessageType, Method, Policy
from carrick_codegen.names import RUNTIME_MODULES, camel_case, module_name

__all__ = ["MessageNames", "exported", "import_lines"]

_FOR_SERVICES = {"ABC", "Any", "Channel", "MethodPolicy", "MethodRoute"}
_FOR_METHODS = {"Context", "Metadata", "MethodSpec", "abstractmethod"}
_FOR_EVENTS = {"Awaitable", "Callable", "Context", "EventRoute", "EventSpec", "Outbox", "Transaction"}


class MessageNames:
    """The name of each message class in one generated file.

    A class has its own name, unless the file needs that for something else: then its file's name stands in front.
    """

    def __init__(self, file: File) -> None:
        outermost = {MessageType(message.module, message.names[:1]) for message in _messages(file)}
        own_module = module_name(file.path)
        taken = {*RUNTIME_MODULES, *exported(file), *_members(file)}
        self._names: dict[MessageType, str] = {}
        for message in sorted(outermost, key=lambda message: (message.module != own_module, message)):
            name = _free_name(message, taken)
            taken.add(name)
            self._names[message] = name

    def __getitem__(self, message: MessageType) -> str:
        """Return how to write a message class, ``Outer.Inner`` for a nested one."""
        outermost = self._names[MessageType(message.module, message.names[:1])]
        return ".".join((outermost, *message.names[1:]))

    def by_module(self) -> dict[str, list[str]]:
        """Return what to import from each ``_pb2`` module."""
        imports: dict[str, list[str]] = {}
        for message, name in sorted(self._names.items()):
            declared = message.names[0]
            imported = declared if name == declared else f"{declared} as {name}"
            imports.setdefault(message.module, []).append(imported)
        return imports


def _free_name(message: MessageType, taken: set[str]) -> str:
    name = message.names[0]
    if name in taken:
        file = message.module.rpartition(".")[2].removesuffix("_pb2")
        name = camel_case(file) + name[:1].upper() + name[1:]
    while name in taken:
        name += "_"
    return name


def exported(file: File) -> list[str]:
    """Return the names that a generated file defines, sorted."""
    names = [method.constant for method in _methods(file)]
    for service in file.services:
        names += [f"{service.name}Client", f"{service.name}Servicer"]
    for event in file.events:
        names += [event.constant, f"on_{event.python_name}"]
    if file.events:
        names.append(file.publisher)
    return sorted(names)


def import_lines(file: File, messages: MessageNames) -> list[str]:
    """Return the import statements of a generated file: standard library, runtime, messages."""
    standard: dict[str, list[str]] = {}
    runtime: dict[str, list[str]] = {}
    for name in sorted(_needed(file)):
        module = RUNTIME_MODULES[name]
        section = runtime if module.partition(".")[0] == "carrick" else standard
        section.setdefault(module, []).append(name)
    sections = [list(_statements(section)) for section in (standard, runtime, messages.by_module()) if section]
    return "\n\n".join("\n".join(section) for section in sections).split("\n")


def _statements(imports: dict[str, list[str]]) -> Iterator[str]:
    for module, names in sorted(imports.items()):
        one_line = f"from {module} import {', '.join(names)}"
        if len(one_line) <= WIDTH:
            yield one_line
        else:
            yield from Group(f"from {module} import (", names).lines(expanded=True)


def _needed(file: File) -> set[str]:
    needed: set[str] = set()
    if file.services:
        needed |= _FOR_SERVICES
    if file.events:
        needed |= _FOR_EVENTS
    for method in _methods(file):
        needed |= _FOR_METHODS | _for_shape(method) | _for_policy(method.policy)
        if method.idempotency_level is not None:
            needed.add("IdempotencyLevel")
    return needed


def _for_shape(method: Method) -> set[str]:
    needed = set()
    if method.streams_requests:
        needed |= {"AsyncIterable", "AsyncIterator", "MethodKind"}
    if method.streams_responses:
        needed |= {"AsyncIterator", "MethodKind", "ResponseStream"}
    return needed


def _for_policy(policy: Policy) -> set[str]:
    needed = set()
    if policy.retry is not None:
        needed.add("RetryOptions")
        if policy.retry.codes is not None:
            needed.add("Code")
    if policy.breaker is not None:
        needed.add("BreakerOptions")
    if policy.idempotency is not None:
        needed |= {"IdempotencyOptions", "KeyRule"}
    return needed


def _methods(file: File) -> Iterator[Method]:
    for service in file.services:
        yield from service.methods


def _members(file: File) -> Iterator[str]:
    owners: Iterable[Method | Event] = (*_methods(file), *file.events)
    for owner in owners:
        yield owner.python_name


def _messages(file: File) -> Iterator[MessageType]:
    for method in _methods(file):
        yield from (method.request, method.response)
    for event in file.events:
        yield event.message
