"""One place where a method can be called."""

from collections.abc import Callable
from dataclasses import dataclass, field

from carrick.service import Service

__all__ = ["Endpoint", "Load"]


@dataclass(slots=True, eq=False)
class Load:
    """What is under way at a target, whichever methods are called."""

    running: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """An address, and the stack that leads to it."""

    id: str
    service: Service
    admits: Callable[[], bool]
    """Whether a call would be let through at once: false while its circuit is open, or its limit reached."""
    load: Load = field(default_factory=Load)
