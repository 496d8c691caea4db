"""What the command prints."""

import difflib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from carrick.cli.generate.changes import Changes

__all__ = ["differences", "summary"]

_LINES_OF_A_FILE = 20
_LINES = 200
_WIDTH = 160


def summary(changes: Changes, files: int) -> str:
    """Return one line about what was done."""
    return f"{files} {'file' if files == 1 else 'files'}, {len(changes.write)} written, {len(changes.remove)} removed"


def differences(changes: Changes, current: Callable[[Path], bytes | None]) -> Iterator[str]:
    """Yield a line for each file that is missing, stale or different, with the start of its diff."""
    lines = _differences(changes, current)
    yield from islice(lines, _LINES)
    if rest := sum(1 for _ in lines):
        yield f"... and {rest} lines more"


def _differences(changes: Changes, current: Callable[[Path], bytes | None]) -> Iterator[str]:
    for path, content in changes.write.items():
        before = current(path)
        if before is None:
            yield f"missing: {path}"
        else:
            yield f"different: {path}"
            yield from _diff(path, before, content)
    for path in changes.remove:
        yield f"stale: {path} (no contract gives this file)"
    for path in changes.left:
        yield f"stale: {path} (no contract gives this file, and it was changed by hand)"


def _diff(path: Path, before: bytes, after: bytes) -> Iterator[str]:
    old, new = (content.decode("utf-8", errors="replace").splitlines() for content in (before, after))
    lines = difflib.unified_diff(old, new, f"{path} (there)", f"{path} (generated)", n=1, lineterm="")
    for line in islice(lines, _LINES_OF_A_FILE):
        yield f"  {line[:_WIDTH]}"
