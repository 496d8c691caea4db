"""Hedged calls: when an answer is late, ask once more beside, and take the first answer.

After Dean and Barroso, "The Tail at Scale" (CACM 2013). gRPC proposal A6 calls it hedgingPolicy; its core has none for
Python.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from carrick.clock import Clock
from carrick.context import AttemptKind, Context
from carrick.observe import HedgeSent, Observer, RetryNotMade
from carrick.options import HedgeOptions
from carrick.policy.alarms import Alarms
from carrick.policy.budget import RetryBudget
from carrick.policy.lateness import Lateness
from carrick.policy.race import Race
from carrick.policy.replay import Replay
from carrick.policy.retry import repeatable
from carrick.service import Filter, Service

__all__ = ["hedge"]


def hedge(
    options: HedgeOptions, lateness: Lateness, *, budget: RetryBudget | None, clock: Clock, observe: Observer
) -> Filter:
    """Make a filter that begins another attempt when the answer is late, and answers with the first that comes.

    Only for calls that may be executed twice; each hedge takes a retry out of the budget, and out of what the calls
    above allow. The others are cancelled, and have ended when the call returns. An error that is an answer ends the
    call; one that speaks against the endpoint does when it is the last. A stream of responses has answered with its
    first.
    """
    monotonic = clock.monotonic
    hedging = _Hedging(options.max_hedges, lateness, Alarms(clock), budget, clock, observe)

    async def hedged(request: Any, ctx: Context, service: Service) -> Any:
        begun = monotonic()
        delay = lateness.delay(begun)
        if delay is None or not repeatable(ctx):
            reply = await service(request, ctx)
            lateness.took(begun, monotonic())
            return reply
        call = _Call(hedging, request, ctx, service, begun, delay)
        try:
            reply = await service(request, ctx)
        except BaseException as error:
            lateness.took(begun, monotonic())
            if call.race is None:
                raise
            return await call.race.first_failed(error)
        else:
            lateness.took(begun, monotonic())
            return reply if call.race is None else await call.race.first_answered(reply)
        finally:
            call.alarm.late = None

    return hedged


@dataclass(frozen=True, slots=True)
class _Hedging:
    """What all calls of a method have in common."""

    max_hedges: int
    lateness: Lateness
    alarms: Alarms
    budget: RetryBudget | None
    clock: Clock
    observe: Observer

    def withdraw(self, request: Any, ctx: Context) -> str | None:
        """Take another attempt out of what bounds them, or return why there may be none."""
        if isinstance(request, Replay) and not request.whole:
            return "the requests are more than are kept"
        allowance = ctx.call.allowance
        if allowance is not None and not allowance.inherited:
            allowance = None
        if allowance is not None and allowance.left <= 0:
            return "the retries of the whole call tree were made"
        now = self.clock.monotonic()
        if self.budget is not None and not self.budget.withdraw(now):
            return self.budget.refusal(now)
        if allowance is not None:
            allowance.spend()
        return None


class _Call:
    """A call that waits for its answer, and the race that it is from its first hedge on: most calls never are one."""

    __slots__ = ("_caller", "_ctx", "_delay", "_hedging", "_request", "_service", "alarm", "race")

    def __init__(
        self, hedging: _Hedging, request: Any, ctx: Context, service: Service, begun: float, delay: float
    ) -> None:
        self._hedging = hedging
        self._request = request
        self._ctx = ctx
        self._service = service
        self._delay = delay
        self._caller = asyncio.current_task()
        self.race: Race | None = None
        self.alarm = hedging.alarms.set(begun + delay, self._late)
        """Rings when the latest attempt is late."""

    def _late(self) -> None:
        """Begin another attempt beside the others, if there may be one, and see when that one is late."""
        if self.race is not None and self.race.over:
            return
        hedging, ctx = self._hedging, self._ctx
        assert ctx.method is not None
        method, attempts = ctx.method.full_name, len(ctx.call.attempts)
        refusal = hedging.withdraw(self._request, ctx)
        if refusal is not None:
            kind = AttemptKind.HEDGE.value
            hedging.observe(RetryNotMade(method=method, attempt=attempts, kind=kind, reason=refusal))
            return
        hedging.observe(HedgeSent(method=method, attempt=attempts + 1, delay=self._delay))
        self.race = self.race or self._new_race()
        self.race.begin_beside()
        if self.race.hedges < hedging.max_hedges:
            self.alarm = hedging.alarms.set(hedging.clock.monotonic() + self._delay, self._late)

    def _new_race(self) -> Race:
        hedging = self._hedging
        assert self._caller is not None
        return Race(self._request, self._ctx, self._service, hedging.lateness, hedging.clock, self._caller)
