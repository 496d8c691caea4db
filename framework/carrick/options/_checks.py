"""What options have in common: a switch, and checks in words that say what to write instead."""

import math
from dataclasses import dataclass

from carrick.errors import Code, ConfigurationError

__all__ = ["Part", "require", "require_codes", "require_ratio", "require_time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One policy's options; false where it is switched off."""

    enabled: bool = True
    """False takes a policy away that a contract, or a place further off, asks for."""

    def __bool__(self) -> bool:
        return self.enabled


def require(condition: bool, message: str) -> None:
    """Raise ``ConfigurationError`` unless the condition holds."""
    if not condition:
        raise ConfigurationError(message)


def require_time(name: str, value: object, *, zero: bool = False) -> None:
    """Refuse what is no time span, like a contract's "2s"; ``zero`` lets 0 pass."""
    require(
        isinstance(value, (int, float)) and math.isfinite(value) and (value > 0 or (zero and value == 0)),
        f"{name} must be a number of seconds {'from 0 up' if zero else 'above 0'}, not {value!r}; "
        f"write for example {name}=0.5",
    )


def require_ratio(name: str, value: float, example: str) -> None:
    """Refuse what is no share."""
    require(0 < value <= 1, f"{name} must be above 0 and at most 1, not {value}; {example}")


def require_codes(codes: frozenset[Code]) -> None:
    """Refuse OK among the codes of failures."""
    require(Code.OK not in codes, "codes must not hold OK: a success is not tried again; take OK out")
