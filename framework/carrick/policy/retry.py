"""Retries: only what is safe to repeat, only after statuses that may pass, never beyond the deadline or the budgets.

The waits are gRPC proposal A6's: exponential backoff with full jitter, and a server's pushback obeyed. tenacity gives
the growth of the wait and the limit of attempts; the loop is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState, stop_after_attempt, wait_exponential

from carrick.allowance import RETRIES_LEFT, RetryAllowance, parse_allowance
from carrick.clock import Clock
from carrick.context import Attempt, AttemptKind, Context
from carrick.errors import CarrickError, Code, DeadlineError, RejectedError
from carrick.observe import Observer, RetryNotMade, RetryScheduled
from carrick.options import RetryOptions
from carrick.policy.budget import RetryBudget
from carrick.policy.pushback import pushback
from carrick.policy.replay import Replay
from carrick.service import Filter, Service

__all__ = ["RetryPlan", "RetryRefused", "repeatable", "retry"]


@dataclass(frozen=True, slots=True)
class RetryRefused:
    """Why a failed attempt is not followed by another."""

    reason: str
    answer: bool = False
    """It failed with a status that never is."""
    out_of_time: bool = False
    budget_spent: bool = False
    """Too much fails already: those who called this service are not to try again in its place."""


class RetryPlan:
    """Decides, from a failed attempt alone, whether and after how long there is another. Holds no state of a call.

    ``uniform`` gives random numbers from 0 up to 1.
    """

    __slots__ = ("_codes", "_max_attempts", "_stop", "_uniform", "_wait")

    def __init__(self, options: RetryOptions, uniform: Callable[[], float]) -> None:
        self._codes = options.codes
        self._max_attempts = options.max_attempts
        self._stop = stop_after_attempt(options.max_attempts)
        self._wait = wait_exponential(
            multiplier=options.initial_backoff, max=options.max_backoff, exp_base=options.multiplier
        )
        self._uniform = uniform

    @property
    def max_retries(self) -> int:
        """Attempts after the first."""
        return self._max_attempts - 1

    def after(
        self,
        error: CarrickError,
        attempt: Attempt,
        *,
        number: int,
        repeatable: bool,
        remaining: float | None,
        elsewhere: bool = False,
    ) -> float | RetryRefused:
        """Return the seconds to wait before the next attempt, or why there is none.

        ``attempt`` failed with ``error``; it was the ``number``-th, hedges not counted. ``repeatable`` says that
        executing the call twice does no harm; without it only an attempt that was never sent is repeated. ``remaining``
        is the time left until the deadline. ``elsewhere`` says that another endpoint would take the call: what was
        never sent goes there at once.
        """
        if not self._may_pass(error, attempt):
            return RetryRefused(f"{error.code.name} is not retried", answer=True)
        if attempt.sent and not repeatable:
            return RetryRefused("it may have been executed, and the contract does not say that repeating is safe")
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]  # only its numbers are read
        state.attempt_number = number
        if self._stop(state):
            return RetryRefused("all attempts were made")
        delay = pushback(attempt.trailers)
        if delay is not None and delay < 0:
            return RetryRefused("the server asked for no retry")
        if delay is None:
            delay = 0.0 if elsewhere and not attempt.sent else self._wait(state) * self._uniform()
        if remaining is not None and delay >= remaining:
            return RetryRefused("the deadline leaves no time for another attempt", out_of_time=True)
        return delay

    def _may_pass(self, error: CarrickError, attempt: Attempt) -> bool:
        """Say whether another attempt may end otherwise.

        A contract's codes speak of answers. An attempt that ran out of its own time, and one that was refused here and
        never sent, may be tried again whatever they say; so may one that the peer refused with the time to come back.
        """
        if error.code in self._codes:
            return True
        if isinstance(error, DeadlineError):
            return attempt.deadline is not None
        if isinstance(error, RejectedError):
            return not attempt.sent
        return error.code is Code.RESOURCE_EXHAUSTED and pushback(attempt.trailers) is not None


def repeatable(ctx: Context) -> bool:
    """Say whether executing the call twice does no harm: by contract, or since the server knows its key."""
    assert ctx.method is not None
    return ctx.method.repeatable or (ctx.method.keyed and ctx.key is not None)


def retry(
    options: RetryOptions,
    *,
    budget: RetryBudget | None = None,
    elsewhere: Callable[[Context], bool] = lambda ctx: False,
    clock: Clock,
    uniform: Callable[[], float],
    observe: Observer,
) -> Filter:
    """Make a filter that tries again as :class:`RetryPlan` decides, and re-raises the last error.

    Another attempt for one that was sent takes a retry out of ``budget``, and one out of the call tree's allowance.
    ``elsewhere`` says whether another endpoint would take a call.
    When the deadline leaves no time for another attempt, it raises ``DeadlineError`` from the last error at once.
    Cancelling ends an attempt or a wait immediately. A stream of responses is tried again until its first message; a
    stream of requests (:mod:`carrick.policy.replay`) as long as all that was read of it is kept.
    """
    plan = RetryPlan(options, uniform)
    permitted = _Permission(plan, budget, observe)

    async def retried(request: Any, ctx: Context, service: Service) -> Any:
        assert ctx.method is not None
        while True:
            try:
                return await service(request, ctx)
            except CarrickError as error:
                attempt = error.attempt if error.attempt in ctx.call.attempts else ctx.attempt  # it may be another's
                assert attempt is not None
                now = clock.monotonic()
                delay = plan.after(
                    error,
                    attempt,
                    number=sum(each.kind is not AttemptKind.HEDGE for each in ctx.call.attempts),
                    repeatable=repeatable(ctx) and not (isinstance(request, Replay) and not request.whole),
                    remaining=ctx.remaining(now),
                    elsewhere=elsewhere(ctx),
                )
                if isinstance(delay, float):
                    delay = permitted.after(attempt, ctx, delay, now)
                if isinstance(delay, RetryRefused):
                    permitted.report(attempt, ctx, delay)
                    if delay.out_of_time:
                        raise _out_of_time(delay.reason, attempt, ctx, error) from error
                    raise
                failure = error
            name, code = ctx.method.full_name, failure.code.name
            observe(RetryScheduled(method=name, attempt=attempt.number, code=code, delay=delay))
            await clock.sleep(delay)
            remaining = ctx.remaining(clock.monotonic())
            if remaining is not None and remaining <= 0:
                raise _out_of_time("the deadline passed in the wait", attempt, ctx, failure) from failure
            ctx = ctx.new_attempt(AttemptKind.RETRY)

    return retried


def _out_of_time(reason: str, attempt: Attempt, ctx: Context, error: CarrickError) -> DeadlineError:
    assert ctx.method is not None
    return DeadlineError(
        f"{ctx.method.full_name}: {reason} after attempt {attempt.number}: {error}",
        attempt=attempt,
    )


class _Permission:
    """Takes a retry out of what bounds all of them: the budget of a service's calls, the allowance of a call tree."""

    def __init__(self, plan: RetryPlan, budget: RetryBudget | None, observe: Observer) -> None:
        self._plan = plan
        self._budget = budget
        self._observe = observe

    def after(self, attempt: Attempt, ctx: Context, delay: float, now: float) -> float | RetryRefused:
        """Return the delay, or why there is no retry. One for an attempt never sent adds no load, and is free."""
        if not attempt.sent:
            return delay
        allowance = self._allowance(attempt, ctx)
        if allowance.left <= 0:
            return RetryRefused("the retries of the whole call tree were made")
        if self._budget is not None and not self._budget.withdraw(now):
            return RetryRefused(self._budget.refusal(now), budget_spent=True)
        allowance.spend()
        return delay

    def report(self, attempt: Attempt, ctx: Context, refused: RetryRefused) -> None:
        """Tell why there is no other attempt, and note on the last one what the callers of this service have left."""
        if attempt.sent:
            attempt.retries_left = 0 if refused.budget_spent else self._allowance(attempt, ctx).left
        if not refused.answer:
            assert ctx.method is not None
            self._observe(
                RetryNotMade(
                    method=ctx.method.full_name,
                    attempt=attempt.number,
                    kind=AttemptKind.RETRY.value,
                    reason=refused.reason,
                )
            )

    def _allowance(self, attempt: Attempt, ctx: Context) -> RetryAllowance:
        """Return the tree's allowance, which begins here where no call above has set one."""
        if ctx.call.allowance is None:
            ctx.call.allowance = RetryAllowance(self._plan.max_retries)
        reported = (parse_allowance(value) for name, value in attempt.trailers if name == RETRIES_LEFT)
        ctx.call.allowance.learn(next(reported, None))
        return ctx.call.allowance
