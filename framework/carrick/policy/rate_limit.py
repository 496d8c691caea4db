"""Rate limit: a token bucket for each method, caller or tenant, and a bounded number of them.

The bucket is the generic cell rate algorithm (ITU-T I.371): one number a key, the time at which its bucket would be
full again. A call moves it by one interval, and is refused when it lies more than a burst ahead.
"""

import heapq
from collections.abc import Callable
from typing import Any

from carrick.clock import Clock
from carrick.context import Context
from carrick.observe import Observer, RateLimited
from carrick.options import RateKey, RateLimitOptions
from carrick.policy.pushback import turned_away
from carrick.service import Filter, Service

__all__ = ["RATE_LIMITED", "RateLimitState", "caller", "rate_limit"]

RATE_LIMITED = "RATE_LIMITED"
"""The reason in the ``ErrorInfo`` of a call that came too soon."""

_ROUNDING = 1e-9  # seconds: sums of intervals are off by less, and a call on the dot is not late


class RateLimitState:
    """Who may call now. Pure: time comes in with each call.

    At most ``max_keys`` are remembered. What gives way to a new key is the one whose bucket will be full the soonest:
    one that owes nothing, if there is any, so that nothing is lost. A key that owes n calls is forgotten only when each
    of the others owes as much or more: to wipe out its debt by a flood of new keys takes ``max_keys`` times as many
    calls, within the time in which the debt would have been paid.
    """

    __slots__ = ("_burst", "_full_at", "_interval", "_max_keys", "_order")

    def __init__(self, options: RateLimitOptions) -> None:
        self._interval = 1 / options.per_second
        self._burst = (options.burst - 1) * self._interval + _ROUNDING
        self._max_keys = options.max_keys
        self._full_at: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []  # a heap of when each key's bucket is full, or was when it was pushed

    def __len__(self) -> int:
        return len(self._full_at)

    def acquire(self, now: float, key: str) -> float:
        """Return 0 for a call that may go ahead, and counts; or the seconds until the key's next one may."""
        known = self._full_at.get(key)
        if known is None:
            self._remember(key, now + self._interval)
            return 0.0
        if known < now:
            known = now
        early = known - now - self._burst
        if early > 0:
            return early
        self._full_at[key] = known + self._interval
        return 0.0

    def _remember(self, key: str, full_at: float) -> None:
        if len(self._full_at) >= self._max_keys:
            self._forget()
        self._full_at[key] = full_at
        heapq.heappush(self._order, (full_at, key))

    def _forget(self) -> None:
        """Drop the key whose bucket is full the soonest. Each key is in the heap once, at times too early."""
        while True:
            was, key = self._order[0]
            full_at = self._full_at[key]
            if was == full_at:
                heapq.heappop(self._order)
                del self._full_at[key]
                return
            heapq.heapreplace(self._order, (full_at, key))


def caller(peer: str | None) -> str:
    """Return a peer's address without its port: connections of one caller are counted together."""
    if peer is None:
        return ""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer


_KEYS: dict[RateKey, Callable[[Context], str]] = {
    RateKey.METHOD: lambda ctx: "",
    RateKey.CALLER: lambda ctx: caller(ctx.peer),
    RateKey.TENANT: lambda ctx: ctx.tenant or "",
}


def rate_limit(options: RateLimitOptions, state: RateLimitState, *, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that refuses calls which come too soon after others of the same method, caller or tenant.

    Such a call raises ``RejectedError`` (``RESOURCE_EXHAUSTED``, reason ``RATE_LIMITED``) and was not begun; its
    trailers ask to stay away until the next one is allowed.
    """
    monotonic = clock.monotonic
    key_of = _KEYS[options.by]
    by = options.by.value

    async def limited(request: Any, ctx: Context, service: Service) -> Any:
        early = state.acquire(monotonic(), key_of(ctx))
        if early > 0:
            assert ctx.method is not None
            method = ctx.method.full_name
            observe(RateLimited(method=method, by=by))
            raise turned_away(
                ctx,
                f"{method} allows {options.per_second:g} calls a second for each {by}; "
                f"try again in {max(early, 0.001):.4g} s",
                reason=RATE_LIMITED,
                wait=early,
                metadata={"by": by},
            )
        return await service(request, ctx)

    return limited
