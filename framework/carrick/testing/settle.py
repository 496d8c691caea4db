"""Waiting until everything that was set off has come to its end."""

import asyncio
from typing import Protocol

__all__ = ["Settling", "settle"]

_PAUSE = 0.02


class Settling(Protocol):
    """Something that works things off: a relay, a subscriber."""

    @property
    def processed(self) -> int:
        """How many things were worked off so far."""
        ...

    async def pending(self) -> int:
        """Count what is still to be done."""
        ...


async def settle(*parts: Settling, timeout: float = 10.0) -> None:
    """Return when no part has anything pending and none did anything between two looks at all of them.

    The two looks make it sure for chains, where one part's work becomes another's. Raises ``TimeoutError`` that says
    what is still pending after ``timeout`` seconds.
    """
    before: list[int] | None = None
    pending: list[int] = []
    try:
        async with asyncio.timeout(timeout):
            while True:
                pending = [await part.pending() for part in parts]
                processed = [part.processed for part in parts]
                if not any(pending) and processed == before:
                    return
                before = None if any(pending) else processed
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        named = ", ".join(f"{type(part).__name__}: {count}" for part, count in zip(parts, pending, strict=False))
        raise TimeoutError(f"not settled after {timeout:g} s; pending: {named or 'not known'}") from None
