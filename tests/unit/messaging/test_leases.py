"""Leases: processes share the partitions, each held by one, and a dead one's are free when its time is over."""

from dataclasses import dataclass, field

import pytest

from carrick.errors import MessagingError
from carrick.event import PARTITIONS
from carrick.messaging.leases import Leases
from carrick.testing import FakeClock, MemoryBroker

ALL = frozenset(range(PARTITIONS))


@dataclass
class Site:
    """A broker with a clock that stands still."""

    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(self.clock)

    def member(self, name: str = "m", *, consumer: str = "c") -> Leases:
        """Make one process's view."""
        return Leases(self.broker, "S", consumer, member=name, ttl=10.0, clock=self.clock)


@pytest.fixture
def site() -> Site:
    """A fresh broker."""
    return Site()


async def _even(*members: Leases) -> None:
    """Let everybody look, give back and take, until it is even."""
    for _ in range(3):
        for each in members:
            await each.share()
            await each.let_go(each.surplus)


async def test_one_alone_has_everything(site: Site) -> None:
    """And keeps it as long as it says so."""
    alone = site.member()
    for _ in range(10):
        await alone.share()
        assert alone.held == ALL
        site.clock.advance(4.0)


@pytest.mark.parametrize("count", [2, 3, 5, 20])
async def test_members_share_evenly(site: Site, count: int) -> None:
    """Nobody has more than a fair share, nothing is held twice, and nothing is left over."""
    members = [site.member() for _ in range(count)]
    await _even(*members)
    held = [each.held for each in members]
    assert sorted(partition for each in held for partition in each) == sorted(ALL)
    assert max(map(len, held)) <= -(-PARTITIONS // count)


async def test_other_consumers_have_partitions_of_their_own(site: Site) -> None:
    """A name is a world of its own."""
    one, other = site.member(consumer="one"), site.member(consumer="other")
    await one.share()
    await other.share()
    assert one.held == other.held == ALL


async def test_what_is_held_is_not_taken(site: Site) -> None:
    """A newcomer waits for what is given back."""
    first, second = site.member(), site.member()
    await first.share()
    await second.share()
    assert second.held == frozenset()
    await first.share()
    assert len(first.surplus) == PARTITIONS // 2
    await first.let_go(first.surplus)
    await second.share()
    assert first.held | second.held == ALL
    assert not first.held & second.held


async def test_a_dead_members_leases_end(site: Site) -> None:
    """After ``ttl`` seconds of silence others have its partitions, and it knows that itself."""
    dead, heir = site.member(), site.member()
    await _even(dead, heir)
    site.clock.advance(9.0)
    await heir.share()
    assert len(heir.held) == PARTITIONS // 2
    site.clock.advance(1.5)
    assert dead.held == frozenset()
    await heir.share()
    assert heir.held == ALL
    assert await dead.share() == frozenset()
    assert dead.held == frozenset()


async def test_what_was_lost_and_taken_again_is_told(site: Site) -> None:
    """It may have been another's in between."""
    alone = site.member()
    assert await alone.share() == ALL
    assert await alone.share() == frozenset()
    site.clock.advance(11.0)
    assert await alone.share() == ALL


async def test_who_leaves_is_no_member_any_more(site: Site) -> None:
    """Its partitions are free at once."""
    going, staying = site.member(), site.member()
    await _even(going, staying)
    await going.leave()
    await staying.share()
    assert staying.held == ALL
    assert going.held == frozenset()


async def test_an_outage_leaves_what_is_held_until_it_ends(site: Site) -> None:
    """The broker that is away is heard of; what was held is held until its time is over."""
    alone = site.member()
    await alone.share()
    site.broker.available = False
    site.clock.advance(5.0)
    with pytest.raises(MessagingError):
        await alone.share()
    assert alone.held == ALL
    site.clock.advance(6.0)
    assert alone.held == frozenset()
    site.broker.available = True
    await alone.share()
    assert alone.held == ALL


async def test_who_comes_too_late_changes_nothing(site: Site) -> None:
    """One that looked before another took a partition, and writes after it, does not get it."""
    slow, quick = site.member(), site.member()
    await quick.share()
    assert not await slow._append([slow._subject(0)], {}, b"slow")
    await slow.share()
    assert slow.held == frozenset()
    assert quick.held == ALL
