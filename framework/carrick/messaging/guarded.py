"""A broker behind a guard: refused at once while it is known to be away."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from carrick.errors import DeadlineError, MessagingError, RejectedError
from carrick.guard import Guard, is_outage
from carrick.messaging.contract import Broker, Consumer, Holding, Message, Place, Record, Stored

__all__ = ["GuardedBroker"]

T = TypeVar("T")


class GuardedBroker:
    """Lets what is asked of a broker through a guard; somebody else opens and closes the broker.

    What is refused raises ``MessagingError`` (``UNAVAILABLE``), and was certainly not published. All that is asked may
    be tried again: a stream stores an id once, and appends nothing where it has gone on. Fetching is not guarded, since
    waiting for messages says nothing about the broker; a subscriber whose fetch fails asks for its stream again, and
    that is.
    """

    def __init__(self, broker: Broker, guard: Guard) -> None:
        self._broker = broker
        self._guard = guard

    async def publish(self, message: Message) -> None:
        """Publish and wait for the acknowledgement."""
        await self._ask(partial(self._broker.publish, message))

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        """Store messages where the last sequences are as expected."""
        return await self._ask(partial(self._broker.append, messages, expected))

    async def last(self, stream: str, subject: str) -> int:
        """Return a subject's last sequence, or 0."""
        return await self._ask(partial(self._broker.last, stream, subject))

    async def stored_after(self, stream: str, subject: str, sequence: int, most: int) -> Sequence[Stored]:
        """Return a subject's messages after a sequence."""
        return await self._ask(partial(self._broker.stored_after, stream, subject, sequence, most))

    async def latest(self, stream: str, pattern: str) -> Sequence[Record]:
        """Return the last messages of subjects."""
        return await self._ask(partial(self._broker.latest, stream, pattern))

    async def read(self, stream: str, pattern: str, after: int, most: int) -> Sequence[Record]:
        """Return messages after a sequence."""
        return await self._ask(partial(self._broker.read, stream, pattern, after, most))

    async def remove(self, stream: str, sequence: int) -> bool:
        """Remove a message. Tried again, it may say that it was not there."""
        return await self._ask(partial(self._broker.remove, stream, sequence))

    async def place(self, stream: str, name: str) -> Place | None:
        """Return where a durable consumer is."""
        return await self._ask(partial(self._broker.place, stream, name))

    async def places(self, stream: str) -> Sequence[str]:
        """Return the names of a stream's durable consumers."""
        return await self._ask(partial(self._broker.places, stream))

    async def ensure_stream(self, name: str, subjects: Sequence[str], *, last_only_for: float | None = None) -> None:
        """Create the stream, or check the subjects of the one there."""
        await self._ask(partial(self._broker.ensure_stream, name, subjects, last_only_for=last_only_for))

    async def holding(self, stream: str) -> Holding | None:
        """Return how much a stream holds."""
        return await self._ask(partial(self._broker.holding, stream))

    async def consume(
        self,
        stream: str,
        name: str,
        filters: Sequence[str],
        *,
        ack_wait: float,
        max_in_flight: int,
        max_bytes: int = 64 * 1024 * 1024,
        ordered: bool = False,
        after: int = 0,
    ) -> Consumer:
        """Create or find the durable consumer."""
        return await self._ask(
            partial(
                self._broker.consume,
                stream,
                name,
                filters,
                ack_wait=ack_wait,
                max_in_flight=max_in_flight,
                max_bytes=max_bytes,
                ordered=ordered,
                after=after,
            )
        )

    async def pause(self, stream: str, name: str, until: float) -> None:
        """Pause a durable consumer until a moment."""
        await self._ask(partial(self._broker.pause, stream, name, until))

    async def _ask(self, function: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._guard.call(function, operation="request", failed=_not_available, repeatable=True)
        except (RejectedError, DeadlineError) as error:  # the guard's words, in those of a broker
            raise MessagingError(error.code, error.message, attempt=error.attempt) from error


def _not_available(error: BaseException) -> bool:
    return isinstance(error, MessagingError) and is_outage(error)
