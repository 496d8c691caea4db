"""Reading and changing files: each is replaced as a whole, so that nothing is ever half-written."""

import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["prune", "read", "remove", "replace"]


def read(path: Path) -> bytes | None:
    """Return a file's content, or None when there is no plain file: a link, a pipe or a device is not generated."""
    try:
        return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def replace(path: Path, content: bytes) -> None:
    """Write a file, and its folders, as new files are: a reader sees the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove(paths: Iterable[Path]) -> None:
    """Remove files. Another run may be doing the same."""
    for path in paths:
        path.unlink(missing_ok=True)


def prune(paths: Iterable[Path], outs: Iterable[str]) -> None:
    """Remove the folders below ``outs`` that are empty without the files that were removed from them."""
    tops = {Path(os.path.abspath(out)) for out in outs}
    for path in paths:
        for folder in Path(os.path.abspath(path)).parents:
            if folder in tops or not _rmdir(folder):
                break


def _rmdir(folder: Path) -> bool:
    """Remove an empty folder, and return whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # it holds something
        return False
    return True


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
