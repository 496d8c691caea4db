"""Dead letters looked at, sent again to the consumer that could not handle them, or dropped.

What is sent again goes to that consumer only, by a stream of its own: ``redrive.<consumer>.<stream>.<subject>``. It is
handled in the order of its key where the key waits for it, and otherwise as soon as may be.
"""

from collections.abc import AsyncIterator, Mapping

from carrick.errors import Code, MessagingError
from carrick.messaging.contract import Broker, Delivery, Message
from carrick.messaging.deadletter import DEAD_LETTER_STREAM, LETTER, ROOT
from carrick.messaging.letters import OURS, DeadLetter, LetterSelection

__all__ = ["AGAIN", "DROP", "REDRIVE_STREAM", "REDRIVE_SUBJECTS", "Redrive", "Redriven", "redrive_filter"]

REDRIVE_STREAM = "REDRIVES"
AGAIN = "again"
DROP = "drop"
_ROOT = "redrive"
_ACTION = "Carrick-Action"
_PAGE = 200

REDRIVE_SUBJECTS = (f"{_ROOT}.>",)


class Redrive:
    """What an operator does with dead letters."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def letters(self, consumer: str = "*", subject: str = ">", *, after: int = 0) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters of a consumer and of subjects, the oldest first. None is no error."""
        if await self._broker.holding(DEAD_LETTER_STREAM) is None:
            return
        while records := await self._broker.read(DEAD_LETTER_STREAM, f"{ROOT}.{consumer}.{subject}", after, _PAGE):
            for record in records:
                yield DeadLetter.of(record)
            after = records[-1].sequence

    async def selected(self, selection: LetterSelection) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters that are meant, the oldest first."""
        after = min(selection.numbers, default=1) - 1
        last = max(selection.numbers, default=None)
        async for letter in self.letters(selection.consumer or "*", after=after):
            if last is not None and letter.number > last:
                return
            if letter in selection:
                yield letter

    async def letter(self, number: int) -> DeadLetter | None:
        """Return one dead letter, or None when there is none of that number."""
        if await self._broker.holding(DEAD_LETTER_STREAM) is None:
            return None
        records = await self._broker.read(DEAD_LETTER_STREAM, f"{ROOT}.>", number - 1, 1)
        return DeadLetter.of(records[0]) if records and records[0].sequence == number else None

    async def send_again(self, letter: DeadLetter) -> None:
        """Have the consumer handle it once more. Done twice, it is sent once, or has its effect once."""
        await self._tell(await self.whole(letter), AGAIN)

    async def drop(self, letter: DeadLetter) -> None:
        """Forget it; what waits behind it goes on."""
        try:
            letter = await self.whole(letter)  # its key is among the headers
        except MessagingError as error:
            if error.code is not Code.NOT_FOUND:
                raise
        await self._tell(letter, DROP)

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """Return a letter with what was left out of it, from the message's own stream. Raises ``MessagingError``."""
        if not letter.left_out:
            return letter
        found = await self._broker.read(letter.stream, letter.subject, letter.sequence - 1, 1)
        if not found or found[0].sequence != letter.sequence:
            raise MessagingError(
                Code.NOT_FOUND,
                f"dead letter {letter.number} was too large to be kept whole, and its message {letter.sequence} is no "
                f"longer in stream {letter.stream}",
            )
        headers = {name: value for name, value in found[0].headers.items() if not name.lower().startswith("nats-")}
        return DeadLetter(
            **{name: getattr(letter, name) for name in DeadLetter.__slots__ if name not in ("data", "headers")},
            data=found[0].data,
            headers=headers,
        )

    async def _tell(self, letter: DeadLetter, action: str) -> None:
        if not (letter.consumer and letter.stream and letter.sequence and letter.subject):
            raise MessagingError(
                Code.INVALID_ARGUMENT, f"{letter.number} is no dead letter of carrick's: its headers are missing"
            )
        await self._broker.ensure_stream(REDRIVE_STREAM, REDRIVE_SUBJECTS)
        await self._broker.publish(
            Message(
                stream=REDRIVE_STREAM,
                subject=f"{_ROOT}.{letter.consumer}.{letter.stream}.{letter.subject}",
                id=f"{letter.number}:{action}",
                data=b"" if action == DROP else letter.data,
                headers={
                    **letter.headers,
                    _ACTION: action,
                    LETTER: str(letter.number),
                    "Carrick-Stream": letter.stream,
                    "Carrick-Sequence": str(letter.sequence),
                    "Carrick-Subject": letter.subject,
                },
            )
        )
        await self._broker.remove(DEAD_LETTER_STREAM, letter.number)


def redrive_filter(consumer: str, stream: str) -> str:
    """Return the subjects of what is sent again to a consumer of a stream."""
    return f"{_ROOT}.{consumer}.{stream}.>"


class Redriven:
    """A dead letter that comes again, as the message that it was. A delivery: acknowledged, it is gone for good."""

    __slots__ = ("_broker", "_delivery", "action", "data", "headers", "sequence", "stored_at", "stream", "subject")

    def __init__(self, delivery: Delivery, broker: Broker) -> None:
        self._delivery = delivery
        self._broker = broker
        ours = {name.lower(): value for name, value in delivery.headers.items() if name.lower().startswith(OURS)}
        self.action = ours.get(_ACTION.lower(), "")
        self.stream = ours.get("carrick-stream", "")
        self.subject = ours.get("carrick-subject", "")
        sequence = ours.get("carrick-sequence", "")
        self.sequence = int(sequence) if sequence.isdecimal() else 0
        self.data = delivery.data
        self.headers: Mapping[str, str] = {
            name: value
            for name, value in delivery.headers.items()
            if not name.lower().startswith((OURS, "nats-")) or name == LETTER
        }
        self.stored_at = delivery.stored_at

    @property
    def deliveries(self) -> int:
        """How often it was delivered."""
        return self._delivery.deliveries

    async def ack(self) -> None:
        """Settle it, and remove what said that it comes again."""
        await self._delivery.ack()
        await self._broker.remove(REDRIVE_STREAM, self._delivery.sequence)

    async def nak(self, delay: float = 0.0) -> None:
        """Ask for it again."""
        await self._delivery.nak(delay)

    async def in_progress(self) -> None:
        """Ask for more time."""
        await self._delivery.in_progress()
