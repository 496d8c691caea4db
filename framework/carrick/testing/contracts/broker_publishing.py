"""Publishing and appending: stored once, in order, and only where nothing came before."""

import pytest

from carrick.errors import Code, MessagingError
from carrick.messaging import MAX_BATCH, Message
from carrick.testing.contracts.broker_site import Scene, SharedScene, fetched, numbers, until_pending

__all__ = ["PublishingContract"]

ACK_WAIT = 0.3


@pytest.mark.asyncio
class PublishingContract(SharedScene):
    """What is published is stored, once."""

    async def test_an_id_is_stored_once(self, scene: Scene) -> None:
        """A repeated publish succeeds and stores nothing, whatever it brings; other ids are others."""
        await scene.broker.publish(scene.message(1, msg_id="same"))
        await scene.broker.publish(scene.message(2, msg_id="same"))
        await scene.broker.publish(scene.message(3, branch="b", msg_id="same"))
        await scene.broker.publish(scene.message(4, msg_id="other"))
        consumer = await scene.consume()
        assert numbers(await fetched(consumer, 2)) == [1, 4]
        await until_pending(consumer)

    @pytest.mark.parametrize("count", [1, 3, 60, MAX_BATCH])
    async def test_what_is_appended_is_stored_in_order(self, scene: Scene, count: int) -> None:
        """Over all subjects; the broker says where each of them has come to."""
        messages = scene.messages(*range(count), branches="ab")
        last = await scene.broker.append(messages, dict.fromkeys(scene.subjects("ab"), 0))
        expected = {message.subject: sequence for sequence, message in enumerate(messages, start=1)}
        assert last == expected
        assert {subject: await scene.broker.last(scene.stream, subject) for subject in expected} == expected
        assert numbers(await fetched(await scene.consume(), count)) == list(range(count))

    @pytest.mark.parametrize("count", [1, 3, 60])
    async def test_nothing_is_appended_to_a_subject_that_has_gone_on(self, scene: Scene, count: int) -> None:
        """Another sender's message there: nothing is stored behind it, nor of what else is in the batch."""
        first, second = scene.subjects("ab")
        await scene.publish(1000, branch="b")
        messages = scene.messages(*range(count), branches="b") if count == 1 else scene.messages(*range(count))[:-1]
        if count > 1:
            messages.append(scene.message(count, "b"))
        with pytest.raises(MessagingError) as raised:
            await scene.broker.append(messages, {first: 0, second: 0})
        assert raised.value.code is Code.ABORTED
        stored = await scene.broker.last(scene.stream, first)
        as_a_whole = scene.site.stores_as_a_whole and count != 3  # what goes one by one is there as far as it came
        assert stored in ((0,) if as_a_whole else (0, count))
        assert await scene.broker.last(scene.stream, second) == 1

    @pytest.mark.parametrize("count", [1, 60])
    async def test_the_same_is_not_appended_twice(self, scene: Scene, count: int) -> None:
        """A sender that did not hear of its first try, or woke up late, changes nothing, whatever it expects."""
        (subject,) = scene.subjects("a")
        messages = scene.messages(*range(count))
        last = await scene.broker.append(messages, {subject: 0})
        for expected in ({subject: 0}, last):
            with pytest.raises(MessagingError) as raised:
                await scene.broker.append(messages, expected)
            assert raised.value.code is Code.ABORTED
        assert await scene.broker.last(scene.stream, subject) == count

    @pytest.mark.parametrize("count", [1, 60])
    async def test_a_subject_that_no_stream_takes_is_refused_for_good(self, scene: Scene, count: int) -> None:
        """That is no outage: trying again would not help."""
        messages = [
            Message(stream=scene.stream, subject="nowhere.a.p00", id=str(each), data=b"") for each in range(count)
        ]
        with pytest.raises(MessagingError) as raised:
            await scene.broker.append(messages, {"nowhere.a.p00": 0})
        assert raised.value.code is Code.NOT_FOUND

    async def test_ensuring_a_stream_twice_is_fine(self, scene: Scene) -> None:
        """The stream and what it holds stay."""
        await scene.publish(1)
        await scene.broker.ensure_stream(scene.stream, [f"{scene.root}.>"])
        assert numbers(await fetched(await scene.consume(), 1)) == [1]

    async def test_a_stream_without_the_subjects_is_refused(self, scene: Scene) -> None:
        """A stream that somebody made otherwise is not changed behind their back: the missing subjects are named."""
        with pytest.raises(MessagingError, match=rf"stream {scene.stream} .*lacks .*'more\.{scene.root}\.>'"):
            await scene.broker.ensure_stream(scene.stream, [f"{scene.root}.>", f"more.{scene.root}.>"])

    async def test_a_subject_of_no_stream_is_refused(self, scene: Scene) -> None:
        """A message that nobody would store raises; it does not vanish."""
        with pytest.raises(MessagingError):
            await scene.broker.publish(Message(stream=scene.stream, subject="nowhere.a", id="1", data=b""))

    async def test_a_missing_stream_is_refused(self, scene: Scene) -> None:
        """Neither publishing to it nor consuming from it works."""
        with pytest.raises(MessagingError):
            await scene.broker.publish(Message(stream="MISSING", subject="nowhere.a", id="1", data=b""))
        with pytest.raises(MessagingError):
            await scene.broker.consume("MISSING", "c", ["nowhere.>"], ack_wait=1.0, max_in_flight=1)
