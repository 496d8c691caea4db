"""Publishes that the server forbids: it says so on the connection only, and acknowledges nothing."""

import asyncio
import re
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

from carrick.errors import Code, MessagingError

__all__ = ["Denials"]

T = TypeVar("T")
_DENIED = re.compile(r'permissions violation for publish to "(.+)"', re.IGNORECASE).search


class Denials:
    """Ends what waits for an acknowledgement when word comes that its subject is forbidden. For one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[str], Collection[str]] = {}

    def heard(self, error: Exception) -> bool:
        """Say whether an error that came on the connection is a denial, and end those whom it concerns."""
        found = _DENIED(str(error))
        if found is None:
            return False
        for denied, subjects in self._waiting.items():
            if found[1] in subjects and not denied.done():
                denied.set_result(found[1])
        return True

    async def unless_denied(self, subjects: Collection[str], publishing: Coroutine[Any, Any, T]) -> T:
        """Publish to some subjects. Raises ``PERMISSION_DENIED`` for one that is forbidden."""
        denied: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(publishing)
        self._waiting[denied] = subjects
        try:
            await asyncio.wait((task, denied), return_when=asyncio.FIRST_COMPLETED)
            if denied.done():
                raise MessagingError(
                    Code.PERMISSION_DENIED,
                    f"the server does not let this user publish to {denied.result()}; see its authorization",
                )
            return task.result()
        finally:
            del self._waiting[denied]
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # where it was not asked for
