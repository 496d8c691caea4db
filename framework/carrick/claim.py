"""The right to execute something once, as the handler's transaction sees it.

A :class:`Claim` belongs to a keyed call, a :class:`Receipt` to an event. Both are fulfilled by the transaction that
holds the effect, and only when that transaction commits.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from carrick.method import MethodSpec

__all__ = ["Claim", "ClaimOutcome", "ClaimStore", "Claimed", "InFlight", "Mismatch", "Receipt", "Replay"]


class Claim:
    """One execution of a keyed call, identified by a token that nobody else has."""

    __slots__ = ("fulfilled", "key", "method", "token")

    def __init__(self, method: MethodSpec[Any, Any], key: str, token: str) -> None:
        self.method = method
        self.key = key
        self.token = token
        self.fulfilled = False

    def fulfil(self) -> None:
        """Note that the reply was committed."""
        self.fulfilled = True


class Receipt:
    """One delivery of an event to one consumer."""

    __slots__ = ("consumer", "event_id", "fulfilled")

    def __init__(self, consumer: str, event_id: str) -> None:
        self.consumer = consumer
        self.event_id = event_id
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
class InFlight:
    """Another execution holds the key, for ``remaining`` seconds at most."""

    remaining: float


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key was used before with another request."""


ClaimOutcome: TypeAlias = Claimed | Replay | InFlight | Mismatch


class ClaimStore(Protocol):
    """Keeps idempotency records. Each method is a short transaction of its own."""

    async def claim(self, method: MethodSpec[Any, Any], key: str, fingerprint: bytes, lease: float) -> ClaimOutcome:
        """Claim a key for ``lease`` seconds, or say why it can't be had. Atomic between processes."""
        ...

    async def release(self, claim: Claim) -> None:
        """Give an unfulfilled claim back, so that the key can be claimed at once. Others' claims stay untouched."""
        ...
