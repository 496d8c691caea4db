"""An event loop whose time jumps to the next timer: a simulation of minutes takes seconds, and is always the same."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from carrick.clock import Timer

__all__ = ["VirtualClock", "run"]

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: the time that it was to wait has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass."""
        if timeout is None:
            raise RuntimeError("the simulation waits for something that will not happen")
        self.now += max(timeout, 0.0)
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now


class VirtualClock:
    """The clock of the running virtual loop, for policies."""

    def monotonic(self) -> float:
        """Return the virtual time."""
        return asyncio.get_running_loop().time()

    wall = monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call something in virtual time."""
        return asyncio.get_running_loop().call_later(seconds, callback)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, which begins at 0."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
