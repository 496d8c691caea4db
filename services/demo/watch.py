"""What is going on, for the display: from the client's observations, the services' logs, and the databases."""

import json
import sqlite3
from collections import Counter
from pathlib import Path

from carrick.observe import BreakerClosed, BreakerHalfOpened, BreakerOpened, Observation, RetryScheduled
from services.demo.stage import Stage

__all__ = ["Progress", "Watch", "read_progress"]

_BREAKER_STATES = {
    BreakerOpened.__name__: "open",
    BreakerHalfOpened.__name__: "half-open",
    BreakerClosed.__name__: "closed",
}


class Watch:
    """Counts retries and follows the breakers, of the demo's own client and of the services."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._offsets: Counter[Path] = Counter()
        self.retries: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self.breakers: dict[str, str] = {}
        """State by ``caller -> method``, of every breaker that ever opened."""

    def observe(self, observation: Observation) -> None:
        """Take an observation of the demo's client."""
        if isinstance(observation, RetryScheduled):
            self._note("customers", RetryScheduled.__name__, observation.method)
        elif isinstance(observation, BreakerOpened | BreakerHalfOpened | BreakerClosed):
            self._note("customers", type(observation).__name__, observation.method)

    def read_logs(self) -> None:
        """Take what the services have logged since the last time."""
        for name, service in self._stage.services.items():
            for line in self._new_lines(service.log):
                if '"message": "ready"' in line:  # a new process: its circuits are closed
                    self.breakers = {key: state for key, state in self.breakers.items() if not key.startswith(name)}
                observation = _observation(line)
                if observation is not None:
                    self._note(name, str(observation.get("name")), str(observation.get("method")))

    def _note(self, caller: str, name: str, method: str) -> None:
        if name == RetryScheduled.__name__:
            self.retries[caller] += 1
        elif name in _BREAKER_STATES:
            breaker = f"{caller} → {method.rpartition('.')[2]}"
            self.breakers[breaker] = _BREAKER_STATES[name]
            self.opened[breaker] += name == BreakerOpened.__name__

    def _new_lines(self, log: Path) -> list[str]:
        try:
            with log.open("rb") as lines:
                lines.seek(self._offsets[log])
                text = lines.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offsets[log] += len(whole)
        return whole.decode(errors="replace").splitlines()


def _observation(line: str) -> dict[str, object] | None:
    if '"observation"' not in line:
        return None
    try:
        found = json.loads(line).get("observation")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class Progress(dict[str, int]):
    """Numbers by name: ``pending`` orders, open ``compensations``, ``unpublished`` and ``committed`` events, ..."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is left to be done."""
        return (
            self["pending"] == self["compensations"] == self["unpublished"] == 0
            and self["committed"] == self["by_inventory"] == self["by_notifications"]
        )


_QUERIES = {
    "pending": ("orders", "SELECT count(*) FROM orders WHERE status = 'PENDING'"),
    "compensations": ("orders", "SELECT count(*) FROM compensations WHERE done = 0"),
    "unpublished": ("orders", "SELECT count(*) FROM carrick_outbox WHERE published_at IS NULL"),
    "committed": ("orders", "SELECT count(*) FROM carrick_outbox"),
    "by_inventory": ("inventory", "SELECT count(*) FROM carrick_inbox"),
    "by_notifications": ("notifications", "SELECT count(*) FROM carrick_inbox"),
}


def read_progress(stage: Stage) -> Progress:
    """Read the counts from the services' databases."""
    progress = Progress()
    for name, (database, query) in _QUERIES.items():
        connection = sqlite3.connect(f"file:{stage.database(database)}?mode=ro", uri=True, timeout=5.0)
        try:
            progress[name] = int(connection.execute(query).fetchone()[0])
        finally:
            connection.close()
    return progress
