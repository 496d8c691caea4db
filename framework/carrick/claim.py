"""The right to execute something once, as the handler's transaction sees it.

A :class:`Claim` belongs to a keyed call, a :class:`Receipt` to an event. Both are fulfilled by the transaction that
holds the effect, and only when that transaction commits.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from google.protobuf.message import Message

from carrick.errors import CarrickError
from carrick.method import MethodSpec

__all__ = [
    "Claim",
    "ClaimOutcome",
    "ClaimStore",
    "Claimed",
    "InFlight",
    "Mismatch",
    "Receipt",
    "Recorded",
    "Refusal",
    "Replay",
    "Tenure",
]


class Claim:
    """One execution of a keyed call, identified by a token that nobody else has."""

    __slots__ = ("fulfilled", "key", "method", "refusal", "token")

    def __init__(self, method: MethodSpec[Any, Any], key: str, token: str) -> None:
        self.method = method
        self.key = key
        self.token = token
        self.fulfilled = False
        self.refusal: CarrickError | None = None
        """The error that was committed in place of a reply."""

    def fulfil(self) -> None:
        """Note that the reply was committed."""
        self.fulfilled = True

    def refuse(self, error: CarrickError) -> None:
        """Note that an error was committed in place of a reply."""
        self.refusal = error
        self.fulfilled = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """The time for which a process consumes a partition of a stream, until the next one does."""

    consumer: str
    stream: str
    partition: int
    epoch: int


class Receipt:
    """One delivery of an event to one consumer, good for as long as its ``tenure`` lasts, if it has any."""

    __slots__ = ("consumer", "event_id", "fulfilled", "tenure")

    def __init__(self, consumer: str, event_id: str, tenure: Tenure | None = None) -> None:
        self.consumer = consumer
        self.event_id = event_id
        self.tenure = tenure
        self.fulfilled = False

    def fulfil(self) -> None:
        """Note that the effect was committed."""
        self.fulfilled = True


@dataclass(frozen=True, slots=True)
class Claimed:
    """The call is this execution's to make."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Replay:
    """The call was executed before; this was its reply."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """The call was executed before, and answered with this ``google.rpc.Status``."""

    status: bytes


@dataclass(frozen=True, slots=True)
class InFlight:
    """Another execution holds the key, for ``remaining`` seconds at most."""

    remaining: float


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key was used before with another request."""


ClaimOutcome: TypeAlias = Claimed | Replay | Refusal | InFlight | Mismatch


@dataclass(frozen=True, slots=True)
class Recorded:
    """An answer that is given again: what filters see of it, and the bytes that are sent for it."""

    outcome: Message | CarrickError
    encoded: bytes

    def encode(self, reply: Message) -> bytes:
        """Return the recorded bytes for a reply that says the same; where a filter made it another, that one's."""
        if not isinstance(self.outcome, CarrickError):
            recorded = type(reply).FromString(self.encoded)
            if recorded.SerializeToString(deterministic=True) == reply.SerializeToString(deterministic=True):
                return self.encoded
        return reply.SerializeToString()


class ClaimStore(Protocol):
    """Keeps idempotency records. Each method is a short transaction of its own.

    What a method does under a claim it does under the claim's token: where another execution has taken the claim over,
    it does nothing.
    """

    async def claim(self, method: MethodSpec[Any, Any], key: str, fingerprint: bytes, lease: float) -> ClaimOutcome:
        """Claim a key for ``lease`` seconds, or say why it can't be had. Atomic between processes."""
        ...

    async def release(self, claim: Claim) -> None:
        """Give an unfulfilled claim back, so that the same request can claim its key at once."""
        ...

    async def renew(self, claim: Claim, lease: float) -> bool:
        """Hold an unfulfilled claim for ``lease`` seconds from now. False where there is nothing left to hold."""
        ...

    async def refuse(self, claim: Claim, status: bytes) -> bool:
        """Record an encoded ``google.rpc.Status`` as the answer. False where the claim is another's, or fulfilled."""
        ...

    async def purge(self, most: int = 500) -> int:
        """Remove at most ``most`` records that have expired; return how many went."""
        ...
