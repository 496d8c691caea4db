"""How those who do the same work, relays or consumers, share the partitions between them."""

from collections.abc import Collection
from math import ceil

__all__ = ["surplus", "wanted"]


def wanted(held: int, members: int, partitions: int) -> int:
    """Return how many partitions more one of so many members should hold, if there are free ones."""
    return max(0, ceil(partitions / max(members, 1)) - held)


def surplus(held: Collection[int], members: int, partitions: int) -> list[int]:
    """Return the partitions that a member should give back, so that another one can have its share."""
    share = ceil(partitions / max(members, 1))
    return sorted(held)[share:]
