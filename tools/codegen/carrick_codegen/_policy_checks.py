"""What makes no sense in a method's merged policy, though each of its values does."""

from carrick_codegen._errors import ContractErrors
from carrick_codegen._order import Order
from carrick_codegen.model import Part, Policy

__all__ = ["ORDERS", "check"]

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
        order.check(policy.fields, errors)
    for name, part in policy.parts.items():
        if part.enabled and part.sound:
            _check_part(name, part, errors)


def _check_part(name: str, part: Part, errors: ContractErrors) -> None:
    for order in ORDERS.get(name, ()):
        order.check(part.fields, errors)
    field, advice = _NEEDED.get(name, ("", ""))
    if field and field not in part.fields:
        errors.add(part.at, f"{name} has no {field}; {advice}")
