"""Dead letters as an operator sees them, and which of them are meant."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from carrick.messaging.cloudevents import read
from carrick.messaging.contract import Record
from carrick.messaging.deadletter import LETTER
from carrick.subjects import matches_any_partition

__all__ = ["OURS", "DeadLetter", "LetterSelection"]

OURS = "carrick-"
"""How the names of headers begin that a dead letter has beside those of its message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that a consumer could not handle."""

    number: int
    """Its own, among the dead letters."""
    consumer: str
    stream: str
    sequence: int
    """Its place in its stream."""
    subject: str
    data: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Those that it was published with."""
    reason: str
    attempts: int
    stack: str
    dead_at: float
    """Seconds since the epoch, by the broker's clock."""
    left_out: bool = False
    """Whether its data and headers were too large to be kept beside the reason: they are in its stream only."""

    @property
    def type(self) -> str:
        """CloudEvents' type, or nothing."""
        return read(self.headers, fallback_id="").type or ""

    @property
    def key(self) -> str:
        """Key of the event, or nothing."""
        return read(self.headers, fallback_id="").key or ""

    @classmethod
    def of(cls, record: Record) -> "DeadLetter":
        """Read one from its stream; what somebody else put there has nothing where nothing is known."""
        ours = {name.lower(): value for name, value in record.headers.items() if name.lower().startswith(OURS)}
        sequence, attempts = ours.get("carrick-sequence", ""), ours.get("carrick-attempts", "")
        return cls(
            number=record.sequence,
            consumer=ours.get("carrick-consumer", ""),
            stream=ours.get("carrick-stream", ""),
            sequence=int(sequence) if sequence.isdecimal() else 0,
            subject=ours.get("carrick-subject", ""),
            data=record.data,
            headers={
                name: value
                for name, value in record.headers.items()
                if not name.lower().startswith((OURS, "nats-")) or name == LETTER
            },
            reason=ours.get("carrick-reason", ""),
            attempts=int(attempts) if attempts.isdecimal() else 0,
            stack=ours.get("carrick-stack", ""),
            dead_at=record.stored_at,
            left_out="carrick-left-out" in ours,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSelection:
    """Dead letters with all of what is given; without anything it is every one."""

    numbers: AbstractSet[int] = frozenset()
    consumer: str | None = None
    subject: str | None = None
    """Subject or pattern, as it was published to; one without partition stands for all partitions."""
    type: str | None = None
    key: str | None = None
    reason: str | None = None
    """A part of it, in capitals or not."""
    since: float | None = None
    """Seconds since the epoch, by the broker's clock."""
    until: float | None = None
    """As ``since``; this moment is not included."""

    @property
    def everything(self) -> bool:
        """Whether nothing was given."""
        return self == LetterSelection()

    def __contains__(self, letter: DeadLetter) -> bool:
        return (
            (not self.numbers or letter.number in self.numbers)
            and self.consumer in (None, letter.consumer)
            and (self.subject is None or matches_any_partition(letter.subject, self.subject))
            and self.type in (None, letter.type)
            and self.key in (None, letter.key)
            and (self.reason is None or self.reason.lower() in letter.reason.lower())
            and (self.since is None or letter.dead_at >= self.since)
            and (self.until is None or letter.dead_at < self.until)
        )
