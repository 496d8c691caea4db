"""Parked events: kept in order for each key, and parked by a partition's newest owner only."""

from dataclasses import replace

import pytest
import pytest_asyncio

from carrick.claim import Tenure
from carrick.errors import Code, StoreError
from carrick.store.claims import NewerOwnerError
from carrick.store.parking import Parked, ParkedCount, ParkedKey, Parking, Position
from carrick.testing.contracts.site import StoreDatabase
from carrick.testing.contracts.tables import FrameworkTables

__all__ = ["ParkingContract"]


def _event(sequence: int, key: str = "k", **more: object) -> Parked:
    event = Parked(
        partition=3,
        key=key,
        sequence=sequence,
        event_id=f"id-{sequence}",
        subject="orders.placed.v1.p03",
        headers={"ce-id": f"id-{sequence}", "ce-source": "é"},
        data=bytes([0, 255, sequence]),
        stored_at=1.5,
    )
    return replace(event, **more)  # type: ignore[arg-type]  # what the test says


@pytest.mark.asyncio
class ParkingContract(FrameworkTables):
    """What waits is kept whole and in order."""

    @pytest_asyncio.fixture
    async def parking(self, database: StoreDatabase) -> Parking:
        """The parked events of a database."""
        return Parking(database)

    async def _begin(self, parking: Parking) -> tuple[Tenure, list[ParkedKey]]:
        return await parking.begin("c", "S", 3)

    async def test_parked_events_come_back_whole_and_in_order(self, parking: Parking) -> None:
        """Bytes, headers and counts are as they were; a key's events are in the order of the stream."""
        tenure, keys = await self._begin(parking)
        assert keys == []
        first = _event(7, attempts=2, failures=1, reason="away", due_in=60.0)
        await parking.park(tenure, [_event(9), first, _event(8, "other")])
        (found, behind) = await parking.of_key(tenure, "k", 10)
        assert [replace(found, due_in=60.0), behind] == [first, _event(9)]
        assert found.due_in is not None
        assert 0 < found.due_in <= 60
        assert [each.sequence for each in await parking.of_key(tenure, "k", 1)] == [7]

    async def test_what_is_parked_already_stays_as_it_is(self, parking: Parking) -> None:
        """An event that is delivered again after it was parked does not begin anew."""
        tenure, _ = await self._begin(parking)
        await parking.park(tenure, [_event(1, attempts=5, due_in=60.0)])
        await parking.park(tenure, [_event(1), _event(2)])
        assert [each.attempts for each in await parking.of_key(tenure, "k", 10)] == [5, 0]

    async def test_a_new_owner_finds_what_is_parked(self, parking: Parking) -> None:
        """It hears of each key, how much there is, and when it is due."""
        tenure, _ = await self._begin(parking)
        await parking.park(tenure, [_event(1, due_in=60.0), _event(2)])
        await parking.park(tenure, [_event(3, "left"), _event(4, "held", held=True)])
        _, keys = await self._begin(parking)
        found = {key.key: key for key in keys}
        assert {key: each.events for key, each in found.items()} == {"k": 2, "left": 1, "held": 1}
        due_in = found["k"].due_in
        assert due_in is not None
        assert 0 < due_in <= 60
        assert found["left"].due_in == 0.0, "its owner died before it had said when"
        assert found["held"].due_in is None

    async def test_an_older_owner_parks_nothing(self, parking: Parking) -> None:
        """Whatever it knows of the partition is out of date; other partitions and consumers are not concerned."""
        old, _ = await self._begin(parking)
        await self._begin(parking)
        with pytest.raises(StoreError) as raised:
            await parking.park(old, [_event(1)])
        assert raised.value.code is Code.ABORTED
        assert await parking.of_key(old, "k", 10) == []
        elsewhere, _ = await parking.begin("c", "S", 4)
        await self._begin(parking)
        await parking.park(elsewhere, [_event(1, partition=4)])

    async def test_an_older_owner_changes_nothing(self, parking: Parking) -> None:
        """It neither settles nor postpones an event that the newer one handles, and can ask whether it still owns."""
        old, _ = await self._begin(parking)
        await parking.park(old, [_event(1)])
        await parking.check(old)
        new, _ = await self._begin(parking)
        for late in (
            parking.settle(old, [_event(1)]),
            parking.postpone(old, _event(1, attempts=9)),
            parking.postpone(old, _event(1, held=True)),
            parking.check(old),
        ):
            with pytest.raises(NewerOwnerError):
                await late
        assert await parking.of_key(new, "k", 10) == [_event(1)]

    async def test_due_keys_are_found(self, parking: Parking) -> None:
        """Those of the partitions that are asked for, the longest due first."""
        tenure, _ = await self._begin(parking)
        await parking.park(tenure, [_event(1, "later", due_in=60.0), _event(2, "now", due_in=0.0), _event(3, "none")])
        await parking.park(tenure, [_event(4, "before", due_in=-5.0)])
        assert await parking.due("c", "S", [3, 4], 10) == [(3, "before"), (3, "now")]
        assert await parking.due("c", "S", [3, 4], 1) == [(3, "before")]
        assert await parking.due("c", "S", [4], 10) == []
        assert await parking.due("d", "S", [3], 10) == []

    async def test_an_attempt_is_noted(self, parking: Parking) -> None:
        """With its reason, and when the next one is."""
        tenure, _ = await self._begin(parking)
        await parking.park(tenure, [_event(1, due_in=0.0)])
        await parking.postpone(tenure, _event(1, attempts=3, failures=2, reason="again", due_in=60.0))
        assert await parking.due("c", "S", [3], 10) == []
        (found,) = await parking.of_key(tenure, "k", 1)
        assert replace(found, due_in=None) == _event(1, attempts=3, failures=2, reason="again")

    async def test_what_is_settled_is_gone(self, parking: Parking) -> None:
        """And nothing else is."""
        tenure, _ = await self._begin(parking)
        await parking.park(tenure, [_event(1), _event(2)])
        await parking.settle(tenure, [_event(1)])
        assert await parking.of_key(tenure, "k", 10) == [_event(2)]

    async def test_a_held_event_waits_until_it_is_sent_again(self, parking: Parking) -> None:
        """What is behind it waits too, and is not counted as waiting; sent again, it begins anew."""
        tenure, _ = await self._begin(parking)
        await parking.park(tenure, [_event(1, due_in=0.0), _event(2), _event(3, "other")])
        assert await parking.waiting("c", "S") == 3
        await parking.postpone(tenure, _event(1, attempts=9, failures=9, reason="poison", held=True))
        assert await parking.due("c", "S", [3], 10) == []
        assert await parking.waiting("c", "S") == 1
        assert [each.held for each in await parking.of_key(tenure, "k", 10)] == [True, False]
        await parking.again("c", "S", _event(1))
        assert await parking.due("c", "S", [3], 10) == [(3, "k")]
        (first, _) = await parking.of_key(tenure, "k", 10)
        assert (first.held, first.attempts, first.failures) == (False, 0, 0)
        assert await parking.waiting("c", "S") == 3

    async def test_what_is_parked_is_counted(self, parking: Parking) -> None:
        """By partition, with the keys that wait behind a dead letter."""
        assert await parking.counts("c", "S") == {}
        tenure, _ = await self._begin(parking)
        await parking.park(tenure, [_event(1, held=True), _event(2), _event(3, "other", due_in=60.0)])
        assert await parking.counts("c", "S") == {3: ParkedCount(keys=2, events=3, held_keys=1)}
        assert await parking.counts("other", "S") == {}

    async def test_a_dropped_dead_letter_lets_the_others_go_on(self, parking: Parking) -> None:
        """The next of its key is due at once; a key without others is gone."""
        tenure, _ = await self._begin(parking)
        await parking.park(tenure, [_event(1, held=True), _event(2), _event(3)])
        await parking.drop("c", "S", _event(1))
        assert await parking.due("c", "S", [3], 10) == [(3, "k")]
        assert [each.sequence for each in await parking.of_key(tenure, "k", 10)] == [2, 3]
        await parking.drop("c", "S", _event(9, "none"))

    async def test_a_dead_letter_that_is_not_parked_can_be_sent_again(self, parking: Parking) -> None:
        """Then it is parked, and due, whatever was handled since."""
        tenure, _ = await self._begin(parking)
        await parking.again("c", "S", _event(1, due_in=0.0))
        assert await parking.due("c", "S", [3], 10) == [(3, "k")]
        assert [each.event_id for each in await parking.of_key(tenure, "k", 10)] == ["id-1"]

    async def test_positions_are_noted_by_the_owner(self, parking: Parking) -> None:
        """They go on, save in a stream that was made anew; a former owner notes nothing."""
        assert await parking.position("c", "S", 3) == Position(0, 0.0)
        tenure, _ = await self._begin(parking)
        await parking.note({tenure: Position(7, 100.5)})
        await parking.note({tenure: Position(5, 100.5)})
        assert await parking.position("c", "S", 3) == Position(7, 100.5)
        await parking.note({tenure: Position(2, 200.5)})
        assert await parking.position("c", "S", 3) == Position(2, 200.5)
        await self._begin(parking)
        await parking.note({tenure: Position(9, 200.5)})
        assert await parking.position("c", "S", 3) == Position(2, 200.5)
        await parking.note({})
