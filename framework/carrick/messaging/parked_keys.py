"""The keys of a partition whose events are parked, as its owner knows them."""

from collections.abc import Callable, Iterable
from functools import partial

from carrick.claim import Tenure
from carrick.clock import Clock, Timer
from carrick.store.parking import ParkedKey

__all__ = ["ParkedKeys"]


class ParkedKeys:
    """Which keys are parked, and when each is tried again: ``due`` is called then. For one event loop."""

    def __init__(
        self, tenure: Tenure, keys: Iterable[ParkedKey], due: Callable[[int, str], None], clock: Clock
    ) -> None:
        self.tenure = tenure
        self.events = 0
        """How many events are parked, by what this owner has seen."""
        self._due = due
        self._clock = clock
        self._timers: dict[str, Timer | None] = {}
        for key in keys:
            self.events += key.events
            self.add(key.key, key.due_in)

    def __contains__(self, key: object) -> bool:
        return key in self._timers

    def __len__(self) -> int:
        return len(self._timers)

    def add(self, key: str, due_in: float | None) -> None:
        """Note that a key is parked, and is tried again in so many seconds; None for: when somebody says so."""
        self._cancel(key)
        self._timers[key] = (
            None
            if due_in is None
            else self._clock.call_later(max(due_in, 0.0), partial(self._due, self.tenure.partition, key))
        )

    def remove(self, key: str) -> None:
        """Note that nothing of a key is parked any more."""
        self._cancel(key)
        self._timers.pop(key, None)
        if not self._timers:
            self.events = 0

    def close(self) -> None:
        """Try nothing again."""
        for key in tuple(self._timers):
            self.remove(key)

    def _cancel(self, key: str) -> None:
        timer = self._timers.get(key)
        if timer is not None:
            timer.cancel()
