"""Calls that are turned away while what they add to is not worked off."""

from dataclasses import dataclass
from typing import Any

import pytest

from carrick.context import Context
from carrick.errors import Code, ConfigurationError, RejectedError
from carrick.options import Priority
from carrick.policy.backlog import BACKLOGGED, shed_on_backlog
from carrick.policy.pushback import PUSHBACK
from tests.unit.calls import PLAIN, REPLY, REQUEST, Scripted, Seen


@dataclass
class Line:
    """A backlog that is told how long it is."""

    depth: int = 0
    oldest: float = 0.0


@pytest.mark.parametrize(
    ("priority", "share"), [(None, 1.0), (Priority.DEFAULT, 1.0), (Priority.SHEDDABLE, 0.5), (Priority.CRITICAL, 2.0)]
)
@pytest.mark.parametrize("what", ["depth", "oldest"])
async def test_less_important_calls_are_turned_away_sooner(priority: Priority | None, share: float, what: str) -> None:
    """Up to the bound all pass; beyond it the call is not begun, and asked to come back."""
    line, handler, seen = Line(), Scripted(), Seen()
    shed = shed_on_backlog(line, max_depth=100, max_age=100.0, observe=seen)
    setattr(line, what, int(100 * share))
    assert await shed(REQUEST, Context(PLAIN, priority=priority), handler) == REPLY
    setattr(line, what, int(100 * share) + 1)
    ctx = Context(PLAIN, priority=priority)
    with pytest.raises(RejectedError) as raised:
        await shed(REQUEST, ctx, handler)
    assert handler.calls == 1
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert raised.value.details[0].reason == BACKLOGGED  # type: ignore[attr-defined]
    assert dict(ctx.call.trailers)[PUSHBACK] == "1000"
    assert seen.names == ["CallShed"]


async def test_what_was_not_asked_for_is_not_looked_at() -> None:
    """Either bound alone will do."""
    assert await shed_on_backlog(Line(depth=10**9), max_age=1.0)(REQUEST, Context(PLAIN), Scripted()) == REPLY
    assert await shed_on_backlog(Line(oldest=1e9), max_depth=1)(REQUEST, Context(PLAIN), Scripted()) == REPLY


@pytest.mark.parametrize("bounds", [{}, {"max_depth": 0}, {"max_age": 0.0}, {"max_age": -1.0}])
def test_the_bounds_are_checked(bounds: dict[str, Any]) -> None:
    """Without any, nothing would ever be turned away."""
    with pytest.raises(ConfigurationError, match="max_depth"):
        shed_on_backlog(Line(), **bounds)
