"""What stands in front of a resource: a database, a broker, or anything else that a service depends on."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar, TypeVarTuple

from carrick.errors import CarrickError
from carrick.options import OUTAGES

__all__ = ["Guard", "is_outage"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def is_outage(error: BaseException) -> bool:
    """Say whether an error speaks against a resource: one of the operating system, or one with a status of outages."""
    return isinstance(error, OSError) or (isinstance(error, CarrickError) and error.code in OUTAGES)


class Guard(Protocol):
    """Runs what is asked of a resource, or refuses it with ``RejectedError``: then it was certainly not done.

    ``operation`` names what is asked; each has a circuit and a limit of its own, as each method of a peer has.
    ``failed`` says which errors speak against the resource; others pass and count for nothing.
    """

    @property
    def name(self) -> str:
        """The resource's name."""
        ...

    async def call(
        self,
        function: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        operation: str = "call",
        failed: Callable[[BaseException], bool] = is_outage,
        repeatable: bool = False,
    ) -> T:
        """Await the function. It is run again after a failure only where it is ``repeatable``."""
        ...

    def hold(
        self,
        begin: Callable[[], AbstractAsyncContextManager[T]],
        *,
        operation: str,
        failed: Callable[[BaseException], bool] = is_outage,
    ) -> AbstractAsyncContextManager[T]:
        """Enter what ``begin`` returns, again after a failure, and leave it when the block ends.

        The block is run once. An error that leaves it counts as the resource's when ``failed`` says so.
        """
        ...
