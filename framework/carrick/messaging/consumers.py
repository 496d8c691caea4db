"""How a consumer is doing, over all its places in a stream, and pausing it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from carrick.errors import Code, MessagingError
from carrick.messaging.contract import Broker, Place
from carrick.messaging.leases import LEASE_STREAM, holder_named, lease_filter, partition_leased
from carrick.messaging.redrive import Redrive
from carrick.store.parking import ParkedCount, Parking

__all__ = ["ConsumerStatus", "PlaceStatus", "consumer_status", "pause_consumer"]

_PARTITION = re.compile(r"(.+)-p(\d\d)").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceStatus:
    """A consumer's place in a partition, or in the events without an order."""

    partition: int | None
    place: Place
    holder: str
    """Process that reads it, as far as a lease says so: host and process id."""
    parked: ParkedCount | None
    """None where the service's database was not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatus:
    """All places of a consumer."""

    places: Sequence[PlaceStatus]
    dead_letters: int

    @property
    def unsettled(self) -> int:
        """Events that the broker has and that are not settled."""
        return sum(each.place.pending + each.place.in_flight for each in self.places)


async def consumer_status(broker: Broker, stream: str, name: str, parking: Parking | None = None) -> ConsumerStatus:
    """Look at a consumer. Raises ``MessagingError``: ``NOT_FOUND`` that names those that are there."""
    names = await _places(broker, stream, name)
    holders = await _holders(broker, stream, name)
    parked = None if parking is None else await parking.counts(name, stream)
    found = []
    for each in names:
        place = await broker.place(stream, each)
        if place is not None:
            partition = None if each == name else int(each[-2:])
            of_partition = None if parked is None else parked.get(-1 if partition is None else partition, ParkedCount())
            holder = "" if partition is None else holders.get(partition, "")
            found.append(PlaceStatus(partition=partition, place=place, holder=holder, parked=of_partition))
    letters = [letter.number async for letter in Redrive(broker).letters(name) if letter.stream == stream]
    return ConsumerStatus(places=found, dead_letters=len(letters))


async def pause_consumer(broker: Broker, stream: str, name: str, until: float) -> int:
    """Pause all places of a consumer until a moment, one in the past to resume; return how many they are.

    Raises ``MessagingError`` as ``consumer_status`` does.
    """
    names = await _places(broker, stream, name)
    for each in names:
        await broker.pause(stream, each, until)
    return len(names)


async def _places(broker: Broker, stream: str, name: str) -> list[str]:
    if await broker.holding(stream) is None:
        raise MessagingError(Code.NOT_FOUND, f"there is no stream {stream}")
    there = {each: _consumer_of(each) for each in await broker.places(stream)}
    found = sorted(each for each, consumer in there.items() if consumer == name)
    if not found:
        others = ", ".join(sorted(set(there.values()))) or "none"
        raise MessagingError(Code.NOT_FOUND, f"stream {stream} has no consumer {name}; it has: {others}")
    return found


def _consumer_of(place: str) -> str:
    parts = _PARTITION(place)
    return place if parts is None else parts[1]


async def _holders(broker: Broker, stream: str, name: str) -> dict[int, str]:
    if await broker.holding(LEASE_STREAM) is None:
        return {}
    found = await broker.latest(LEASE_STREAM, lease_filter(stream, name))
    leased = {partition_leased(record): holder_named(record) for record in found}
    return {partition: holder for partition, holder in leased.items() if partition is not None}
