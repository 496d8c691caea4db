"""Options of circuit breakers."""

from dataclasses import dataclass

from carrick.options._checks import Part, require, require_ratio, require_time

__all__ = ["BreakerOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOptions(Part):
    """Stop calling an endpoint whose calls fail, or are slow, too often."""

    failure_ratio: float = 0.5
    """Opens when at least this share of the calls in the window failed."""
    slow_after: float | None = None
    """A call that takes longer than this many seconds is slow; None: none is. A stream's first response counts."""
    slow_ratio: float = 0.8
    """Opens when at least this share of the calls in the window was slow."""
    window: float = 10.0
    """How far back calls are counted, in seconds."""
    window_calls: int | None = None
    """Count the last so many calls instead, however old they are."""
    min_calls: int = 20
    """Fewer calls than this in the window never open it."""
    open_for: float = 5.0
    """How long it stays open before trial calls are let through, in seconds."""
    trials: int = 3
    """Calls let through when half-open; all must succeed, and none be slow, to close it; else it opens again."""

    def __post_init__(self) -> None:
        require_ratio("failure_ratio", self.failure_ratio, "0.5 means half of the calls")
        if self.slow_after is not None:
            require_time("slow_after", self.slow_after)
        require_ratio("slow_ratio", self.slow_ratio, "0.5 means half of the calls")
        require_time("window", self.window)
        require(self.min_calls >= 1, f"min_calls must be 1 or more, not {self.min_calls}")
        if self.window_calls is not None:
            require(
                self.min_calls <= self.window_calls <= 10_000,
                f"window_calls must be from min_calls ({self.min_calls}) to 10000, not {self.window_calls}",
            )
        require_time("open_for", self.open_for)
        require(self.trials >= 1, f"trials must be 1 or more, not {self.trials}")
