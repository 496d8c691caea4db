"""What was generated before: a checksum for each file, in the form of ``sha256sum``.

A file is removed only when the manifest has it and its content is still what was generated. Anything else in an output
folder is somebody's own.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from carrick.cli.generate.template import Template
from carrick.errors import ConfigurationError

__all__ = ["checksum", "format_manifest", "manifest_file", "parse_manifest"]

_LINE = re.compile(r"([0-9a-f]{64})  ([^\0]+)").fullmatch


def manifest_file(template: Template) -> Path:
    """Return where the manifest is: beside the template, ``buf.gen.sum`` for ``buf.gen.yaml``."""
    return template.file.with_suffix(".sum")


def checksum(content: bytes) -> str:
    """Return what the manifest has of a file."""
    return hashlib.sha256(content).hexdigest()


def parse_manifest(text: str, file: Path) -> dict[Path, str]:
    """Return checksums by path, relative to here.

    Raises ``ConfigurationError`` for another file, or one with conflicts of a merge.
    """
    return dict(_entries(text, file))


def format_manifest(checksums: Mapping[Path, str], file: Path) -> bytes:
    """Return a manifest's content, its paths relative to its folder."""
    lines = (f"{digest}  {_relative(path, file)}\n" for path, digest in checksums.items())
    return "".join(sorted(lines, key=lambda line: line[66:])).encode()


def _entries(text: str, file: Path) -> Iterator[tuple[Path, str]]:
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):  # a path may hold what else ends lines
        match = _LINE(line.removesuffix("\n"))
        if match is None:
            raise ConfigurationError(
                f"{file}:{number} is no line of a list of generated files; delete {file} and generate again"
            )
        yield Path(os.path.relpath(file.parent / match[2])), match[1]


def _relative(path: Path, file: Path) -> str:
    return Path(os.path.relpath(path, file.parent)).as_posix()
