"""What an order is, and what makes one acceptable. No I/O."""

from dataclasses import dataclass
from enum import Enum

from services.refusal import invalid
from shop.orders.v1.orders_pb2 import OrderLine, PlaceOrderRequest

__all__ = ["MAX_LINES", "MAX_QUANTITY", "Line", "Order", "Placed", "Refused", "Status", "check"]

MAX_LINES = 50
MAX_QUANTITY = 1_000
MAX_PRICE = 100_000_000


class Status(Enum):
    """Where an order stands."""

    PENDING = "PENDING"
    PLACED = "PLACED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Line:
    """One article of an order; the price is in cents."""

    sku: str
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order, with the keys under which its steps are done however often they are tried."""

    id: str
    key: str
    correlation_id: str
    customer_id: str
    lines: tuple[Line, ...]
    status: Status
    reason: str
    reserve_key: str
    charge_key: str

    @property
    def total(self) -> int:
        """What the customer pays, in cents."""
        return sum(line.quantity * line.unit_price for line in self.lines)


@dataclass(frozen=True, slots=True)
class Placed:
    """Stock is reserved and the customer is charged."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The order can't be had; whatever was taken for it is to be given back."""

    reason: str


def check(request: PlaceOrderRequest) -> tuple[Line, ...]:
    """Return the lines of an acceptable request, or raise ``INVALID_ARGUMENT`` that names each bad field."""
    violations: dict[str, str] = {}
    if not request.customer_id:
        violations["customer_id"] = "must not be empty"
    if not 1 <= len(request.lines) <= MAX_LINES:
        violations["lines"] = f"must be 1 to {MAX_LINES}, not {len(request.lines)}"
    for position, line in enumerate(request.lines[:MAX_LINES]):
        violations.update(_line_violations(f"lines[{position}]", line))
    if violations:
        raise invalid(violations)
    return tuple(Line(line.sku, line.quantity, line.unit_price) for line in request.lines)


def _line_violations(field: str, line: OrderLine) -> dict[str, str]:
    violations = {}
    if not line.sku:
        violations[f"{field}.sku"] = "must not be empty"
    if not 1 <= line.quantity <= MAX_QUANTITY:
        violations[f"{field}.quantity"] = f"must be 1 to {MAX_QUANTITY}, not {line.quantity}"
    if line.unit_price > MAX_PRICE:
        violations[f"{field}.unit_price"] = f"must be at most {MAX_PRICE} cents, not {line.unit_price}"
    return violations
