"""How relays share the partitions between them."""

from collections.abc import Collection
from math import ceil

__all__ = ["surplus", "wanted"]


def wanted(held: int, relays: int, partitions: int) -> int:
    """Return how many partitions more one of so many relays should hold, if there are free ones."""
    return max(0, ceil(partitions / max(relays, 1)) - held)


def surplus(held: Collection[int], relays: int, partitions: int) -> list[int]:
    """Return the partitions that a relay should give back, so that another one can have its share."""
    share = ceil(partitions / max(relays, 1))
    return sorted(held)[share:]
