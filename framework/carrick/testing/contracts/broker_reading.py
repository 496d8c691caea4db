"""Reading a stream without consuming it."""

import time

import pytest

from carrick.errors import Code, MessagingError
from carrick.ids import unique_id
from carrick.messaging import Holding, Message, Place, Stored
from carrick.testing.contracts.broker_site import Scene, SharedScene, fetched, numbers, until, until_pending

__all__ = ["ReadingContract"]

ACK_WAIT = 0.3


@pytest.mark.asyncio
class ReadingContract(SharedScene):
    """What a stream holds can be read."""

    async def test_what_was_stored_after_a_sequence_can_be_read(self, scene: Scene) -> None:
        """Ids and places of one subject, oldest first, no more than asked for."""
        (subject,) = scene.subjects("a")
        await scene.publish(0)
        await scene.publish(1, branch="b")
        await scene.publish(2, 3)
        assert await scene.broker.stored_after(scene.stream, subject, 0, 10) == [
            Stored(1, "a-0"),
            Stored(3, "a-2"),
            Stored(4, "a-3"),
        ]
        assert await scene.broker.stored_after(scene.stream, subject, 1, 1) == [Stored(3, "a-2")]
        assert await scene.broker.stored_after(scene.stream, subject, 4, 10) == []
        assert await scene.broker.stored_after(scene.stream, f"{scene.root}.none.p00", 0, 10) == []
        assert await scene.broker.last(scene.stream, f"{scene.root}.none.p00") == 0

    @pytest.mark.parametrize("most", [1, 4, 5, 7, 40, 41, 1000])
    async def test_many_can_be_read_at_once(self, scene: Scene, most: int) -> None:
        """However many are asked for, it is the first ones after the sequence, without those of other subjects."""
        (subject,) = scene.subjects("a")
        for number in range(40):
            await scene.publish(number)
            await scene.publish(number, branch="b")
        expected = [Stored(2 * number + 1, f"a-{number}") for number in range(40)]
        assert await scene.broker.stored_after(scene.stream, subject, 0, most) == expected[:most]
        assert await scene.broker.stored_after(scene.stream, subject, 10, most) == expected[5:][:most]
        assert await scene.broker.stored_after(scene.stream, subject, 79, most) == []

    async def test_a_stream_says_how_much_it_holds(self, scene: Scene) -> None:
        """Of a stream without limits nothing is removed; a stream that is not there is no error."""
        await scene.publish(*range(3))
        holding = await scene.broker.holding(scene.stream)
        assert holding == Holding(messages=3)
        assert holding.last == 3
        assert abs(holding.made_at - time.time()) < 3600
        assert await scene.broker.holding("MISSING") is None

    async def test_the_latest_of_each_subject_can_be_read(self, scene: Scene) -> None:
        """With its headers and place; of the subjects that match."""
        await scene.publish(1, 2, branch="a")
        await scene.publish(3, branch="b")
        await scene.publish(4, branch="a")
        found = await scene.broker.latest(scene.stream, f"{scene.root}.*.p00")
        assert {(each.subject, each.sequence, each.data) for each in found} == {
            (f"{scene.root}.a.p00", 4, b"4"),
            (f"{scene.root}.b.p00", 3, b"3"),
        }
        (of_b,) = await scene.broker.latest(scene.stream, f"{scene.root}.b.>")
        expected = {"ce-id": "3", "ce-source": "caf%C3%A9", "Empty": "", "Nats-Msg-Id": "b-3"}
        assert {name: of_b.headers[name] for name in expected} == expected
        assert abs(of_b.stored_at - time.time()) < 60
        assert list(await scene.broker.latest(scene.stream, f"{scene.root}.none.*")) == []
        with pytest.raises(MessagingError):
            await scene.broker.latest("MISSING", ">")

    async def test_the_latest_of_many_subjects_can_be_read(self, scene: Scene) -> None:
        """More than a broker may tell in one answer."""
        for first in range(0, 1500, 500):
            messages = [scene.message(number, f"n{number}") for number in range(first, first + 500)]
            await scene.broker.append(messages, {each.subject: 0 for each in messages})
        found = await scene.broker.latest(scene.stream, f"{scene.root}.>")
        assert sorted(int(each.data) for each in found) == list(range(1500))

    async def test_large_latest_messages_can_be_read(self, scene: Scene) -> None:
        """All of them, however many bytes they are."""
        for number in range(20):
            await scene.broker.publish(scene.message(number, f"n{number}", data=bytes([number]) * 500_000))
        found = await scene.broker.latest(scene.stream, f"{scene.root}.>")
        assert sorted((each.data[0], len(each.data)) for each in found) == [(number, 500_000) for number in range(20)]

    @pytest.mark.parametrize("most", [1, 5, 39, 100])
    async def test_messages_can_be_read(self, scene: Scene, most: int) -> None:
        """With data and headers, of the subjects that match, after a sequence, no more than asked for."""
        for number in range(40):
            await scene.publish(number, branch="abc"[number % 3])
        expected = [number for number in range(10, 40) if number % 3 == 1]
        found = await scene.broker.read(scene.stream, f"{scene.root}.b.*", 10, most)
        assert [int(each.data) for each in found] == expected[:most]
        assert [each.sequence for each in found] == [number + 1 for number in expected[:most]]
        assert {each.subject for each in found} == {f"{scene.root}.b.p00"}
        assert found[0].headers["ce-id"] == found[0].data.decode()
        assert list(await scene.broker.read(scene.stream, f"{scene.root}.>", 40, most)) == []
        every = await scene.broker.read(scene.stream, f"{scene.root}.>", 0, most)
        assert [int(each.data) for each in every] == list(range(40))[:most]

    async def test_a_message_can_be_removed(self, scene: Scene) -> None:
        """Once; the others keep their places, and nobody is delivered it."""
        await scene.publish(1, 2, 3)
        assert await scene.broker.remove(scene.stream, 2)
        assert not await scene.broker.remove(scene.stream, 2)
        assert not await scene.broker.remove(scene.stream, 99)
        assert [each.sequence for each in await scene.broker.read(scene.stream, f"{scene.root}.>", 0, 9)] == [1, 3]
        assert await scene.broker.holding(scene.stream) == Holding(messages=2, removed=True)
        consumer = await scene.consume(ordered=True)
        assert numbers(await fetched(consumer, 2)) == [1, 3]
        await until_pending(consumer)

    async def test_the_place_of_a_consumer_can_be_read(self, scene: Scene) -> None:
        """What is to come, what is out, and what is settled."""
        assert await scene.broker.place(scene.stream, "c") is None
        await scene.publish(*range(5))
        consumer = await scene.consume(ack_wait=30.0)
        assert await scene.broker.place(scene.stream, "c") == Place(
            filters=[f"{scene.root}.>"], pending=5, in_flight=0, redelivered=0, settled_to=0
        )
        deliveries = await fetched(consumer, 3, ack=False)
        await deliveries[0].ack()
        await deliveries[1].nak()
        out = deliveries[1:]
        while out[-1].deliveries == 1:  # others may pass it
            out += await fetched(consumer, 1, ack=False)
        last = max(each.sequence for each in out)

        async def reached() -> bool:
            place = await scene.broker.place(scene.stream, "c")
            return place == Place(
                filters=[f"{scene.root}.>"], pending=5 - last, in_flight=last - 1, redelivered=1, settled_to=1
            )

        await until(reached)

    async def test_the_names_of_consumers_can_be_read(self, scene: Scene) -> None:
        """Those that are durable, sorted; of a stream that is not there that is an error."""
        assert list(await scene.broker.places(scene.stream)) == []
        for name in ("b", "c-p00", "a"):
            filters = [f"{scene.root}.>"]
            await scene.broker.consume(scene.stream, name, filters, ack_wait=5.0, max_in_flight=10)
        await scene.broker.read(scene.stream, f"{scene.root}.>", 0, 10)
        assert list(await scene.broker.places(scene.stream)) == ["a", "b", "c-p00"]
        with pytest.raises(MessagingError):
            await scene.broker.places("MISSING")

    async def test_a_consumer_can_be_paused(self, scene: Scene) -> None:
        """Nothing is delivered until the moment, or until another in the past is set; nothing is lost."""
        consumer = await scene.consume(ordered=True)
        await scene.broker.pause(scene.stream, "c", time.time() + 60)
        place = await scene.broker.place(scene.stream, "c")
        assert place is not None
        assert place.paused
        await scene.publish(1, 2)
        assert list(await consumer.fetch(1, 0.3)) == []
        await scene.broker.pause(scene.stream, "c", time.time() - 60)
        assert numbers(await fetched(consumer, 1)) == [1]
        await scene.broker.pause(scene.stream, "c", time.time() + 0.5)
        assert numbers(await fetched(consumer, 1)) == [2]
        with pytest.raises(MessagingError) as raised:
            await scene.broker.pause(scene.stream, "missing", 0.0)
        assert raised.value.code is Code.NOT_FOUND

    async def test_a_stream_may_keep_the_last_of_each_subject_for_a_while(self, scene: Scene) -> None:
        """A later message takes the place of the one before; in the end all are gone."""
        stream, root = f"{scene.stream}LAST", f"last.{scene.root}"
        await scene.broker.ensure_stream(stream, [f"{root}.>"], last_only_for=1.0)
        await scene.broker.ensure_stream(stream, [f"{root}.>"], last_only_for=1.0)
        for number, branch in enumerate("abab"):
            await scene.broker.publish(
                Message(stream=stream, subject=f"{root}.{branch}", id=str(number), data=b"%d" % number)
            )
        found = await scene.broker.latest(stream, f"{root}.>")
        assert sorted(each.data for each in found) == [b"2", b"3"]
        holding = await scene.broker.holding(stream)
        assert holding is not None
        assert (holding.messages, holding.max_age, holding.limited) == (2, 1.0, True)

        async def gone() -> bool:
            return not await scene.broker.latest(stream, f"{root}.>")

        await until(gone)

    async def test_a_message_may_be_forgotten_before_others(self, scene: Scene) -> None:
        """Each has its own time, which begins anew with the next of its subject."""
        stream, root = f"{scene.stream}TTL", f"ttl.{scene.root}"
        await scene.broker.ensure_stream(stream, [f"{root}.>"], last_only_for=3600.0)

        def message(branch: str, ttl: float | None) -> Message:
            return Message(stream=stream, subject=f"{root}.{branch}", id=unique_id(), data=b"", ttl=ttl)

        last = await scene.broker.append([message("a", 1.0), message("b", None)], {f"{root}.a": 0, f"{root}.b": 0})
        last = await scene.broker.append([message("a", 1.0)], last)

        async def gone() -> bool:
            return [each.subject for each in await scene.broker.latest(stream, f"{root}.>")] == [f"{root}.b"]

        await until(gone)
        await scene.broker.append([message("a", 60.0)], {f"{root}.a": 0})
