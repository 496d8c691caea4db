"""The time of day as other processes see it, set forward and back while they run."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from carrick.testing import PostgresServer

__all__ = ["HOUR", "PostgresWithClock", "TimeOfDay", "time_of_day"]

HOUR = 3600.0
_LIBRARY = Path("vendor", "libfaketime", "src", "libfaketime.so.1")
_SHARED = Path("/dev/shm")  # noqa: S108  # where the library leaves something of each process that is killed


class TimeOfDay:
    """A clock that is off by so many seconds for the processes that are started with ``environment``.

    What measures intervals (``CLOCK_MONOTONIC``) stays right, as it does when somebody sets a machine's clock.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0.0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process has to be started with."""
        found = find_spec("libfaketime")
        assert found is not None
        assert found.origin is not None
        return {
            "LD_PRELOAD": str(Path(found.origin).parent / _LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_RESET": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # with it, threads of Python that wait for their turn spin
        }

    def set(self, offset: float) -> None:
        """Have the clock be so many seconds ahead of the right time, or behind it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset:+.0f}\n")
        new.chmod(0o644)
        new.replace(self._file)


@contextmanager
def time_of_day() -> Iterator[TimeOfDay]:
    """Return a clock that is right, in a file that every user can read. All of its processes have to end before."""
    with tempfile.TemporaryDirectory(prefix="carrick-clock-") as directory:
        Path(directory).chmod(0o755)
        yield TimeOfDay(Path(directory) / "clock")
    for left in _SHARED.glob("*faketime_*"):
        if not psutil.pid_exists(int(left.name.rpartition("_")[2])):
            left.unlink()


class PostgresWithClock(PostgresServer):
    """A PostgreSQL whose clock can be set."""

    def __init__(self, clock: TimeOfDay) -> None:
        super().__init__()
        self._clock = clock

    def _run(self, command: list[str], log: Any) -> Any:
        """Give the clock to the server alone, as the user that it runs as."""
        settings = [f"{name}={value}" for name, value in self._clock.environment.items()]
        return super()._run(["/usr/bin/env", *settings, *command], log)
