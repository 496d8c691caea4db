"""nats-py's client, with a straight way for messages that come by the thousand.

nats-py parses each message's headers, makes an object of it, puts it into a queue, and wakes a task: half of what it
costs to consume. Here who listens to a subject gets the bytes as they were read, in order and without a task. What is
overridden is private to nats-py, the same in 2.12 and 2.16, and checked when a broker is made (see ``wire.py``).
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

__all__ = ["DirectClient", "Listener"]

Listener: TypeAlias = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Takes subject, reply, data, and the block of headers if there is one."""


class DirectClient(Client):
    """A connection to NATS on which one can listen without a queue in between."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: dict[int, Listener] = {}

    async def listen(self, subject: str, listener: Listener) -> Subscription:
        """Call ``listener`` with each message of a subject, also after reconnects. Raises nats-py's errors."""
        subscription = await self.subscribe(subject, cb=_queued)
        self._listeners[subscription._id] = listener
        return subscription

    async def unlisten(self, subscription: Subscription) -> None:
        """Stop that. Nothing is raised: a connection that is gone takes its subscriptions with it."""
        self._listeners.pop(subscription._id, None)
        with suppress(NatsError):
            await subscription.unsubscribe()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        listener = self._listeners.get(sid)
        if listener is None:
            return await super()._process_msg(sid, subject, reply, data, headers)
        try:
            listener(subject, reply, data, headers)
        except Exception as error:  # noqa: BLE001  # the loop that reads would end
            await self._error_cb(error)
        return None


async def _queued(message: Msg) -> None:
    """Take a message that came in between: nobody knows of the subject yet."""
