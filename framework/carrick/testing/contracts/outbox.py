"""The outbox's table: what is pending, who may publish it, and what became of it."""

import asyncio
from contextlib import suppress

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from carrick.event import PARTITIONS, EventSpec, partition_of
from carrick.outbox import Outbox, quarantine, table
from carrick.outbox.status import require_outbox, status
from carrick.outbox.watch import snapshot_of
from carrick.testing.contracts.site import StoreDatabase
from carrick.testing.contracts.tables import FrameworkTables

__all__ = ["OutboxContract"]

_EVENT = EventSpec(full_name="carrick.testing.v1.Said", subject="said.v1", key="value", message=StringValue)
_LOOSE = EventSpec(
    full_name="carrick.testing.v1.Hinted", subject="hinted.v1", key="value", message=StringValue, unordered=True
)
_EVERYWHERE = range(PARTITIONS)


@pytest.mark.asyncio
class OutboxContract(FrameworkTables):
    """What relays do with the table, each function in a transaction."""

    async def test_an_event_is_there_if_its_transaction_committed(self, database: StoreDatabase) -> None:
        """And not at all when it was rolled back."""
        with suppress(KeyError):
            async with database.transaction() as tx:
                await Outbox("test").write(tx, _EVENT, StringValue(value="undone"))
                raise KeyError
        await _write(database, "done")
        assert await _pending(database) == ["done"]

    async def test_pending_events_come_in_the_order_of_their_writing(self, database: StoreDatabase) -> None:
        """One by one, in one statement, and over transactions."""
        await _write(database, "a", "b", "a")
        async with database.transaction() as tx:
            await Outbox("test").write_all(tx, [(_EVENT, StringValue(value=key)) for key in "dcba"])
        await _write(database, "e")
        assert await _pending(database) == list("abadcbae")
        assert await _pending(database, most=3) == list("aba")

    async def test_a_row_is_what_was_written(self, database: StoreDatabase) -> None:
        """Whatever the key's and payload's characters are, and however the row was written."""
        keys = ["a", "größe ☃", "with 'quotes' and \\ and \n", "x" * 10_000]
        async with database.transaction() as tx:
            ids = [await Outbox("test").write(tx, _EVENT, StringValue(value=key)) for key in keys]
            ids += await Outbox("test").write_all(tx, [(_EVENT, StringValue(value=key)) for key in keys])
        async with database.read() as tx:
            rows = await table.pending(tx, partitions=_EVERYWHERE, resting=(), most=100, most_bytes=10**6)
        assert [row.id for row in rows] == ids
        for row, key in zip(rows, keys * 2, strict=True):
            assert bytes(row.payload) == StringValue(value=key).SerializeToString()
            assert (row.key, row.partition, row.subject) == (key, partition_of(key), _EVENT.subject_of(key))
            assert (row.stream, row.stream_subjects, bool(row.unordered)) == ("SAID", "said.>", False)

    async def test_a_batch_is_bounded_by_its_bytes(self, database: StoreDatabase) -> None:
        """The event that reaches the bound is the last, and one is always given, however large."""
        await _write(database, "a" * 100, "b" * 100, "c" * 100)
        assert [len(await _pending(database, most_bytes=most)) for most in (1, 102, 103, 205, 10**6)] == [1, 1, 2, 3, 3]

    async def test_a_relay_sees_its_partitions_only(self, database: StoreDatabase) -> None:
        """And none of the streams that rest."""
        keys = [f"k{number}" for number in range(20)]
        await _write(database, *keys)
        some = {partition_of("k0"), partition_of("k1")}
        assert await _pending(database, partitions=some) == [key for key in keys if partition_of(key) in some]
        assert await _pending(database, partitions=()) == []
        assert await _pending(database, resting=("SAID",)) == []
        assert await _pending(database, resting=("OTHER",)) == keys

    async def test_a_refused_event_holds_back_later_ones_of_its_key(self, database: StoreDatabase) -> None:
        """Those before it and those of other keys go on, and so do events whose order does not matter."""
        await _write(database, "a", "a", "b", "a")
        await _write(database, "a", spec=_LOOSE)
        (_, refused, *_) = await _seqs(database)
        async with database.transaction() as tx:
            await table.quarantine(tx, refused, "too large")
        assert await _pending(database) == ["a", "b", "a"]
        assert await _pending(database, resting=("HINTED",)) == ["a", "b"]
        async with database.read() as tx:
            found = await tx.execute("SELECT refusal FROM carrick_outbox WHERE seq = :seq", {"seq": refused})
            assert found.scalar_one() == "too large"

    async def test_what_is_marked_is_pending_no_more(self, database: StoreDatabase) -> None:
        """Published, expired, or found in the stream: the last is told once for each id."""
        await _write(database, *"abcd")
        async with database.read() as tx:
            rows = await table.pending(tx, partitions=_EVERYWHERE, resting=(), most=100, most_bytes=10**6)
        async with database.transaction() as tx:
            await table.mark(tx, [rows[0].seq])
            await table.mark_expired(tx, [rows[1].seq])
            assert set(await table.mark_stored(tx, [rows[0].id, rows[2].id, "unknown"])) == {rows[2].id}
            assert await table.mark_stored(tx, [rows[2].id]) == {}
            await table.mark(tx, [])
        assert await _pending(database) == ["d"]
        async with database.read() as tx:
            assert await table.unpublished(tx) == 1

    async def test_the_backlog_is_counted_up_to_a_bound(self, database: StoreDatabase) -> None:
        """With the age of the oldest event, by the database's clock."""
        async with database.read() as tx:
            found = await snapshot_of(tx)
            assert (found.depth, found.oldest_seconds, found.relays) == (0, 0.0, 0)
        await _write(database, *"abc")
        await _execute(database, "UPDATE carrick_outbox SET created_at = created_at - 100")
        async with database.read() as tx:
            assert await table.unpublished(tx) == 3
            found = await snapshot_of(tx, most=2)
        assert found.depth == 2
        assert found.oldest_seconds == pytest.approx(100.0, abs=60.0)

    async def test_an_event_waits_for_its_time(self, database: StoreDatabase) -> None:
        """Until then it is not pending and holds nobody back; then it is let go, a few at a time."""
        async with database.transaction() as tx:
            assert await table.due_in(tx) is None
            await Outbox("test").write(tx, _EVENT, StringValue(value="later"), delay=1000.0)
            await Outbox("test").write(tx, _EVENT, StringValue(value="later still"), delay=1001.0)
        async with database.transaction() as tx:
            assert await table.publish_due(tx, 10) == 0
            assert await table.due_in(tx) == pytest.approx(1000.0, abs=60.0)
        assert await _pending(database) == []
        await _execute(database, "UPDATE carrick_outbox SET due_at = due_at - 2000")
        for expected in (["later"], ["later", "later still"]):
            async with database.transaction() as tx:
                assert await table.publish_due(tx, 1) == 1
            assert await _pending(database) == expected

    async def test_an_event_expires_by_the_databases_clock(self, database: StoreDatabase) -> None:
        """It is still given to the relay, which is told."""
        async with database.transaction() as tx:
            await Outbox("test").write(tx, _EVENT, StringValue(value="a"), expires_in=1000.0)
        await _write(database, "b")
        for age, expected in ((0, [0, 0]), (2000, [1, 0])):
            await _execute(database, f"UPDATE carrick_outbox SET expires_at = expires_at - {age}")  # noqa: S608
            async with database.read() as tx:
                rows = await table.pending(tx, partitions=_EVERYWHERE, resting=(), most=10, most_bytes=10**6)
            assert [row.expired for row in rows] == expected

    async def test_purge_takes_only_what_was_published_long_ago(self, database: StoreDatabase) -> None:
        """A few at a time, and neither what is pending nor what was refused, however old."""
        await _write(database, *"abcdef")
        seqs = await _seqs(database)
        async with database.transaction() as tx:
            await table.mark(tx, seqs[:3])
            await table.quarantine(tx, seqs[4], "refused")
        await _execute(database, "UPDATE carrick_outbox SET published_at = published_at - 100, created_at = 1")
        async with database.transaction() as tx:
            await table.mark(tx, [seqs[3]])
        purged = []
        for _ in range(3):
            async with database.transaction() as tx:
                purged.append(await table.purge(tx, age=50.0, most=2))
        assert purged == [2, 1, 0]
        async with database.read() as tx:
            left = await tx.execute("SELECT seq FROM carrick_outbox ORDER BY seq")
            assert [row.seq for row in left.all()] == seqs[3:]

    async def test_a_number_is_not_given_twice(self, database: StoreDatabase) -> None:
        """Not even that of the last row, after it was removed: positions and marks rest on numbers."""
        await _write(database, "a")
        (first,) = await _seqs(database)
        await _execute(database, "DELETE FROM carrick_outbox")
        await _write(database, "b")
        assert (await _seqs(database))[0] > first

    async def test_a_partition_has_one_holder(self, database: StoreDatabase) -> None:
        """What one has taken nobody else gets, until it is given back."""
        async with database.transaction() as tx:
            assert len(await table.take(tx, owner="one", ttl=1000.0, most=10)) == 10
            rest = await table.take(tx, owner="two", ttl=1000.0, most=100)
            assert len(rest) == PARTITIONS - 10
            assert await table.take(tx, owner="three", ttl=1000.0, most=100) == set()
            assert await table.renew(tx, owner="two", ttl=1000.0) == rest
            held, now = await table.renew_at(tx, owner="two", ttl=1000.0)
            assert held == rest
            assert now == pytest.approx(await table.clock(tx), abs=60.0)
            assert await table.renew_at(tx, owner="nobody", ttl=1000.0) == (set(), 0.0)
            given = set(list(rest)[:2])
            await table.let_go(tx, owner="two", partitions=given)
            await table.let_go(tx, owner="three", partitions=range(PARTITIONS))
            assert await table.renew(tx, owner="two", ttl=1000.0) == rest - given
            assert await table.take(tx, owner="three", ttl=1000.0, most=100) == given

    async def test_who_take_at_once_share_and_do_not_wait(self, database: StoreDatabase) -> None:
        """Each partition goes to one of many."""

        async def take(owner: str) -> set[int]:
            async with database.transaction() as tx:
                return await table.take(tx, owner=owner, ttl=1000.0, most=4)

        taken = await asyncio.gather(*(take(f"relay {number}") for number in range(8)))
        flat = [partition for some in taken for partition in some]
        assert len(flat) == len(set(flat))
        async with database.transaction() as tx:
            left = await table.take(tx, owner="last", ttl=1000.0, most=PARTITIONS)
        assert sorted([*flat, *left]) == list(_EVERYWHERE)

    async def test_a_lease_ends_by_the_databases_clock(self, database: StoreDatabase) -> None:
        """Then somebody else may have the partition, and who had it renews nothing; the epoch tells of the change."""
        async with database.transaction() as tx:
            await table.take(tx, owner="old", ttl=1000.0, most=PARTITIONS)
        await _execute(database, "UPDATE carrick_outbox_lease SET until = until - 2000 WHERE partition < 5")
        async with database.transaction() as tx:
            assert await table.take(tx, owner="new", ttl=1000.0, most=PARTITIONS) == set(range(5))
            assert await table.renew(tx, owner="old", ttl=1000.0) == set(range(5, PARTITIONS))
            epochs = await tx.execute("SELECT epoch FROM carrick_outbox_lease ORDER BY partition")
            assert [row.epoch for row in epochs.all()] == [2] * 5 + [1] * 11

    async def test_a_lease_from_before_the_clock_was_set_back_ends(self, database: StoreDatabase) -> None:
        """One that would last longer than twice its time counts no more, unless its owner renews it."""
        async with database.transaction() as tx:
            await table.take(tx, owner="old", ttl=1000.0, most=PARTITIONS)
        await _execute(database, "UPDATE carrick_outbox_lease SET until = until + 500 WHERE partition < 5")
        await _execute(database, "UPDATE carrick_outbox_lease SET until = until + 5000 WHERE partition >= 5")
        async with database.transaction() as tx:
            assert await table.take(tx, owner="new", ttl=1.0, most=5) == set(range(5, 10))
            assert await table.renew(tx, owner="old", ttl=1000.0) == {*range(5), *range(10, PARTITIONS)}
            assert await table.take(tx, owner="new", ttl=1.0, most=PARTITIONS) == set()

    async def test_a_renewal_fences_until_its_transaction_ends(self, database: StoreDatabase) -> None:
        """Who marks under a lease that has just ended either has it back, or marks nothing: nobody comes between."""
        async with database.transaction() as tx:
            await table.take(tx, owner="old", ttl=1000.0, most=PARTITIONS)
        await _execute(database, "UPDATE carrick_outbox_lease SET until = 1")
        renewed, may_end = asyncio.Event(), asyncio.Event()

        async def mark() -> set[int]:
            async with database.transaction() as tx:
                held = await table.renew(tx, owner="old", ttl=1000.0)
                renewed.set()
                await may_end.wait()
                return held

        async def take() -> set[int]:
            async with database.transaction() as tx:
                return await table.take(tx, owner="new", ttl=1000.0, most=PARTITIONS)

        marking = asyncio.create_task(mark())
        await renewed.wait()
        taking = asyncio.create_task(take())
        await asyncio.wait((taking,), timeout=0.1)  # a database may let it wait, or find nothing
        may_end.set()
        assert await marking == set(_EVERYWHERE)
        assert await taking == set()

    async def test_relays_that_are_there_are_counted(self, database: StoreDatabase) -> None:
        """Until they leave, or give no sign of life for their time."""
        async with database.transaction() as tx:
            assert await table.beat(tx, owner="one", name="a", ttl=1000.0) == 1
            assert await table.beat(tx, owner="two", name="a", ttl=1000.0) == 2
            assert await table.beat(tx, owner="one", name="a", ttl=1000.0) == 2
            await table.leave(tx, owner="two")
            assert await table.beat(tx, owner="one", name="a", ttl=1000.0) == 1
        await _execute(database, "UPDATE carrick_outbox_relay SET until = 1")
        async with database.transaction() as tx:
            assert await table.beat(tx, owner="three", name="b", ttl=1000.0) == 1
        await _execute(database, "UPDATE carrick_outbox_relay SET until = until + 5000")  # the clock was set back
        async with database.transaction() as tx:
            assert await table.beat(tx, owner="four", name="b", ttl=1000.0) == 1

    async def test_positions_are_kept_for_each_subject(self, database: StoreDatabase) -> None:
        """0 where nothing is known; a later one takes the place of an earlier one; streams are kept apart."""
        async with database.transaction() as tx:
            assert await table.positions(tx, "S", ["a", "b"]) == {"a": 0, "b": 0}
            await table.set_positions(tx, "S", {"a": 1, "b": 2**40})
            await table.set_positions(tx, "T", {"a": 7})
            await table.set_positions(tx, "S", {})
        async with database.transaction() as tx:
            await table.set_positions(tx, "S", {"a": 5})
            assert await table.positions(tx, "S", ["a", "b", "c"]) == {"a": 5, "b": 2**40, "c": 0}
            assert await table.positions(tx, "T", ["a"]) == {"a": 7}
            found = [(row.stream, row.subject, row.sequence) for row in await table.all_positions(tx)]
            assert found == [("S", "a", 5), ("S", "b", 2**40), ("T", "a", 7)]
            await table.forget_positions(tx, "S", ["a", "c"])
            assert await table.positions(tx, "S", ["a", "b"]) == {"a": 0, "b": 2**40}

    async def test_quarantined_events_are_retried_or_dropped(self, database: StoreDatabase) -> None:
        """Chosen by subject and a part of the reason; what waited behind them is pending again."""
        await _write(database, "a", "a", "b", "b")
        seqs = await _seqs(database)
        async with database.transaction() as tx:
            await table.quarantine(tx, seqs[0], "100% too large")
            await table.quarantine(tx, seqs[2], "Too_Odd")
            listed = await quarantine.quarantined(tx)
            assert [(each.key, each.reason, each.behind) for each in listed] == [
                ("a", "100% too large", 1),
                ("b", "Too_Odd", 1),
            ]
            found = await quarantine.find(tx, listed[0].id)
            assert found is not None
            assert found.key == "a"
            assert await quarantine.payload_of(tx, listed[0].id) == StringValue(value="a").SerializeToString()
        large, odd = quarantine.Selection(reason="100% TOO"), quarantine.Selection(subject=_EVENT.subject, reason="o_o")
        async with database.transaction() as tx:
            assert await quarantine.counted(tx, odd) == {_EVENT.subject_of("b"): 1}
            assert await quarantine.retry(tx, large) == {_EVENT.subject_of("a"): 1}
            assert await quarantine.drop(tx, odd) == {_EVENT.subject_of("b"): 1}
            assert await quarantine.quarantined(tx) == []
        assert await _pending(database) == ["a", "a", "b"]

    async def test_published_events_are_listed_and_taken_back(self, database: StoreDatabase) -> None:
        """By time and number, without what was given up; what is published since is left alone."""
        await _write(database, *"abc")
        seqs = await _seqs(database)
        async with database.transaction() as tx:
            await table.mark(tx, seqs[:2])
            await table.mark_expired(tx, seqs[2:])
        async with database.transaction() as tx:
            until = await table.clock(tx)
            found = await table.published_subjects(tx, after=0.0, until=until)
            assert {(row.stream, row.subject) for row in found} == {("SAID", _EVENT.subject_of(key)) for key in "ab"}
            rows = await table.published_after(tx, "SAID", after=0.0, until=until, seq=seqs[0], most=10)
            assert [row.seq for row in rows] == [seqs[1]]
            assert await table.published_after(tx, "SAID", after=until, until=until + 1, seq=0, most=10) == []
            assert await table.unmark(tx, seqs, until=1.0) == 0
            assert await table.unmark(tx, seqs, until=until) == 2
        assert await _pending(database) == ["a", "b"]

    async def test_the_whole_is_seen_at_one_moment(self, database: StoreDatabase) -> None:
        """Each event counted as what it is, and who holds which partition, also from a reader."""
        await _write(database, "a", "a", "b", "c")
        seqs = await _seqs(database)
        async with database.transaction() as tx:
            await Outbox("test").write(tx, _EVENT, StringValue(value="later"), delay=1000.0)
            await table.quarantine(tx, seqs[0], "refused")
            await table.mark(tx, [seqs[2]])
            await table.beat(tx, owner="one", name="relay", ttl=1000.0)
            await table.take(tx, owner="one", ttl=1000.0, most=3)
        async with database.read() as tx:
            await require_outbox(tx)
            found = await status(tx)
        counts = (found.pending, found.waiting, found.quarantined, found.blocked, found.published, found.given_up)
        assert counts == (2, 1, 1, 1, 1, 0)
        assert [(relay.name, relay.partitions) for relay in found.relays] == [("relay", 3)]


async def _write(database: StoreDatabase, *keys: str, spec: EventSpec[StringValue] = _EVENT) -> None:
    async with database.transaction() as tx:
        for key in keys:
            await Outbox("test").write(tx, spec, StringValue(value=key))


async def _pending(
    database: StoreDatabase,
    *,
    partitions: "range | set[int] | tuple[int, ...]" = _EVERYWHERE,
    resting: tuple[str, ...] = (),
    most: int = 100,
    most_bytes: int = 10**6,
) -> list[str]:
    """Return the keys of the events that a relay is given."""
    async with database.read() as tx:
        rows = await table.pending(tx, partitions=partitions, resting=resting, most=most, most_bytes=most_bytes)
        return [row.key for row in rows]


async def _seqs(database: StoreDatabase) -> list[int]:
    async with database.read() as tx:
        return [row.seq for row in (await tx.execute("SELECT seq FROM carrick_outbox ORDER BY seq")).all()]


async def _execute(database: StoreDatabase, sql: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(sql)
