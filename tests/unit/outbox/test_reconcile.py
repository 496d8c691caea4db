"""Comparing an outbox with what a broker still holds, on both databases: only what was lost is published again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from carrick.errors import ConfigurationError
from carrick.messaging import Holding, Message
from carrick.outbox import Relay, RelayOptions, reconcile, table
from carrick.outbox.reconcile import Comparison, Progress, StreamComparison
from carrick.store.transaction import Database
from carrick.testing import MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from tests.unit.outbox.rows import ANOTHER, change, rows, write
from tests.unit.store.places import AnyDatabase
from tests.unit.testing.programs import until

FAST = RelayOptions(poll=0.02, backoff=0.02, lease=30.0)


class Forgetful(MemoryBroker):
    """A broker that loses messages, remembers no ids, and may say that it removes messages by itself."""

    limits: Holding | None = None

    def lose(self, *ids: str) -> None:
        """Lose some messages; the others keep their places."""
        stream = self._streams["ORDERS"]
        for sequence in [each.sequence for each in stream.messages.values() if each.message.id in ids]:
            stream.remove(sequence)
        stream.ids -= set(ids)

    def delete(self) -> None:
        """Lose the stream."""
        del self._streams["ORDERS"]

    def ids(self) -> list[str]:
        """Return what the stream holds, in order."""
        return [message.id for message in self.messages("ORDERS")]

    async def holding(self, stream: str) -> Holding | None:
        """Say what was told to say; what got lost the stream does not know of."""
        found = await super().holding(stream)
        return found and (self.limits or replace(found, removed=False))


async def _publish(database: AnyDatabase, broker: MemoryBroker) -> None:
    async with Relay(database, broker, options=FAST) as relay:
        await settle(relay)


async def _compare(database: Database, broker: MemoryBroker, **options: object) -> tuple[StreamComparison, ...]:
    async with Comparison(database, broker, **options) as comparison:  # type: ignore[arg-type]
        return await comparison.compare()


async def _restore(database: Database, broker: MemoryBroker, *, force: bool = False) -> int:
    async with Comparison(database, broker, force=force) as comparison:
        await comparison.compare()
        return await comparison.restore()


async def test_nothing_is_missing_of_a_whole_stream(either: AnyDatabase) -> None:
    """Then nothing is changed, and nothing is published twice."""
    broker = Forgetful()
    ids = await write(either, *(f"k{number % 20}" for number in range(40)))
    await _publish(either, broker)
    before = await rows(either)
    (stream,) = await _compare(either, broker)
    assert (stream.stream, stream.there, stream.missing, stream.removes) == ("ORDERS", True, 0, None)
    assert sum(each.published for each in stream.subjects) == 40
    assert await _restore(either, broker) == 0
    assert await rows(either) == before
    await _publish(either, broker)
    assert sorted(broker.ids()) == sorted(ids)


async def test_an_outbox_without_published_events_has_nothing_to_compare(either: AnyDatabase) -> None:
    """No stream is asked for."""
    await write(either, "k")
    assert await _compare(either, Forgetful()) == ()
    assert await _restore(either, Forgetful()) == 0


async def test_what_was_lost_is_told_and_published_again_in_order(either: AnyDatabase) -> None:
    """Under its ids, before what is still waiting; the comparison alone changes nothing."""
    broker = Forgetful()
    ids = await write(either, *["k"] * 6)
    await _publish(either, broker)
    broker.lose(*ids[3:])
    later = await write(either, "k", "k")
    (stream,) = await _compare(either, broker)
    (subject,) = stream.subjects
    assert (subject.subject, subject.published, subject.missing) == (ORDER_PLACED.subject_of("k"), 6, 3)
    assert subject.first is not None
    assert subject.last is not None
    assert (subject.first.id, subject.last.id) == (ids[3], ids[5])
    assert [row.published_at is None for row in (await rows(either)).values()] == [False] * 6 + [True] * 2
    assert await _restore(either, broker) == 3
    async with either.read() as tx:
        assert await table.all_positions(tx) == []
    await _publish(either, broker)
    assert broker.ids() == [*ids, *later]


async def test_a_stream_that_is_gone_is_filled_again(either: AnyDatabase) -> None:
    """All that is kept goes out again, with the keys' events of several subjects in their order."""
    broker = Forgetful()
    ids = []
    for number in range(30):
        ids += await write(either, f"k{number % 3}", spec=(ORDER_PLACED, ANOTHER)[number % 2])
    await _publish(either, broker)
    broker.delete()
    (stream,) = await _compare(either, broker)
    assert (stream.there, stream.missing) == (False, 30)
    assert await _restore(either, broker) == 30
    await _publish(either, broker)
    for key in range(3):
        assert [each for each in broker.ids() if each in ids[key::3]] == ids[key::3]
    assert len(broker.ids()) == 30


