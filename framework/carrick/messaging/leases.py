"""Which process consumes which partitions: leases that the broker keeps, and forgets by its own clock.

A lease is the last message of a subject, in a stream that removes it after so many seconds. It is taken, renewed and
given back by appending to what was seen last, which the broker refuses to all but one. Leases share the work; what
keeps events in order when two hold the same partition for a moment is the ordered consumer, and what keeps their
effects from happening twice the inbox.
"""

import random
from collections.abc import Iterable, Mapping

from carrick.clock import Clock
from carrick.errors import Code, MessagingError
from carrick.event import PARTITIONS, partition_in
from carrick.ids import random_id
from carrick.messaging.contract import Broker, Message, Record
from carrick.sharing import surplus, wanted

__all__ = ["LEASE_STREAM", "Leases", "holder_named", "lease_filter", "partition_leased"]

LEASE_STREAM = "LEASES"
_ROOT = "lease"
_FORGOTTEN = 86_400.0


class Leases:
    """The partitions of one consumer that one of its processes holds, for ``ttl`` seconds at a time."""

    def __init__(self, broker: Broker, stream: str, consumer: str, *, member: str, ttl: float, clock: Clock) -> None:
        self._broker = broker
        self._prefix = f"{_ROOT}.{stream}.{consumer}"
        self._member = member
        self._id = random_id()
        self._ttl = ttl
        self._clock = clock
        self._held: dict[int, float] = {}
        self.members = 1
        """How many processes share the partitions, by what was seen last."""

    @property
    def held(self) -> frozenset[int]:
        """What is held, as far as this process knows."""
        now = self._clock.monotonic()
        return frozenset(partition for partition, until in self._held.items() if until > now)

    @property
    def surplus(self) -> list[int]:
        """What should be given back for others to have their share."""
        return surplus(self.held, self.members, PARTITIONS)

    async def share(self) -> frozenset[int]:
        """Say that this process is there, renew what it holds, and take what is free of its share.

        Return what was taken: it may have been another's meanwhile, even if this process held it before. Raises
        ``MessagingError``; what is held then stays so until it ends by itself.
        """
        await self._broker.ensure_stream(LEASE_STREAM, [f"{_ROOT}.>"], last_only_for=_FORGOTTEN)
        began, me = self._clock.monotonic(), f"{self._id} {self._member}".encode()
        seen = await self._seen()
        self.members = self._count(seen)
        holders = [_holder(seen.get(self._subject(partition))) for partition in range(PARTITIONS)]
        mine = [partition for partition, holder in enumerate(holders) if holder == self._id]
        free = [partition for partition, holder in enumerate(holders) if not holder]
        more = min(wanted(len(mine), self.members, PARTITIONS), len(free))
        chosen = {self._subject(partition): partition for partition in (*mine, *random.sample(free, more))}
        granted = await self._write([self._me, *chosen], seen, me)
        self._held = {chosen[subject]: began + self._ttl for subject in granted & chosen.keys()}
        return frozenset(self._held) - frozenset(mine)

    async def let_go(self, partitions: Iterable[int]) -> None:
        """Give partitions back, so that others need not wait until their leases end."""
        gone = list(partitions)
        await self._withdraw([self._subject(partition) for partition in gone])
        for partition in gone:
            self._held.pop(partition, None)

    async def leave(self) -> None:
        """Give everything back."""
        gone, self._held = list(self._held), {}
        await self._withdraw([*(self._subject(partition) for partition in gone), self._me])

    @property
    def _me(self) -> str:
        return f"{self._prefix}.member.{self._id}"

    def _subject(self, partition: int) -> str:
        return f"{self._prefix}.p{partition:02d}"

    def _count(self, seen: Mapping[str, Record]) -> int:
        members = {subject for subject, record in seen.items() if ".member." in subject and _holder(record)}
        return len(members | {self._me})

    def _is_mine(self, record: Record | None) -> bool:
        return _holder(record) == self._id

    async def _seen(self) -> dict[str, Record]:
        return {record.subject: record for record in await self._broker.latest(LEASE_STREAM, f"{self._prefix}.>")}

    async def _withdraw(self, subjects: list[str]) -> None:
        seen = await self._seen()
        await self._write([subject for subject in subjects if self._is_mine(seen.get(subject))], seen, b"")

    async def _write(self, subjects: list[str], seen: Mapping[str, Record], data: bytes) -> set[str]:
        """Write leases behind those that were seen; return for which of them nobody else had come first."""
        if not subjects or await self._append(subjects, seen, data):
            return set(subjects)
        seen = await self._seen()  # one of them is another's now, and maybe not all were refused
        ours = [subject for subject in subjects if _holder(seen.get(subject)) in ("", self._id)]
        return {subject for subject in ours if await self._append([subject], seen, data)}

    async def _append(self, subjects: list[str], seen: Mapping[str, Record], data: bytes) -> bool:
        messages = [
            Message(stream=LEASE_STREAM, subject=subject, id=random_id(), data=data, ttl=self._ttl)
            for subject in subjects
        ]
        expected = {subject: seen[subject].sequence if subject in seen else 0 for subject in subjects}
        try:
            await self._broker.append(messages, expected)
        except MessagingError as error:
            if error.code is not Code.ABORTED:
                raise
            return False
        return True


def lease_filter(stream: str, consumer: str) -> str:
    """Return the subjects of the leases of a consumer's partitions."""
    return f"{_ROOT}.{stream}.{consumer}.*"


def partition_leased(record: Record) -> int | None:
    """Return the partition that a lease is about."""
    return partition_in(record.subject)


def holder_named(record: Record) -> str:
    """Return the host and process id of who holds a lease, or nothing where it was given back."""
    return record.data.decode(errors="replace").partition(" ")[2]


def _holder(record: Record | None) -> str:
    """Return the id of who holds a lease, or nothing where it was given back or has ended."""
    return "" if record is None else record.data.decode(errors="replace").partition(" ")[0]
