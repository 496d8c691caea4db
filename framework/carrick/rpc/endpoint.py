"""One place where a method can be called."""

from collections.abc import Callable
from dataclasses import dataclass

from carrick.service import Service

__all__ = ["Endpoint"]


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """An address, and the stack that leads to it."""

    id: str
    service: Service
    admits: Callable[[], bool]
    """Whether a call would be let through now: false while its circuit is open."""
