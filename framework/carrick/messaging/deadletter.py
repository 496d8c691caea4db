"""Dead letters: messages that a consumer could not handle, kept with the reason."""

import re
import traceback
from dataclasses import replace

from carrick.errors import Code, MessagingError
from carrick.messaging.contract import Broker, Message
from carrick.messaging.inbound import Received

__all__ = ["DEAD_LETTER_STREAM", "LETTER", "ROOT", "DeadLetters", "stack_of"]

DEAD_LETTER_STREAM = "DEADLETTERS"

ROOT = "deadletter"
LETTER = "Carrick-Letter"
"""Of a message that was a dead letter and is sent again: its number among them."""

_MAX_REASON = 1024
_MAX_STACK = 8192
_NO_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]").sub


class DeadLetters:
    """Puts messages aside in the stream ``DEADLETTERS``, on ``deadletter.<consumer>.<subject>``.

    A dead letter has the message's bytes and headers, and beside them ``Carrick-Reason``, ``-Consumer``, ``-Stream``,
    ``-Sequence``, ``-Subject``, ``-Deliveries``, ``-Attempts`` and ``-Stack``: where the handler's last error came
    from, its lines joined by ``|``. Characters that a header's name must not have become ``_``.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._ready = False

    async def put(self, consumer: str, received: Received, reason: str, *, attempts: int = 0, stack: str = "") -> None:
        """Return once the dead letter is stored. Raises ``MessagingError``; the message must then not be settled.

        Putting the same message twice within the stream's window for duplicates stores it once; but one that was sent
        again, and could not be handled once more, is another dead letter.
        """
        ready, self._ready = self._ready, False  # after a failure, look for the stream again
        if not ready:
            await self._broker.ensure_stream(DEAD_LETTER_STREAM, [f"{ROOT}.>"])
        kept = {
            _NO_TOKEN("_", name): value
            for name, value in received.headers.items()
            if not name.lower().startswith("nats-")
        }
        ours = {
            "Carrick-Reason": " ".join(reason.split())[:_MAX_REASON],
            "Carrick-Consumer": consumer,
            "Carrick-Stream": received.stream,
            "Carrick-Sequence": str(received.sequence),
            "Carrick-Subject": received.subject,
            "Carrick-Deliveries": str(received.deliveries),
            "Carrick-Attempts": str(attempts),
        }
        if stack:
            ours["Carrick-Stack"] = stack
        message = Message(
            stream=DEAD_LETTER_STREAM,
            subject=f"{ROOT}.{consumer}.{received.subject}",
            id=":".join((consumer, received.stream, str(received.sequence), received.headers.get(LETTER, ""))),
            data=received.data,
            headers={**kept, **ours},
        )
        await self._publish(message)
        self._ready = True

    async def _publish(self, message: Message) -> None:
        try:
            await self._broker.publish(message)
        except MessagingError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                raise
            ours = {name: value for name, value in message.headers.items() if name.startswith("Carrick-")}
            await self._broker.publish(  # too large with our words: the bytes stay in their stream, at Carrick-Sequence
                replace(message, data=b"", headers={**ours, "Carrick-Left-Out": f"{len(message.data)} bytes"})
            )


def stack_of(error: BaseException) -> str:
    """Return where an error came from, as a header's value: its last lines, without what it says."""
    lines = [
        f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line or ''}".strip()
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return " | ".join(lines).encode("ascii", "replace").decode()[-_MAX_STACK:]
