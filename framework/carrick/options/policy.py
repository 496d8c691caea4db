"""All that stands in front of a method."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from carrick.errors import ConfigurationError
from carrick.options._checks import require_time
from carrick.options.breaker import BreakerOptions
from carrick.options.load import (
    ConcurrencyOptions,
    Priority,
    RateLimitOptions,
    SheddingOptions,
    ThrottleOptions,
)
from carrick.options.reply import CacheOptions, FallbackOptions, IdempotencyOptions
from carrick.options.retry import HedgeOptions, RetryBudgetOptions, RetryOptions

__all__ = ["MethodPolicy", "PolicyOverride", "override_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodPolicy:
    """What stands in front of one method, or of every method of a client. What is None is not asked for."""

    timeout: float | None = None
    """Time for the whole call, all attempts included, in seconds."""
    attempt_timeout: float | None = None
    """Time for each attempt, until its response, or the first of a stream; then another may follow. In seconds."""
    deadline_margin: float | None = None
    """What an inherited deadline is shortened by, so that there is time to answer; 0.01 seconds unless given."""
    min_remaining: float | None = None
    """A call with less time than this left is refused instead of sent: it could not finish. In seconds."""
    priority: Priority | None = None
    """Of calls that inherit none from what is being handled."""
    retry: RetryOptions | None = None
    retry_budget: RetryBudgetOptions | None = None
    hedge: HedgeOptions | None = None
    breaker: BreakerOptions | None = None
    concurrency: ConcurrencyOptions | None = None
    throttle: ThrottleOptions | None = None
    cache: CacheOptions | None = None
    fallback: FallbackOptions | None = None
    shedding: SheddingOptions | None = None
    rate_limit: RateLimitOptions | None = None
    idempotency: IdempotencyOptions | None = None
    """Like the two before it the server's: from the contract; a client's or channel's policy with it is refused."""

    def __post_init__(self) -> None:
        for name in ("timeout", "attempt_timeout", "min_remaining"):
            if (value := getattr(self, name)) is not None:
                require_time(name, value)
        if self.deadline_margin is not None:
            require_time("deadline_margin", self.deadline_margin, zero=True)

    def overridden_by(self, other: "MethodPolicy | None") -> "MethodPolicy":
        """Return this policy with every part that ``other`` gives put in place of its own."""
        if other is None:
            return self
        return MethodPolicy(
            **{
                field.name: own if (given := getattr(other, field.name)) is None else given
                for field in fields(self)
                for own in (getattr(self, field.name),)
            }
        )


PolicyOverride: TypeAlias = MethodPolicy | Mapping[Any, MethodPolicy]
"""A policy for all methods of a client or channel, or one for each of some methods, by their ``MethodSpec``."""

_SERVER_PARTS = ("shedding", "rate_limit", "idempotency")


def override_for(override: PolicyOverride | None, method: object) -> MethodPolicy | None:
    """Return what an override has for a method, given as its ``MethodSpec``.

    Raises ``ConfigurationError`` for what would silently hold for nothing: a key that is no method, a server's part.
    """
    if override is None:
        return None
    if isinstance(override, MethodPolicy):
        _refuse_server_parts(override)
        return override
    if not isinstance(override, Mapping):
        raise ConfigurationError(
            f"a policy must be a MethodPolicy, or a mapping from methods to them, not a {type(override).__name__}; "
            "write for example MethodPolicy(retry=RetryOptions(max_attempts=2))"
        )
    for key, policy in override.items():
        _refuse_server_parts(policy)
        if not isinstance(key, type(method)):
            raise ConfigurationError(
                f"a policy is given for {key!r}, which is no method; give it for the constant of a generated module, "
                "like {PLACE_ORDER: MethodPolicy(timeout=1.0)}"
            )
    return override.get(method)


def _refuse_server_parts(policy: MethodPolicy) -> None:
    part = next((name for name in _SERVER_PARTS if getattr(policy, name)), None)
    if part is not None:
        raise ConfigurationError(
            f"{part} is the server's, and a client's or channel's policy does nothing with it; "
            f"give it in the contract{', or as Server(shedding=...)' if part == 'shedding' else ''}"
        )
