"""What has to be done to the output folders: decided here, done in :mod:`carrick.cli.generate.disk`."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from carrick.cli.generate.manifest import checksum

__all__ = ["Changes", "decide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Files by path, relative to where the command is run."""

    write: Mapping[Path, bytes]
    """New or different content."""
    remove: tuple[Path, ...]
    """Generated earlier, and nothing gives them any more."""
    left: tuple[Path, ...]
    """As those to remove, but somebody has changed them since: they are left alone."""
    checksums: Mapping[Path, str]
    """Of all that is generated then: the next manifest."""


def decide(
    fresh: Mapping[Path, bytes],
    known: Mapping[Path, str],
    outs: Iterable[str],
    current: Callable[[Path], bytes | None],
) -> Changes:
    """Compare what was generated now with what is there. ``known`` is the manifest, ``current`` reads a file.

    Nothing outside of ``outs`` is removed; what the manifest has there stays in it as long as it exists.
    """
    folders = [os.path.realpath(out) for out in outs]
    generated = {os.path.realpath(path) for path in fresh}
    stale = {path: current(path) for path in known if os.path.realpath(path) not in generated}
    here = {path: content for path, content in stale.items() if content is not None}
    inside = {path for path in here if any(_below(path, folder) for folder in folders)}
    remove = {path for path in inside if checksum(here[path]) == known[path]}
    gone = {str(path).casefold() for path in remove}  # a file system may take them for one with a new file's path
    elsewhere = {path: known[path] for path in here.keys() - inside}
    return Changes(
        write={
            path: content
            for path, content in sorted(fresh.items())
            if current(path) != content or str(path).casefold() in gone
        },
        remove=tuple(sorted(remove)),
        left=tuple(sorted(inside - remove)),
        checksums=elsewhere | {path: checksum(content) for path, content in fresh.items()},
    )


def _below(path: Path, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)
