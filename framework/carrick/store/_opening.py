"""Waiting for a database that is not there yet."""

import logging
from collections.abc import Awaitable, Callable

from carrick.clock import Clock
from carrick.errors import StoreError

__all__ = ["until_opened"]

_FIRST_POLL = 0.1
_LONGEST_POLL = 2.0
_logger = logging.getLogger("carrick.store")


async def until_opened(attempt: Callable[[], Awaitable[None]], name: str, timeout: float, clock: Clock) -> None:
    """Attempt it until it raises no ``StoreError``, with growing pauses and a warning before each.

    After ``timeout`` seconds the last error is raised, with how long was waited.
    """
    deadline = clock.monotonic() + timeout
    poll = _FIRST_POLL
    while True:
        try:
            return await attempt()
        except StoreError as error:
            left = deadline - clock.monotonic()
            if left <= 0:
                raise StoreError(error.code, f"{name} was not available for {timeout:g} s: {error.message}") from error
            _logger.warning("waiting for %s, %.0f s at most: %s", name, left, error.message)
            await clock.sleep(min(poll, left))
            poll = min(poll * 2, _LONGEST_POLL)
