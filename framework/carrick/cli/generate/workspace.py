"""Where imports are looked for: the modules that ``buf.yaml`` lists, or a folder of contracts by itself."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrick.cli.generate.yaml_file import read_yaml
from carrick.errors import ConfigurationError

__all__ = ["Module", "Workspace", "find_workspace"]


@dataclass(frozen=True, slots=True)
class Module:
    """A folder that imports begin in."""

    root: Path
    includes: tuple[Path, ...] = ()
    """Folders that it is limited to; none for all."""
    excludes: tuple[Path, ...] = ()

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield the contracts, sorted, by the names that they are imported by. Hidden folders are passed over."""
        for folder, subfolders, names in os.walk(self.root, followlinks=True):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and not _loops(folder, name))
            for name in sorted(names):
                path = Path(folder, name)
                if path.suffix == ".proto" and self._holds(path):
                    yield path.relative_to(self.root).as_posix(), path

    def _holds(self, path: Path) -> bool:
        if self.includes and not any(path.is_relative_to(each) for each in self.includes):
            return False
        return not any(path.is_relative_to(each) for each in self.excludes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Modules that may import each other. All paths are absolute."""

    root: Path
    modules: tuple[Module, ...]
    deps: tuple[str, ...] = ()
    """Modules of a registry, which only buf can fetch."""

    def holds(self, name: str) -> bool:
        """Whether a file of this import name is in a module."""
        return any((module.root / name).is_file() for module in self.modules)


def find_workspace(directory: Path) -> Workspace:
    """Return the workspace that a folder is in: of the nearest ``buf.yaml`` above that has to do with it, as buf does.

    Raises ``ConfigurationError`` for a ``buf.yaml`` that can't be read.
    """
    directory = directory.absolute()
    for folder in (directory, *directory.parents):
        if (folder / "buf.work.yaml").exists():
            raise ConfigurationError(f"{_shown(folder / 'buf.work.yaml')} is of version v1; run: buf config migrate")
        file = folder / "buf.yaml"
        if file.exists():
            workspace = _parse(read_yaml(Path(_shown(file))), folder, _shown(file))
            if any(_related(module.root, directory) for module in workspace.modules):
                return workspace
    return Workspace(root=directory, modules=(Module(directory),))


def _parse(given: Mapping[str, Any], folder: Path, shown: str) -> Workspace:
    if given.get("version") != "v2":
        raise ConfigurationError(f"{shown} is of version {given.get('version')!r}, not v2; run: buf config migrate")
    modules = given.get("modules") or [{"path": "."}]
    deps = given.get("deps") or []
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise ConfigurationError(f"{shown}: modules must be a list, for example - path: proto")
    if not isinstance(deps, list) or not all(isinstance(each, str) for each in deps):
        raise ConfigurationError(f"{shown}: deps must be a list of names, for example - buf.build/acme/units")
    return Workspace(root=folder, modules=tuple(_module(each, folder, shown) for each in modules), deps=tuple(deps))


def _module(given: Mapping[str, Any], folder: Path, shown: str) -> Module:
    root = _inside(folder, given.get("path", "."), shown)
    if not root.is_dir():
        raise ConfigurationError(f"there is no folder {_shown(root)}, which {shown} names as a module; make it")
    return Module(
        root,
        tuple(_inside(folder, each, shown) for each in given.get("includes") or ()),
        tuple(_inside(folder, each, shown) for each in given.get("excludes") or ()),
    )


def _loops(folder: str, name: str) -> bool:
    """Whether a link leads back to a folder that it is in."""
    return Path(folder).resolve().is_relative_to(Path(folder, name).resolve())


def _inside(folder: Path, path: object, shown: str) -> Path:
    if not isinstance(path, str):
        raise ConfigurationError(f"{shown}: a path must be a folder, for example proto, not {path!r}")
    return Path(os.path.normpath(folder / path))


def _related(module: Path, directory: Path) -> bool:
    return module.is_relative_to(directory) or directory.is_relative_to(module)


def _shown(path: Path) -> str:
    return os.path.relpath(path)
