"""When events are to be published, and until when."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from carrick import outbox
from carrick.errors import Code, OutboxError
from carrick.outbox import Outbox
from carrick.outbox.times import Times
from carrick.store import SyncTransaction
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import FakeClock
from shop.orders.v1.orders_carrick import ORDER_PLACED, OrdersBlockingEvents, OrdersEvents
from shop.orders.v1.orders_pb2 import OrderPlaced

NOW = 1_700_000_000.25
PAIR = [(ORDER_PLACED, OrderPlaced(order_id="o-1")), (ORDER_PLACED, OrderPlaced(order_id="o-2"))]


def _checked(delay: float | None = None, at: datetime | None = None, expires_in: float | None = None) -> Times:
    return Times.checked(delay, at, expires_in, now=NOW)


def test_times_are_those_of_the_database() -> None:
    """Seconds from its now, or a moment; no delay is none."""
    east = timezone(timedelta(hours=5))
    moment = datetime.fromtimestamp(NOW + 60, UTC).astimezone(east)
    assert _checked() == Times(delay=None, at=None, expires_in=None)
    assert _checked(delay=0) == _checked()
    assert _checked(delay=5, expires_in=6) == Times(delay=5.0, at=None, expires_in=6.0)
    assert _checked(at=moment, expires_in=61) == Times(delay=None, at=NOW + 60, expires_in=61.0)
    assert _checked(at=moment - timedelta(hours=1), expires_in=1).at == NOW - 3540


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"delay": -1}, "delay is seconds, 0 or more, not -1"),
        ({"delay": float("nan")}, "delay is seconds, 0 or more, not nan"),
        ({"delay": float("inf")}, "delay is seconds, 0 or more, not inf"),
        ({"expires_in": 0}, "expires_in is seconds, above 0, not 0"),
        ({"expires_in": float("inf")}, "expires_in is seconds, above 0, not inf"),
        ({"at": datetime(2030, 1, 1)}, r"at is a moment with a time zone, like datetime\.now\(UTC\)"),
        ({"at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 1}, "delay and at say the same thing"),
        ({"delay": 5, "expires_in": 5}, "would expire before it is published: expires_in is 5 s, and it is due in 5 s"),
        ({"at": datetime.fromtimestamp(NOW + 60, UTC), "expires_in": 59}, "would expire before it is published"),
    ],
)
async def test_nonsense_is_refused(times: dict[str, Any], message: str, database: SqliteDatabase) -> None:
    """Before anything is written."""
    with pytest.raises(OutboxError, match=message) as caught:
        _checked(**times)
    assert caught.value.code is Code.INVALID_ARGUMENT
    async with database.transaction() as tx:
        with pytest.raises(OutboxError, match=message):
            await Outbox("orders", clock=FakeClock(epoch=NOW)).write_all(tx, PAIR, **times)
        assert (await tx.execute("SELECT count(*) FROM carrick_outbox")).scalar_one() == 0


async def test_the_row_has_them(database: SqliteDatabase, postgres_url: str) -> None:
    """In both databases, for single events and for batches: by the database's clock, save ``at``."""
    events = Outbox("orders", clock=FakeClock(epoch=NOW))
    moment = datetime(2040, 1, 1, tzinfo=UTC)
    async with PostgresDatabase(postgres_url, migrations=[outbox.MIGRATIONS]) as postgres:
        for each in (database, postgres):
            async with each.transaction() as tx:
                for batch in (PAIR[:1], PAIR):
                    await events.write_all(tx, batch, delay=30, expires_in=60.5)
                    await events.write_all(tx, batch, at=moment)
            async with each.read() as tx:
                rows = (await tx.execute("SELECT * FROM carrick_outbox ORDER BY seq")).all()
            delayed = [row for row in rows if row.expires_at is not None]
            at = [row for row in rows if row.expires_at is None]
            assert [len(delayed), len(at)] == [3, 3]
            for row in delayed:
                assert row.created_at != NOW
                assert row.due_at - row.created_at == pytest.approx(30, abs=0.1)
                assert row.expires_at - row.created_at == pytest.approx(60.5, abs=0.1)
                assert json.loads(row.headers)["ce-time"] == "2023-11-14T22:13:20.250Z"
                assert json.loads(row.headers)["ce-expirytime"] == "2023-11-14T22:14:20.750Z"
            for row in at:
                assert row.due_at == moment.timestamp()
                assert "ce-expirytime" not in json.loads(row.headers)


async def test_generated_publishers_take_them(database: SqliteDatabase) -> None:
    """Each of the three, awaited and not."""
    events = Outbox("orders", clock=FakeClock(epoch=NOW))
    moment = datetime(2040, 1, 1, tzinfo=UTC)
    event = OrderPlaced(order_id="k")

    def write(tx: SyncTransaction) -> None:
        OrdersBlockingEvents(events).order_placed(tx, event, delay=30, expires_in=60)
        OrdersBlockingEvents(events).order_placed(tx, event, at=moment)
        OrdersBlockingEvents(events).order_placed(tx, event)

    async with database.transaction() as tx:
        await OrdersEvents(events).order_placed(tx, event, delay=30, expires_in=60)
        await OrdersEvents(events).order_placed(tx, event, at=moment)
        await OrdersEvents(events).order_placed(tx, event)
        with pytest.raises(OutboxError, match="delay is seconds"):
            await OrdersEvents(events).order_placed(tx, event, delay=-1)
    await database.run(write)
    async with database.read() as tx:
        rows = (await tx.execute("SELECT * FROM carrick_outbox ORDER BY seq")).all()
    for delayed, later, now in (rows[:3], rows[3:]):
        assert delayed.due_at - delayed.created_at == pytest.approx(30, abs=0.1)
        assert delayed.expires_at - delayed.created_at == pytest.approx(60, abs=0.1)
        assert (later.due_at, later.expires_at) == (moment.timestamp(), None)
        assert (now.due_at, now.expires_at) == (None, None)
