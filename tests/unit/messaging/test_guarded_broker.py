from collections.abc import Sequence
from typing import Any

import pytest

from carrick import Code, MessagingError, RetryOptions
from carrick.messaging import Consumer, GuardedBroker, Message
from carrick.resource import Resource
from carrick.testing import FakeClock, MemoryBroker
from tests.unit.calls import Seen, half

_MESSAGE = Message(stream="S", subject="s.a", id="1", data=b"x")


class _Away(MemoryBroker):
    """A broker that fails as often as it is told, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Code] = []
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.failures:
            raise MessagingError(self.failures.pop(0), "as told")

    async def publish(self, message: Message) -> None:
        self._ask()
        await super().publish(message)

    async def ensure_stream(self, name: str, subjects: Sequence[str], *, last_only_for: float | None = None) -> None:
        self._ask()
        await super().ensure_stream(name, subjects, last_only_for=last_only_for)

    async def consume(self, stream: str, name: str, filters: Sequence[str], **options: Any) -> Consumer:
        self._ask()
        return await super().consume(stream, name, filters, **options)


class _Guarded:
    """A broker behind a guard with a fake clock."""

    def __init__(self, *, retry: RetryOptions | None = None) -> None:
        self.inner = _Away()
        self.clock = FakeClock(autojump=True)
        self.seen = Seen()
        self.resource = Resource("broker", retry=retry, clock=self.clock, uniform=half, observe=self.seen)
        self.broker = GuardedBroker(self.inner, self.resource)

    @property
    def counts(self) -> tuple[int, int, int]:
        """What the circuit has counted."""
        state = self.resource.breaker("request")
        assert state is not None
        return state.counts(self.clock.monotonic())


async def test_what_is_asked_goes_through() -> None:
    """Streams, messages and consumers are the broker's own, and each call counts."""
    guarded = _Guarded()
    await guarded.broker.ensure_stream("S", ["s.>"])
    await guarded.broker.publish(_MESSAGE)
    consumer = await guarded.broker.consume("S", "c", ["s.*"], ack_wait=1.0, max_in_flight=1)
    assert [delivery.data for delivery in await consumer.fetch(1, 0.0)] == [b"x"]
    assert (guarded.inner.asked, guarded.counts) == (3, (3, 0, 0))


async def test_with_the_circuit_open_nothing_is_asked_of_the_broker() -> None:
    """The error is what a relay and a subscriber expect of a broker that is away; it was certainly not published."""
    guarded = _Guarded()
    await guarded.broker.ensure_stream("S", ["s.>"])
    guarded.inner.failures = [Code.UNAVAILABLE] * 3
    for _ in range(3):  # with the success before them, four calls
        with pytest.raises(MessagingError, match="as told"):
            await guarded.broker.publish(_MESSAGE)
    asked = guarded.inner.asked
    for refused in (guarded.broker.publish(_MESSAGE), guarded.broker.ensure_stream("S", [])):
        with pytest.raises(MessagingError, match="the circuit to broker is open") as caught:
            await refused
        assert caught.value.code is Code.UNAVAILABLE
        assert caught.value.attempt is not None
        assert not caught.value.attempt.sent
    assert guarded.inner.asked == asked

    guarded.clock.advance(1.0)
    await guarded.broker.publish(_MESSAGE)
    assert guarded.seen.names == ["ResourceDegraded", "ResourceRecovered"]


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION])
async def test_what_the_broker_refuses_for_a_reason_is_an_answer(code: Code) -> None:
    """A message that is too large, or a stream with other subjects, says nothing against the broker."""
    guarded = _Guarded(retry=RetryOptions())
    guarded.inner.failures = [code] * 5
    for _ in range(5):
        with pytest.raises(MessagingError):
            await guarded.broker.publish(_MESSAGE)
    assert guarded.inner.asked == 5
    assert guarded.counts == (5, 0, 0)


async def test_a_publish_is_repeated_under_its_id() -> None:
    """A stream stores an id once, so a publish of unknown fate may be tried again where retries are asked for."""
    guarded = _Guarded(retry=RetryOptions(max_attempts=3))
    await guarded.broker.ensure_stream("S", ["s.>"])
    guarded.inner.failures = [Code.UNAVAILABLE] * 2
    await guarded.broker.publish(_MESSAGE)
    assert guarded.inner.asked == 4
    assert guarded.counts == (2, 0, 0)
