"""Reading and changing files: each is replaced as a whole, so that nothing is ever half-written."""

import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["read", "remove", "replace"]


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


def remove(paths: Iterable[Path], outs: Iterable[str]) -> None:
    """Remove files, and the folders below ``outs`` that are empty then."""
    tops = {Path(os.path.abspath(out)) for out in outs}
    for path in paths:
        path.unlink()
        for folder in Path(os.path.abspath(path)).parents:
            if folder in tops or any(folder.iterdir()):
                break
            folder.rmdir()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
