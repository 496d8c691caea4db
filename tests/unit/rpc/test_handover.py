"""Messages that a thread hands to an event loop."""

import threading
from collections.abc import Iterator

import pytest

from carrick.rpc.handover import Handover
from carrick.rpc.loop_thread import LoopThread
from tests.unit.streams import Item, item


@pytest.fixture(scope="module")
def loop() -> LoopThread:
    """Return a loop in a thread."""
    return LoopThread()


def sending(handover: Handover[Item]) -> threading.Thread:
    """Begin to send in a thread."""
    thread = threading.Thread(target=handover.send)
    thread.start()
    return thread


async def taken(handover: Handover[Item]) -> Item | None:
    """Return the next message, None at the end."""
    return await anext(handover, None)


def test_what_waits_is_a_copy(loop: LoopThread) -> None:
    """A generator that goes on with its one message does not change what it has handed over."""
    went_on = threading.Event()

    def reusing() -> Iterator[Item]:
        message = item(1)
        yield message
        message.total = 2
        went_on.set()
        yield message

    handover = Handover(loop, reusing())
    thread = sending(handover)
    assert went_on.wait(10)
    assert [loop.run(taken(handover)) for _ in range(3)] == [item(1), item(2), None]
    thread.join(10)


def test_closing_lets_the_sender_go(loop: LoopThread) -> None:
    """A sender that waits for room is told that no more is taken, and closes its generator."""
    closed = threading.Event()
    asked = threading.Semaphore(0)

    def endless() -> Iterator[Item]:
        try:
            while True:
                asked.release()
                yield item(1)
        finally:
            closed.set()

    handover = Handover(loop, endless())
    thread = sending(handover)
    assert all(asked.acquire(timeout=10) for _ in range(2))
    loop.run(handover.aclose())
    thread.join(10)
    assert closed.is_set()