async def test_events_published_since_are_left_alone(either: AnyDatabase) -> None:
    """Between the comparison and its restoring a relay, or another comparison, may have published what was lost."""
    broker = Forgetful()
    ids = await write(either, *["k"] * 4)
    await _publish(either, broker)
    broker.lose(*ids[2:])
    async with Comparison(either, broker) as first:
        await first.compare()
        assert await _restore(either, broker) == 2
        await _publish(either, broker)
        assert await first.restore() == 0
    await _publish(either, broker)
    assert broker.ids() == ids


async def test_a_relay_goes_on_meanwhile(either: AnyDatabase) -> None:
    """It publishes what is given back as it publishes anything, each once."""
    broker = Forgetful()
    ids = await write(either, *(f"k{number % 5}" for number in range(50)))
    async with Relay(either, broker, options=FAST) as relay:
        await settle(relay)
        broker.lose(*ids[20:])
        assert await _restore(either, broker) == 30
        ids += await write(either, *(f"k{number % 5}" for number in range(10)))
        relay.wake()
        await until(lambda: len(broker.ids()) == 60)
        await settle(relay)
    for key in range(5):
        assert [each for each in broker.ids() if each in ids[key::5]] == ids[key::5]


async def test_what_was_given_up_is_never_published(either: AnyDatabase) -> None:
    """Dropped and expired events are marked as done, and were never in the stream."""
    broker = Forgetful()
    sent, expired, dropped = await write(either, "k", "k", "k")
    async with either.read() as tx:
        now = await table.clock(tx)
    await change(either, "published_at = :now, refusal = 'expired'", [expired], now=now)
    await change(either, "published_at = :now, refused_at = :now, refusal = 'too large'", [dropped], now=now)
    await _publish(either, broker)
    broker.lose(sent)
    (stream,) = await _compare(either, broker)
    assert [each.published for each in stream.subjects] == [1]
    assert await _restore(either, broker, force=True) == 1
    await _publish(either, broker)
    assert broker.ids() == [sent]


LIMITED = Holding(messages=3, limited=True, removed=True)


@pytest.mark.parametrize(
    ("limits", "removed", "missing"),
    [
        (LIMITED, 2, 1),
        (Holding(messages=3, limited=True), 0, 3),
        (Holding(messages=3, removed=True), 0, 3),
        (Holding(messages=3, limited=True, max_age=3600.0), 1, 2),
        (Holding(messages=3, limited=True, max_age=3600.0, removed=True), 2, 1),
        (Holding(messages=3, consuming=True), 3, 0),
    ],
)
async def test_what_a_stream_removes_by_itself_is_not_missing(
    either: AnyDatabase, limits: Holding, removed: int, missing: int
) -> None:
    """That is what is older than the oldest of its subject there, or than its age; unless it is forced."""
    broker = Forgetful()
    broker.limits = limits
    ids = await write(either, *["k"] * 6)
    await _publish(either, broker)
    async with either.read() as tx:
        await change(either, "published_at = :then", ids[:1], then=await table.clock(tx) - 7200)
    broker.lose(ids[0], ids[1], ids[3])
    (stream,) = await _compare(either, broker)
    assert (stream.removed, stream.missing) == (removed, missing)
    (stream,) = await _compare(either, broker, force=True)
    assert (stream.removed, stream.missing) == (0, 3)
    assert await _restore(either, broker) == missing


