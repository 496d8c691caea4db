"""The bank behind payments, simulated: an example has no real one. It can be told to be slow or out of order."""

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from carrick import CarrickError, Code
from services.refusal import refusal

__all__ = ["BROKE", "Bank", "Mood"]

BROKE = "broke-"
"""Customers whose ids begin so have no money."""

_logger = logging.getLogger("shop.payments.bank")


@dataclass(frozen=True, slots=True)
class Mood:
    """How the bank behaves: seconds an authorisation takes, and whether it fails."""

    latency: float = 0.002
    failing: bool = False


class Bank:
    """Authorises charges. ``control`` is a JSON file with the fields of :class:`Mood`, read when it changes."""

    def __init__(self, control: Path | None) -> None:
        self._control = control
        self._read_at = 0
        self._mood = Mood()

    async def authorise(self, customer_id: str, amount: int) -> None:
        """Return when the customer can pay.

        Raises a refusal when not, and ``UNAVAILABLE`` when the bank is out of order.
        """
        mood = self._current()
        await asyncio.sleep(mood.latency)
        if mood.failing:
            raise CarrickError(Code.UNAVAILABLE, "the bank is out of order")
        if customer_id.startswith(BROKE):
            raise refusal("DECLINED", f"the bank declines {amount} cents for {customer_id}")

    def _current(self) -> Mood:
        if self._control is None:
            return self._mood
        try:
            changed = self._control.stat().st_mtime_ns
            if changed != self._read_at:
                self._mood = Mood(**json.loads(self._control.read_text()))
                self._read_at = changed
                _logger.warning("the bank is now %s", self._mood)
        except FileNotFoundError:
            self._mood = Mood()
        return self._mood
