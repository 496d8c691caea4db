"""How many retries a call may still set off in all the services below it, so that layers of them do not multiply."""

__all__ = ["MAX_RETRIES", "RETRIES_LEFT", "RetryAllowance", "parse_allowance"]

RETRIES_LEFT = "x-carrick-retry-budget"
"""Says how many are left: with a call, how many it may set off; with a failure, how many of them it did not."""

MAX_RETRIES = 100
"""The most that is taken from a peer."""


class RetryAllowance:
    """What is left for one call tree. One object serves all calls made while handling a call.

    Each service spends from it, hands on what is left with an attempt (``x-carrick-retry-budget``), and says in the
    trailers of a failure what it has left over. A failure that says nothing, like a timeout, is taken to have spent
    only time: what was done below it ended with it.
    """

    __slots__ = ("inherited", "left")

    def __init__(self, left: int, *, inherited: bool = False) -> None:
        self.left = left
        self.inherited = inherited
        """Whether a call above has set it. Only then do hedges count: a tree's root has bounds of its own."""

    def learn(self, reported: int | None) -> None:
        """Take what a failed attempt says is left, if it is less."""
        if reported is not None and reported < self.left:
            self.left = reported

    def spend(self) -> None:
        """Take one retry. Look before whether one is left."""
        self.left -= 1


def parse_allowance(value: object) -> int | None:
    """Read what a peer sent: 0 to 100 retries, None for anything else."""
    if isinstance(value, str) and len(value) <= 3 and value.isascii() and value.isdigit():
        return min(int(value), MAX_RETRIES)
    return None
