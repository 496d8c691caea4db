"""Imports between generated files made relative, so that the files work wherever their folder is put."""

import re
from collections.abc import Iterable
from functools import partial

__all__ = ["relative_imports"]

_MODULE = r"(?P<module>[\w.]+)"
_IMPORT = re.compile(rf"^import {_MODULE} as ", re.MULTILINE)
_FROM = re.compile(r"^from (?P<package>[\w.]+) import (?P<name>\w+_pb2) as ", re.MULTILINE)
_FROM_MODULE = re.compile(rf"^from {_MODULE} import ", re.MULTILINE)
_IMPORTLIB = re.compile(rf"= importlib\.import_module\('{_MODULE}'\)$", re.MULTILINE)


def relative_imports(text: str, module: str, generated: Iterable[str]) -> str:
    """Return the text of a ``_pb2`` module or its stub with its imports of ``generated`` modules made relative.

    ``module`` is its own dotted name. Imports of anything else stay as they are.
    """
    inside = frozenset(generated)
    package = module.split(".")[:-1]
    text = _IMPORT.sub(partial(_import, package, inside), text)
    text = _FROM.sub(partial(_from, package, inside), text)
    text = _FROM_MODULE.sub(partial(_from_module, package, inside), text)
    return _IMPORTLIB.sub(partial(_importlib, package, inside), text)


def _import(package: list[str], inside: frozenset[str], match: re.Match[str]) -> str:
    """``import x_pb2 as y``: protoc writes it for a file in no folder."""
    module = match["module"]
    return f"from {_dots(package, [])} import {module} as " if module in inside else match[0]


def _from(package: list[str], inside: frozenset[str], match: re.Match[str]) -> str:
    """``from a.b import c_pb2 as y``."""
    parent = match["package"].split(".")
    if ".".join([*parent, match["name"]]) not in inside:
        return match[0]
    return f"from {_dots(package, parent)} import {match['name']} as "


def _from_module(package: list[str], inside: frozenset[str], match: re.Match[str]) -> str:
    """``from a.b.c_pb2 import *``, or a name in a stub: public imports."""
    if match["module"] not in inside:
        return match[0]
    return f"from {_dots(package, match['module'].split('.'))} import "


def _importlib(package: list[str], inside: frozenset[str], match: re.Match[str]) -> str:
    """``importlib.import_module('a.class.b_pb2')``, for names that no import statement may hold."""
    if match["module"] not in inside:
        return match[0]
    return f"= importlib.import_module('{_dots(package, match['module'].split('.'))}', __package__)"


def _dots(package: list[str], target: list[str]) -> str:
    """Return the way from a package to another package or module."""
    shared = 0
    while shared < min(len(package), len(target)) and package[shared] == target[shared]:
        shared += 1
    return "." * (len(package) - shared + 1) + ".".join(target[shared:])
