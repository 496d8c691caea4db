"""Durations as contracts write them: a number and a unit, ``250ms``, ``2s``, ``1.5m``, ``24h``."""

import math
import re
from decimal import Decimal

__all__ = ["seconds"]

_SYNTAX = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


def seconds(text: str, *, zero: bool = False) -> float:
    """Return a duration in seconds, none only if ``zero``. Raises ValueError that says what to write instead."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ValueError(
            f'must be a number with a unit (ms, s, m or h) and nothing between, not "{text}"; '
            f'write for example "{_suggestion(text)}"'
        )
    number, unit = match.groups()
    value = float(Decimal(number) * _SECONDS[unit])
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(
            f'must be a time {"from zero up" if zero else "above zero"}, not "{text}"; write for example "2s"'
        )
    return abs(value)  # "-0s" is zero too


def _suggestion(text: str) -> str:
    compact = "".join(text.lower().split()).lstrip("-")
    candidates = (compact, f"{compact}s", f"0{compact}", re.sub("(?<=[0-9])([a-z])[a-z]+$", r"\1", compact))
    return next((candidate for candidate in candidates if _SYNTAX.fullmatch(candidate)), "2s")
