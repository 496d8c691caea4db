"""The imports of a generated file."""

from collections.abc import Iterable
from itertools import groupby

from carrick_codegen._layout import WIDTH, Group, statement
from carrick_codegen._literals import string
from carrick_codegen._message_names import Import, MessageNames, Untyped
from carrick_codegen._policy_text import names_of_handling, needed_names
from carrick_codegen.model import File, Method
from carrick_codegen.names import RUNTIME_MODULES, module_name, relative

__all__ = ["GENERATED_VERSION", "import_lines", "statements"]

GENERATED_VERSION = 1
"""Version of generated code. Raised when it needs what released runtimes lack; see ``carrick.generated``."""

_FOR_SERVICES = {"ABC", "Any", "BlockingChannel", "Channel", "MethodRoute", "PolicyOverride"}
_FOR_METHODS = {"Context", "Metadata", "MethodSpec", "abstractmethod"}
_FOR_EVENTS = {
    "Any",
    "AnyTransaction",
    "AnyTransactionSync",
    "Awaitable",
    "Callable",
    "Context",
    "EventRoute",
    "EventSpec",
    "HandlingOptions",
    "Outbox",
    "Sequence",
    "Transaction",
    "Upcaster",
    "datetime",
}
_FOR_UNTYPED = {"TYPE_CHECKING", "UntypedMessage", "message_class"}

_THIRD_PARTY = {"typing_extensions"}
_NO_TYPES = "  # type: ignore[import-untyped, unused-ignore]"


def import_lines(file: File, messages: MessageNames) -> list[str]:
    """Return the imports of a generated file: standard library, check of the runtime, runtime, messages."""
    standard: list[Import] = []
    others = [_runtime_import("require_runtime")]
    runtime: list[Import] = []
    needed_names = _needed(file) | (_FOR_UNTYPED if messages.untyped else set())
    loads_own = file.loads and not messages.uses_own_module
    if loads_own:
        needed_names.add("import_module")
    for name in needed_names:
        needed = _runtime_import(name)
        is_ours = needed.module.partition(".")[0] == "carrick"
        section = runtime if is_ours else others if needed.module in _THIRD_PARTY else standard
        section.append(needed)
    sections = [
        statements(standard),
        statements(others),
        [f"require_runtime(__name__, {GENERATED_VERSION})"],
        statements(runtime),
        statements(messages.imports),
        _untyped_classes(messages.untyped, relative_to="__package__" if file.relative_imports else None),
        _own_descriptors(file) if loads_own else [],
    ]
    return "\n\n".join("\n".join(section) for section in sections if section).split("\n")


def _runtime_import(name: str) -> Import:
    return Import(RUNTIME_MODULES[name], name, name, has_types=True)


def statements(imports: Iterable[Import]) -> list[str]:
    """Return import statements, one a module."""
    return [
        line
        for (module, has_types), group in groupby(sorted(imports), key=lambda each: (each.module, each.has_types))
        for line in _statement(module, [_imported(each) for each in group], "" if has_types else _NO_TYPES)
    ]


def _statement(module: str, names: list[str], comment: str) -> list[str]:
    one_line = f"from {module} import {', '.join(names)}"
    if len(one_line) <= WIDTH:
        return [one_line + comment]
    opening, *rest = Group(f"from {module} import (", names).lines(expanded=True)
    return [opening + comment, *rest]


def _imported(each: Import) -> str:
    return each.declared if each.name == each.declared else f"{each.declared} as {each.name}"


def _untyped_classes(classes: Iterable[Untyped], relative_to: str | None) -> list[str]:
    """Return the classes that are found by full name. A type checker takes each for a class with any fields."""
    declared, found = [], []
    for each in classes:
        docstring = f'"""``{each.full_name}``, of whose fields type checkers know nothing."""'
        declared += ["", *Group(f"class {each.name}(", ["UntypedMessage"], "):").lines(4), f"        {docstring}"]
        package = [] if relative_to is None else [relative_to]
        arguments = [string(each.module), string(each.full_name), *package]
        found += statement(f"{each.name} =", Group("message_class(", arguments), 4)
    return ["if TYPE_CHECKING:", *declared, "", "else:", *found] if found else []


def _own_descriptors(file: File) -> list[str]:
    """Return what loads the module of the contract itself, none of whose messages is used: reflection reads it."""
    module = module_name(file.path)
    if file.relative_imports:
        return Group("import_module(", [string(relative(module, module)), "__package__"]).lines()
    return Group("import_module(", [string(module)]).lines()


def _needed(file: File) -> set[str]:
    needed: set[str] = set()
    if file.services:
        needed |= _FOR_SERVICES
    if file.events:
        needed |= _FOR_EVENTS
    for method in (method for service in file.services for method in service.methods):
        needed |= _FOR_METHODS | _for_shape(method) | needed_names(method.policy)
        if method.idempotency_level is not None:
            needed.add("IdempotencyLevel")
    for event in file.events:
        needed |= names_of_handling(event)
    if _has_deprecations(file):
        needed.add("deprecated")
    return needed


def _has_deprecations(file: File) -> bool:
    services = any(each.deprecated or any(method.deprecated for method in each.methods) for each in file.services)
    return services or any(event.deprecated for event in file.events)


def _for_shape(method: Method) -> set[str]:
    needed = set()
    if method.streams_requests:
        needed |= {"AsyncIterable", "AsyncIterator", "Iterable", "MethodKind"}
    if method.streams_responses:
        needed |= {"AsyncIterator", "BlockingResponseStream", "MethodKind", "ResponseStream"}
    return needed
