"""Method policies: read from options, checked as the runtime's dataclasses check them, merged nearest first."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from carrick_codegen._duration import seconds
from carrick_codegen._errors import ContractErrors
from carrick_codegen._options import OptionMessage
from carrick_codegen._source import Given
from carrick_codegen.model import Breaker, Idempotency, Policy, Retry

__all__ = ["INITIAL_BACKOFF", "MAX_BACKOFF", "check", "merge", "read"]

INITIAL_BACKOFF = 0.05
MAX_BACKOFF = 1.0
"""The runtime's defaults, in seconds: a backoff that is given is compared with the default of the other."""

Part = TypeVar("Part", Retry, Breaker, Idempotency)


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a number must be, in code and in words."""

    holds: Callable[[float], bool]
    words: str


_ATTEMPTS = _Bound(lambda value: 1 <= value <= 100, "1 to 100 (1 turns retries off)")
_MULTIPLIER = _Bound(lambda value: value >= 1 and math.isfinite(value), "1 or more (2 doubles the wait each time)")
_RATIO = _Bound(lambda value: 0 < value <= 1, "above 0 and at most 1 (0.5 means half of the calls)")
_COUNT = _Bound(lambda value: value >= 1, "1 or more")


def read(option: OptionMessage, errors: ContractErrors) -> Policy:
    """Return the policy that one option gives. Values that make no sense are reported and left out."""
    option.refuse_unknown(_names(Policy), errors)
    return Policy(
        timeout=_duration(option, "timeout", errors),
        retry=_retry(option.part("retry"), errors),
        breaker=_breaker(option.part("breaker"), errors),
        idempotency=_idempotency(option.part("idempotency"), errors),
    )


def _retry(option: OptionMessage | None, errors: ContractErrors) -> Retry | None:
    if option is None:
        return None
    option.refuse_unknown(_names(Retry), errors)
    return Retry(
        at=option.at,
        max_attempts=_number(option, "max_attempts", _ATTEMPTS, errors),
        initial_backoff=_duration(option, "initial_backoff", errors),
        max_backoff=_duration(option, "max_backoff", errors),
        multiplier=_number(option, "multiplier", _MULTIPLIER, errors),
        codes=_codes(option, errors),
        replay_bytes=option.given("replay_bytes"),
    )


def _breaker(option: OptionMessage | None, errors: ContractErrors) -> Breaker | None:
    if option is None:
        return None
    option.refuse_unknown(_names(Breaker), errors)
    return Breaker(
        at=option.at,
        failure_ratio=_number(option, "failure_ratio", _RATIO, errors),
        window=_duration(option, "window", errors),
        min_calls=_number(option, "min_calls", _COUNT, errors),
        open_for=_duration(option, "open_for", errors),
        trials=_number(option, "trials", _COUNT, errors),
    )


def _idempotency(option: OptionMessage | None, errors: ContractErrors) -> Idempotency | None:
    if option is None:
        return None
    option.refuse_unknown(_names(Idempotency), errors)
    key = option.given("key")
    return Idempotency(
        at=option.at,
        key=key if key is not None and key.value in {"OPTIONAL", "REQUIRED"} else None,
        expiry=_duration(option, "expiry", errors),
    )


def _duration(option: OptionMessage, name: str, errors: ContractErrors) -> Given[float] | None:
    given = option.given(name)
    if given is None:
        return None
    try:
        return Given(seconds(given.value), given.at)
    except ValueError as error:
        errors.add(given.at, f"{name} {error}")
        return None


def _number(option: OptionMessage, name: str, bound: _Bound, errors: ContractErrors) -> Given[Any] | None:
    given = option.given(name)
    if given is None or bound.holds(given.value):
        return given
    errors.add(given.at, f"{name} must be {bound.words}, not {given.value}")
    return None


def _codes(option: OptionMessage, errors: ContractErrors) -> Given[tuple[str, ...]] | None:
    given = option.given("codes")
    if given is None:
        return None
    if "OK" in given.value:
        errors.add(given.at, "codes must not hold OK: a success is not tried again; take OK out")
    for number in filter(str.isdigit, given.value):
        errors.add(given.at, f"codes holds {number}, which is no status of gRPC; write a name like UNAVAILABLE")
    return Given(tuple(dict.fromkeys(given.value)), given.at)


def merge(far: Policy, near: Policy) -> Policy:
    """Return ``far`` with every field that ``near`` gives put in place of its own."""
    return Policy(
        timeout=near.timeout or far.timeout,
        retry=_merged(far.retry, near.retry),
        breaker=_merged(far.breaker, near.breaker),
        idempotency=_merged(far.idempotency, near.idempotency),
    )


def _merged(far: Part | None, near: Part | None) -> Part | None:
    if far is None or near is None:
        return near or far
    given = {name: getattr(near, name) for name in _names(type(near)) if getattr(near, name) is not None}
    return replace(far, **given)


def _names(part: type[Policy | Retry | Breaker | Idempotency]) -> list[str]:
    return [field.name for field in fields(part)]


def check(policy: Policy, errors: ContractErrors) -> None:
    """Report what makes no sense in a method's merged policy, at the place that gives the nearest part of it."""
    if policy.retry is not None:
        _check_backoff(policy.retry, errors)
    if policy.idempotency is not None and policy.idempotency.key is None:
        message = "idempotency has no key; add key: REQUIRED, or key: OPTIONAL to let calls without a key in"
        errors.add(policy.idempotency.at, message)


def _check_backoff(retry: Retry, errors: ContractErrors) -> None:
    initial = retry.initial_backoff.value if retry.initial_backoff else INITIAL_BACKOFF
    longest = retry.max_backoff.value if retry.max_backoff else MAX_BACKOFF
    culprit = retry.max_backoff or retry.initial_backoff
    if culprit is None or longest >= initial:
        return
    errors.add(
        culprit.at,
        f"max_backoff ({longest:g} s{'' if retry.max_backoff else ' unless given'}) must not be below "
        f"initial_backoff ({initial:g} s{'' if retry.initial_backoff else ' unless given'}); "
        "write a longer max_backoff or a shorter initial_backoff",
    )
