"""What becomes of refused events, on both databases."""

from typing import Any

import pytest

from carrick.errors import ConfigurationError
from carrick.outbox import Relay, RelayOptions, table
from carrick.outbox.quarantine import Selection, counted, drop, find, payload_of, quarantined, retry
from carrick.testing import MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.outbox.rows import ANOTHER, change, rows, write
from tests.unit.store.places import AnyDatabase

EVERYTHING = Selection(everything=True)
FAST = RelayOptions(poll=0.02)


async def _refuse(database: AnyDatabase, *ids: str, reason: str = "larger than max_payload") -> None:
    async with database.read() as tx:
        now = await table.clock(tx)
    await change(database, "refused_at = :now, refusal = :reason", ids, now=now, reason=reason)


async def _published(database: AnyDatabase) -> list[str]:
    broker = MemoryBroker()
    async with Relay(database, broker, options=FAST) as relay:
        await settle(relay)
        while any(row.published_at is None and row.refused_at is None for row in (await rows(database)).values()):
            await relay.pending()
    return [message.id for message in broker.messages("ORDERS")]


async def test_refused_events_are_listed_with_what_waits_behind(either: AnyDatabase) -> None:
    """In the order of their writing, without those that were published or dropped."""
    first, _, behind, _, other = await write(either, "k", "j", "k", "k", "other")
    await _refuse(either, other, first)
    async with either.read() as tx:
        found = await quarantined(tx)
        assert [each.id for each in await quarantined(tx, most=1)] == [first]
        assert await find(tx, behind) is None
        event = await find(tx, first)
        assert OrderPlaced.FromString(await payload_of(tx, first)) == OrderPlaced(order_id="k")
    assert [each.id for each in found] == [first, other]
    assert event is not None
    assert event.id == first
    assert (found[0].key, found[0].behind, found[1].behind) == ("k", 2, 0)
    assert found[0].subject == ORDER_PLACED.subject_of("k")
    assert found[0].reason == "larger than max_payload"
    assert found[0].headers["ce-id"] == first
    assert found[0].payload_bytes == len(OrderPlaced(order_id="k").SerializeToString())
    assert found[0].refused_seconds >= 0


async def test_retried_events_are_published_in_their_place(either: AnyDatabase) -> None:
    """Before the later ones of their key, which waited."""
    ids = await write(either, "k", "k", "k")
    await _refuse(either, ids[0])
    async with either.transaction() as tx:
        assert await retry(tx, EVERYTHING) == {ORDER_PLACED.subject_of("k"): 1}
    assert await _published(either) == ids
    async with either.transaction() as tx:
        assert await retry(tx, EVERYTHING) == {}


async def test_dropped_events_are_never_published_and_their_keys_go_on(either: AnyDatabase) -> None:
    """They are kept with the reason, like published ones."""
    ids = await write(either, "k", "k", "k")
    await _refuse(either, ids[0])
    async with either.transaction() as tx:
        assert (await drop(tx, EVERYTHING)).total() == 1
    assert await _published(either) == ids[1:]
    row = (await rows(either))[ids[0]]
    assert row.refusal == "larger than max_payload"
    assert row.published_at is not None
    async with either.transaction() as tx:
        assert await retry(tx, EVERYTHING) == {}
        assert await table.purge(tx, age=-1.0, most=10) == 3


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"everything": True}, "abcd"),
        ({"subject": "orders.placed.v1"}, "abc"),
        ({"subject": "orders.another.v1"}, "d"),
        ({"subject": ORDER_PLACED.subject_of("k")}, "a"),
        ({"subject": "orders.placed.v"}, ""),
        ({"subject": "orders.placed"}, ""),
        ({"subject": "orders_placed_v1"}, ""),
        ({"reason": "MAX_PAYLOAD"}, "ad"),
        ({"reason": "maxxpayload"}, ""),
        ({"reason": "100%"}, "b"),
        ({"reason": "%"}, "b"),
        ({"reason": "!"}, "c"),
        ({"reason": "max_payload", "subject": "orders.another.v1"}, "d"),
    ],
)
async def test_a_selection_narrows(either: AnyDatabase, chosen: dict[str, Any], expected: str) -> None:
    """Subjects are whole ones, reasons are parts, and what is special to LIKE is not special."""
    ids = dict(zip("abc", await write(either, "k", "other", "third"), strict=True))
    (ids["d"],) = await write(either, "k", spec=ANOTHER)
    await _refuse(either, ids["a"], ids["d"])
    await _refuse(either, ids["b"], reason="the disk is 100% full")
    await _refuse(either, ids["c"], reason="no!")
    selection = Selection(**chosen)
    async with either.transaction() as tx:
        assert [each.id for each in await quarantined(tx, selection)] == [ids[each] for each in expected]
        assert (await counted(tx, selection)).total() == len(expected)
        assert (await retry(tx, selection)).total() == len(expected)
    assert [row.id for row in (await rows(either)).values() if row.refused_at is None] == [
        ids[each] for each in expected
    ]


async def test_ids_choose_quarantined_events_only(either: AnyDatabase) -> None:
    """An id of an event that is not refused, or is none at all, chooses nothing."""
    first, second = await write(either, "k", "j")
    await _refuse(either, first)
    async with either.transaction() as tx:
        chosen = Selection(ids=[first, second, "none"])
        assert [each.id for each in await quarantined(tx, chosen)] == [first]
        assert (await drop(tx, chosen)).total() == 1
    assert (await rows(either))[second].published_at is None


@pytest.mark.parametrize("chosen", [{}, {"everything": True, "subject": "a"}, {"ids": ["x"] * 1001}])
def test_a_selection_must_say_which(chosen: dict[str, Any]) -> None:
    """All of them is said, never meant by leaving something out."""
    with pytest.raises(ConfigurationError):
        Selection(**chosen)