async def test_only_what_is_young_enough_is_looked_for(either: AnyDatabase) -> None:
    """``since`` are seconds before now."""
    broker = Forgetful()
    ids = await write(either, "k", "k")
    await _publish(either, broker)
    async with either.read() as tx:
        await change(either, "published_at = :then", ids[:1], then=await table.clock(tx) - 7200)
    broker.lose(*ids)
    (stream,) = await _compare(either, broker, since=3600.0)
    assert stream.missing == 1
    with pytest.raises(ConfigurationError):
        Comparison(either, broker, since=0.0)


async def test_one_stream_can_be_chosen(either: AnyDatabase) -> None:
    """The others are left alone."""
    broker = Forgetful()
    await write(either, "k")
    await _publish(either, broker)
    async with Comparison(either, broker) as comparison:
        assert await comparison.compare("OTHER") == ()
        assert len(await comparison.compare("ORDERS")) == 1


async def test_places_that_are_ahead_of_the_stream_are_forgotten(either: AnyDatabase) -> None:
    """What is known of a stream that was lost and made again would hide what is in the new one."""
    broker = Forgetful()
    ids = await write(either, *["k"] * 3)
    await _publish(either, broker)
    broker.delete()
    async with either.transaction() as tx:
        await table.purge(tx, age=-1.0, most=10)
    assert await _restore(either, broker) == 0
    async with either.read() as tx:
        assert await table.all_positions(tx) == []
    assert len(ids) == 3


async def test_what_came_after_a_loss_is_found(either: AnyDatabase) -> None:
    """A relay that stored events in a stream made anew, and died before it marked them, leaves nothing to do twice."""
    broker = Forgetful()
    await write(either, *["k"] * 5)
    await _publish(either, broker)
    broker.delete()
    ids = await write(either, "k", "k")
    await broker.ensure_stream("ORDERS", ["orders.>"])
    subject = ORDER_PLACED.subject_of("k")
    messages = [Message(stream="ORDERS", subject=subject, id=each, data=b"") for each in ids]
    await broker.append(messages, {subject: 0})
    broker._streams["ORDERS"].ids.clear()  # longer ago than the window for duplicates
    await _publish(either, broker)
    assert broker.ids() == ids
    assert {row.published_at is None for row in (await rows(either)).values()} == {False}


async def test_many_are_read_in_pages(either: AnyDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a batch of one subject, with word of how far it is."""
    monkeypatch.setattr(reconcile, "_READ", 1000)
    broker = Forgetful()
    async with either.transaction() as tx:
        for number in range(2500):
            await tx.execute(
                "INSERT INTO carrick_outbox (id, stream, stream_subjects, subject, partition, key, payload, headers, "
                "created_at, published_at) VALUES (:id, 'ORDERS', 'orders.>', 'orders.a.p00', 0, 'k', :payload, '{}', "
                "1, 1)",
                {"id": str(number), "payload": b""},
            )
    await broker.ensure_stream("ORDERS", ["orders.>"])
    last: Mapping[str, int] = {"orders.a.p00": 0}
    for start in range(0, 2500, 500):
        last = await broker.append(_messages(range(start, start + 500)), last)
    broker.lose(*(str(number) for number in range(1100, 2300)))
    told: list[Progress] = []
    async with Comparison(either, broker, progress=told.append) as comparison:
        (stream,) = await comparison.compare()
        assert stream.missing == 1200
        assert await comparison.restore() == 1200
    assert [(each.doing, each.done) for each in told] == [
        ("messages read", 1000),
        ("messages read", 1300),
        ("events looked for", 1000),
        ("events looked for", 2000),
        ("events looked for", 2500),
    ]
    lost = [row for row in (await rows(either)).values() if row.published_at is None]
    assert [row.id for row in lost] == [str(number) for number in range(1100, 2300)]


def _messages(numbers: Sequence[int] | range) -> list[Message]:
    return [Message(stream="ORDERS", subject="orders.a.p00", id=str(number), data=b"") for number in numbers]
