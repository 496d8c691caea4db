"""What makes no sense in a method's merged policy, though each of its values does."""

from dataclasses import dataclass

from carrick_codegen._errors import ContractErrors
from carrick_codegen.model import Fields, Part, Policy

__all__ = ["ORDERS", "Order", "check"]


@dataclass(frozen=True, slots=True)
class Order:
    """A field that must not be below another one.

    Fields that are not given have the runtime's defaults; None is a default that is not compared.
    """

    high: str
    high_default: float | None
    low: str
    low_default: float | None
    times: bool = False
    """Whether the two are times, in seconds, or numbers of something."""
    only_if: str | None = None
    """The flag without which the two have nothing to do with each other."""


_TIMEOUTS = (
    Order("timeout", None, "attempt_timeout", None, times=True),
    Order("timeout", None, "min_remaining", None, times=True),  # else no call is ever sent
)

ORDERS: dict[str, tuple[Order, ...]] = {
    "retry": (Order("max_backoff", 1.0, "initial_backoff", 0.05, times=True),),
    "breaker": (Order("window_calls", None, "min_calls", 20),),
    "concurrency": (
        Order("limit", 100, "min_limit", 5, only_if="adaptive"),
        Order("max_limit", 1000, "limit", 100, only_if="adaptive"),
    ),
    "shedding": (Order("limit", 1000, "min_limit", 5, only_if="adaptive"),),
}
"""What must be in order in each part."""

_NEEDED = {
    "fallback": ("last_good", 'add one, like last_good: "60s": values and functions are given in code'),
    "idempotency": ("key", "add key: REQUIRED, or key: OPTIONAL to let calls without a key in"),
}
"""The field that a part is nothing without, and what to do about it."""


def check(policy: Policy, errors: ContractErrors) -> None:
    """Report what is wrong, where the nearest of the fields in question is given. Parts switched off are let be."""
    for order in _TIMEOUTS:
        _check_order(order, policy.fields, errors)
    for name, part in policy.parts.items():
        if part.enabled and part.sound:
            _check_part(name, part, errors)


def _check_part(name: str, part: Part, errors: ContractErrors) -> None:
    for order in ORDERS.get(name, ()):
        _check_order(order, part.fields, errors)
    field, advice = _NEEDED.get(name, ("", ""))
    if field and field not in part.fields:
        errors.add(part.at, f"{name} has no {field}; {advice}")


def _check_order(order: Order, fields: Fields, errors: ContractErrors) -> None:
    if order.only_if is not None and not (order.only_if in fields and fields[order.only_if].value):
        return
    high = fields[order.high].value if order.high in fields else order.high_default
    low = fields[order.low].value if order.low in fields else order.low_default
    given = [each for name, each in fields.items() if name in {order.high, order.low}]
    if not given or high is None or low is None or high >= low:
        return
    more, less = ("longer", "shorter") if order.times else ("larger", "smaller")
    errors.add(
        given[-1].at,
        f"{order.high} ({_told(order, order.high, high, fields)}) must not be below "
        f"{order.low} ({_told(order, order.low, low, fields)}); "
        f"write a {more} {order.high} or a {less} {order.low}",
    )


def _told(order: Order, name: str, value: float, fields: Fields) -> str:
    """Write a value, and whether it is one that nobody gave."""
    text = f"{value:g} s" if order.times else str(value)
    return text if name in fields else f"{text} unless given"
