"""What an order is, and how it can end. No I/O."""

from dataclasses import dataclass
from enum import Enum

__all__ = ["Line", "Order", "Placed", "Refused", "Status"]


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
