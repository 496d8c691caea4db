"""Back-pressure: turn calls away while what they would add to is not worked off."""

from collections.abc import Awaitable
from typing import Any, Protocol

from carrick.context import Context
from carrick.errors import ConfigurationError
from carrick.observe import CallShed, Observer, log
from carrick.options import Priority
from carrick.policy.pushback import turned_away
from carrick.service import Filter, Service

__all__ = ["BACKLOGGED", "Waiting", "shed_on_backlog"]

BACKLOGGED = "BACKLOGGED"
"""The reason in the ``ErrorInfo`` of a call that was turned away."""

_SHARES = {Priority.CRITICAL: 2.0, Priority.DEFAULT: 1.0, Priority.SHEDDABLE: 0.5}
_WAIT = 1.0


class Waiting(Protocol):
    """What waits to be worked off, as it was when it was last looked at. ``carrick.outbox.OutboxWatch`` is one."""

    @property
    def depth(self) -> int:
        """How many wait."""
        ...

    @property
    def oldest(self) -> float:
        """Seconds since the oldest of them came; 0 when none waits."""
        ...


def shed_on_backlog(
    waiting: Waiting, *, max_depth: int | None = None, max_age: float | None = None, observe: Observer = log
) -> Filter:
    """Make a filter for a server that turns calls away while more than ``max_depth`` wait, or one for ``max_age`` s.

    Sheddable calls are turned away from half of that on, critical ones from twice. Such a call raises ``RejectedError``
    (``RESOURCE_EXHAUSTED``, reason ``BACKLOGGED``), was not begun, and is asked to come back in a second.
    """
    neither = max_depth is None and max_age is None
    if neither or (max_depth is not None and max_depth < 1) or (max_age is not None and max_age <= 0):
        raise ConfigurationError("give max_depth, 1 or more, or max_age, seconds above 0, or both")

    def in_time(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
        priority = ctx.priority or Priority.DEFAULT
        share = _SHARES[priority]
        deep = max_depth is not None and waiting.depth > max_depth * share
        old = max_age is not None and waiting.oldest > max_age * share
        if not deep and not old:
            return service(request, ctx)
        assert ctx.method is not None
        method, reason = ctx.method.full_name, "backlog_depth" if deep else "backlog_age"
        observe(CallShed(method=method, priority=priority.value, reason=reason))
        raise turned_away(
            ctx,
            f"{method} was turned away: {waiting.depth} events wait to be published, the oldest for "
            f"{waiting.oldest:.0f} s; try again later",
            reason=BACKLOGGED,
            wait=_WAIT,
            metadata={"cause": reason, "priority": priority.value},
        )

    return in_time
