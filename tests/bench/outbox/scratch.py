"""Where the servers and files of a run are: on a disk, which the system's folder for temporary files need not be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["scratch"]

_PARENT = Path("bench-results")


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder, and remove it in the end."""
    _PARENT.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=_PARENT.resolve(), ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # the user that PostgreSQL runs as has to reach what is in it
        yield Path(folder)
