"""What to generate, from what, into which folders: ``buf.gen.yaml``, or what stands in for it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from carrick.cli.generate.yaml_file import read_yaml
from carrick.errors import ConfigurationError

__all__ = ["RELATIVE_IMPORTS", "Input", "Plugin", "Template", "choose_template", "parse"]

RELATIVE_IMPORTS = "relative_imports=true"
"""The parameter of the framework's plugin."""

_CARRICK_PLUGIN = "protoc-gen-carrick"
_DEFAULT_TEMPLATE = "buf.gen.yaml"
_DEFAULT_PROTO = "proto"
_DEFAULT_OUT = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Contracts to generate code from; folders and files are relative to where the command is run."""

    directory: str | None
    """None when it is of a kind that only buf can fetch."""
    paths: tuple[str, ...] = ()
    exclude_paths: tuple[str, ...] = ()
    given: Mapping[str, Any]
    """All that the template says of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One generator, and the folder for what it makes."""

    out: str
    builtin: str | None = None
    """``python`` or ``pyi``: protoc's own."""
    local: tuple[str, ...] = ()
    """A program and its arguments. Empty for a builtin one, and for one that only buf can reach."""
    protoc_path: tuple[str, ...] = ()
    """The protoc that a builtin one is part of; empty for the one of ``grpc_tools``."""
    options: tuple[str, ...] = ()
    each_folder: bool = True
    """Whether it is run once for each folder of contracts, or once for all."""
    given: Mapping[str, Any]
    """All that the template says of it."""

    @property
    def is_carrick(self) -> bool:
        """Whether this is the framework's own."""
        return bool(self.local) and PurePath(self.local[0]).name == _CARRICK_PLUGIN

    @property
    def name(self) -> str:
        """What to call it."""
        return self.builtin or shlex.join(self.local) or str(self.given.get("remote"))

    @property
    def asks_for_relative_imports(self) -> bool:
        """Whether its options say so."""
        return self.is_carrick and RELATIVE_IMPORTS in (part.strip() for part in ",".join(self.options).split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A whole ``buf.gen.yaml``."""

    file: Path
    """Where it is, or would be."""
    inputs: tuple[Input, ...]
    plugins: tuple[Plugin, ...]
    given: Mapping[str, Any]

    @property
    def outs(self) -> tuple[str, ...]:
        """The folders that code is generated into, each once."""
        return tuple(dict.fromkeys(plugin.out for plugin in self.plugins))


def choose_template(template: Path | None, proto: str | None, out: str | None) -> Template:
    """Return the template named, or ``buf.gen.yaml`` where there is one, or what is sensible without.

    Raises ``ConfigurationError``.
    """
    file = template or Path(_DEFAULT_TEMPLATE)
    if template is None and not file.exists():
        return parse(_standing_in(proto or _DEFAULT_PROTO, out or _DEFAULT_OUT), file)
    if proto is not None or out is not None:
        raise ConfigurationError(f"{file} says what to generate and where; take --proto and --out away, or change it")
    return parse(read_yaml(file), file)


def parse(given: Mapping[str, Any], file: Path) -> Template:
    """Return a template from what its file holds. Raises ``ConfigurationError`` that names the place."""
    if given.get("version") != "v2":
        raise ConfigurationError(
            f"{file} must begin with version: v2, not {given.get('version')!r}; run: buf config migrate"
        )
    inputs = _mappings(given, "inputs", file) if "inputs" in given else [{"directory": "."}]
    plugins = _mappings(given, "plugins", file)
    if not plugins:
        raise ConfigurationError(f"{file} has no plugins; add for example - local: {_CARRICK_PLUGIN}, with out: gen")
    return Template(
        file=file,
        inputs=tuple(_input(each, f"{file}: inputs[{number}]") for number, each in enumerate(inputs)),
        plugins=tuple(_plugin(each, f"{file}: plugins[{number}]") for number, each in enumerate(plugins)),
        given=given,
    )


def _standing_in(proto: str, out: str) -> dict[str, Any]:
    return {
        "version": "v2",
        "inputs": [{"directory": proto}],
        "plugins": [
            {"protoc_builtin": "python", "out": out},
            {"protoc_builtin": "pyi", "out": out},
            {"local": _CARRICK_PLUGIN, "out": out, "strategy": "all"},
        ],
    }


def _input(given: Mapping[str, Any], place: str) -> Input:
    directory = given.get("directory")
    if directory is not None and not isinstance(directory, str):
        raise ConfigurationError(f"{place}: directory must be a folder, for example proto, not {directory!r}")
    return Input(
        directory=directory,
        paths=_texts(given, "paths", place),
        exclude_paths=_texts(given, "exclude_paths", place),
        given=given,
    )


def _plugin(given: Mapping[str, Any], place: str) -> Plugin:
    out, builtin = given.get("out"), given.get("protoc_builtin")
    if not isinstance(out, str) or not out:
        raise ConfigurationError(f"{place} has no out; name the folder for what it makes, for example out: gen")
    if builtin is not None and not isinstance(builtin, str):
        raise ConfigurationError(f"{place}: protoc_builtin must be a name, for example python, not {builtin!r}")
    local = _texts(given, "local", place)
    if sum(map(bool, (builtin, local, given.get("remote")))) != 1:
        raise ConfigurationError(f"{place} must have one of local, protoc_builtin and remote; write one of them")
    strategy = given.get("strategy", "directory")
    if strategy not in ("directory", "all"):
        raise ConfigurationError(f"{place}: strategy must be directory or all, not {strategy!r}")
    return Plugin(
        out=out,
        builtin=builtin,
        local=local,
        protoc_path=_texts(given, "protoc_path", place),
        options=_texts(given, "opt", place),
        each_folder=strategy == "directory",
        given=given,
    )


def _mappings(given: Mapping[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    found = given.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ConfigurationError(f"{file}: {key} must be a list of mappings, not {found!r}")
    return found


def _texts(given: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    """Return a text, or a list of them, as a tuple."""
    found = given.get(key)
    texts = [found] if isinstance(found, str) else found or []
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ConfigurationError(f"{place}: {key} must be a text or a list of texts, not {found!r}")
    return tuple(texts)
