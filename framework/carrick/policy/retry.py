"""Retries: only what is safe to repeat, only after statuses that may pass, never beyond the deadline.

The waits are gRPC proposal A6's: exponential backoff with full jitter, and a server's pushback obeyed. tenacity gives
the growth of the wait and the limit of attempts; the loop is ours.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState, stop_after_attempt, wait_exponential

from carrick.clock import Clock
from carrick.context import Attempt, AttemptKind, Context, Metadata
from carrick.errors import CarrickError, Code, DeadlineError
from carrick.observe import Observer, RetryScheduled
from carrick.options import RetryOptions
from carrick.policy.replay import Replay
from carrick.service import Filter, Service
from carrick.stream import Concluding

__all__ = ["RetryPlan", "RetryRefused", "pushback", "retry"]

PUSHBACK = "grpc-retry-pushback-ms"


@dataclass(frozen=True, slots=True)
class RetryRefused:
    """Why a failed attempt is not followed by another."""

    reason: str
    out_of_time: bool = False


class RetryPlan:
    """Decides, from a failed attempt alone, whether and after how long there is another. Holds no state of a call.

    ``uniform`` gives random numbers from 0 up to 1.
    """

    __slots__ = ("_codes", "_stop", "_uniform", "_wait")

    def __init__(self, options: RetryOptions, uniform: Callable[[], float]) -> None:
        self._codes = options.codes
        self._stop = stop_after_attempt(options.max_attempts)
        self._wait = wait_exponential(
            multiplier=options.initial_backoff, max=options.max_backoff, exp_base=options.multiplier
        )
        self._uniform = uniform

    def after(self, code: Code, attempt: Attempt, *, repeatable: bool, remaining: float | None) -> float | RetryRefused:
        """Return the seconds to wait before the next attempt, or why there is none.

        ``repeatable`` says that executing the call twice does no harm; without it only an attempt that was never sent
        is repeated. ``remaining`` is the time left until the deadline.
        """
        if code not in self._codes:
            return RetryRefused(f"{code.name} is not retried")
        if attempt.sent and not repeatable:
            return RetryRefused("it may have been executed, and the contract does not say that repeating is safe")
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]  # only its numbers are read
        state.attempt_number = attempt.number
        if self._stop(state):
            return RetryRefused("all attempts were made")
        pushed_back = pushback(attempt.trailers)
        if pushed_back is not None and pushed_back < 0:
            return RetryRefused("the server asked for no retry")
        delay = self._wait(state) * self._uniform() if pushed_back is None else pushed_back
        if remaining is not None and delay >= remaining:
            return RetryRefused("the deadline leaves no time for another attempt", out_of_time=True)
        return delay


def pushback(trailers: Metadata) -> float | None:
    """Return the seconds that a server asks to wait, negative for "do not retry", or None when it asks nothing.

    A value that is not a number means "do not retry" (gRPC proposal A6).
    """
    for name, value in trailers:
        if name == PUSHBACK:
            try:
                return int(value) / 1000
            except (ValueError, OverflowError):  # 400 digits are a number, and no float
                return -1.0
    return None


def retry(options: RetryOptions, *, clock: Clock, uniform: Callable[[], float], observe: Observer) -> Filter:
    """Make a filter that tries again as :class:`RetryPlan` decides, and re-raises the last error.

    When the deadline leaves no time for another attempt, it raises ``DeadlineError`` from the last error at once.
    Cancelling ends an attempt or a wait immediately. A stream of responses is tried again until its first message; a
    stream of requests as long as what was read of it is not more than ``options.replay_bytes``.
    """
    plan = RetryPlan(options, uniform)

    def retried(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
        assert ctx.method is not None
        repeatable = ctx.method.repeatable or (ctx.method.keyed and ctx.key is not None)
        if ctx.method.streams_requests and repeatable:
            return replayed(request, ctx, service)
        return attempts(request, ctx, service, repeatable)

    async def replayed(request: Any, ctx: Context, service: Service) -> Any:
        assert ctx.method is not None
        replay: Replay[Any] = Replay(request, options.replay_bytes)
        try:
            reply = await attempts(request, ctx, service, repeatable=True, replay=replay)
        except BaseException:
            replay.stop()
            raise
        replay.release()
        if ctx.method.streams_responses:
            return Concluding(reply, lambda error: replay.stop())
        replay.stop()
        return reply

    async def attempts(
        request: Any, ctx: Context, service: Service, repeatable: bool, replay: Replay[Any] | None = None
    ) -> Any:
        assert ctx.method is not None
        while True:
            try:
                return await service(replay.requests() if replay else request, ctx)
            except CarrickError as error:
                attempt = ctx.attempt
                assert attempt is not None
                delay = plan.after(
                    error.code,
                    attempt,
                    repeatable=repeatable and (replay is None or replay.whole),
                    remaining=ctx.remaining(clock.monotonic()),
                )
                if isinstance(delay, RetryRefused):
                    if delay.out_of_time:
                        raise DeadlineError(
                            f"{ctx.method.full_name}: {delay.reason} after attempt {attempt.number}: {error}",
                            attempt=attempt,
                        ) from error
                    raise
                code = error.code.name
            observe(RetryScheduled(method=ctx.method.full_name, attempt=attempt.number, code=code, delay=delay))
            await clock.sleep(delay)
            ctx = ctx.new_attempt(AttemptKind.RETRY)

    return retried
