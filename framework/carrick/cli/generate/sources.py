"""Which contracts of an input code is generated from. Buf and protoc are both told these, so they cannot differ."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from carrick.cli.generate.template import Input, Template
from carrick.cli.generate.workspace import Module, Workspace, find_workspace
from carrick.errors import ConfigurationError

__all__ = ["Source", "Sources", "find_sources"]

_RUNTIME_PACKAGE = re.compile(r"^\s*package\s+carrick\s*[.;]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """One contract."""

    name: str
    """What it is imported by."""
    path: Path
    module: Module


@dataclass(frozen=True, slots=True)
class Sources:
    """The contracts of one input, and the workspace that they are in."""

    workspace: Workspace
    files: tuple[Source, ...]


def find_sources(template: Template, given: Input, *, allow_carrick: bool) -> Sources:
    """Return the contracts of an input in a folder, without those of the package ``carrick`` unless they are allowed.

    The runtime has the code of its own contracts: a second one would shadow it. Raises ``ConfigurationError`` when
    there is nothing to generate from.
    """
    assert given.directory is not None
    directory = _absolute(given.directory)
    if not directory.is_dir():
        raise ConfigurationError(f"there is no folder {given.directory}; {_advice(template)}")
    workspace = find_workspace(directory)
    found = [
        Source(name, path, module)
        for module in _targeted(workspace, directory, given.directory, template)
        for name, path in module.files()
        if _wanted(path, given) and (allow_carrick or not _of_runtime(name, path))
    ]
    if not found:
        limits = f" at {', '.join(given.paths)}" if given.paths else ""
        raise ConfigurationError(f"there is no contract in {given.directory}{limits}; {_advice(template)}")
    _refuse_doubles(found)
    return Sources(workspace, tuple(sorted(found, key=lambda source: source.name)))


def _targeted(workspace: Workspace, directory: Path, shown: str, template: Template) -> list[Module]:
    modules = [module for module in workspace.modules if module.root.is_relative_to(directory)]
    if not modules:
        around = next(module.root for module in workspace.modules if directory.is_relative_to(module.root))
        raise ConfigurationError(
            f"{template.file}: {shown} lies inside the module {os.path.relpath(around)}; write "
            f"directory: {os.path.relpath(around)} with paths: [{shown}]"
        )
    return modules


def _wanted(path: Path, given: Input) -> bool:
    below = [path.is_relative_to(_absolute(each)) for each in given.paths]
    return (any(below) or not below) and not any(path.is_relative_to(_absolute(each)) for each in given.exclude_paths)


def _of_runtime(name: str, path: Path) -> bool:
    return name.startswith("carrick/") or bool(_RUNTIME_PACKAGE.search(path.read_text("utf-8", errors="replace")))


def _refuse_doubles(sources: Iterable[Source]) -> None:
    paths: dict[str, Path] = {}
    for source in sources:
        first = paths.setdefault(source.name, source.path)
        if first != source.path:
            raise ConfigurationError(
                f"{os.path.relpath(first)} and {os.path.relpath(source.path)} are both imported as {source.name}; "
                "move or rename one of them"
            )


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(path))


def _advice(template: Template) -> str:
    if template.file.exists():
        return f"write one, or change inputs in {template.file}"
    return "write your contracts there, or name their folder: carrick generate --proto FOLDER"
