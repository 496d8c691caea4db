"""An app: parts started in order, stopped in the opposite order, by signal or by event."""

import asyncio
import os
import signal
from types import TracebackType
from typing import Self

import pytest

from carrick.app import App
from tests.unit.testing.programs import until


class Part:
    """Writes down what happens to it; can wait or fail while it starts or stops."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log
        self.may_start = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_start.set()
        self.may_stop.set()
        self.start_error: Exception | None = None
        self.stop_error: Exception | None = None

    async def __aenter__(self) -> Self:
        """Start."""
        self.log.append(f"{self.name} starts")
        await self.may_start.wait()
        if self.start_error:
            raise self.start_error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.log.append(f"{self.name} stops")
        await self.may_stop.wait()
        if self.stop_error:
            raise self.stop_error


def _three() -> tuple[list[str], Part, Part, Part]:
    log: list[str] = []
    return log, Part("a", log), Part("b", log), Part("c", log)


async def _end(running: asyncio.Task[None]) -> None:
    """Wait for the end, but not for ever."""
    async with asyncio.timeout(20):
        await running


ALL = ["a starts", "b starts", "c starts", "c stops", "b stops", "a stops"]


async def test_parts_start_in_order_and_stop_in_the_opposite_order() -> None:
    """What others lean on is there first and goes last."""
    log, *parts = _three()
    stop = asyncio.Event()
    running = asyncio.create_task(App("t", *parts).run(stop))
    await until(lambda: log == ALL[:3])
    stop.set()
    await _end(running)
    assert log == ALL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it(number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C are a clean stop."""
    log, *parts = _three()
    running = asyncio.create_task(App("t", *parts).run())
    await until(lambda: log == ALL[:3])
    os.kill(os.getpid(), number)
    await _end(running)
    assert log == ALL


async def test_a_part_that_does_not_start_stops_those_before_it() -> None:
    """The error comes out, the earlier parts are stopped, the later ones never start."""
    log, a, b, c = _three()
    b.start_error = OSError("no port")
    with pytest.raises(OSError, match="no port"):
        await App("t", a, b, c).run()
    assert log == ["a starts", "b starts", "a stops"]


async def test_a_stop_during_the_start_ends_it() -> None:
    """Whoever waits for a database that is not there need not wait to the end; that is no error."""
    log, a, b, c = _three()
    b.may_start.clear()
    stop = asyncio.Event()
    running = asyncio.create_task(App("t", a, b, c).run(stop))
    await until(lambda: log == ["a starts", "b starts"])
    stop.set()
    await _end(running)
    assert log == ["a starts", "b starts", "a stops"]


async def test_a_stop_before_the_start_starts_and_stops_nothing_for_long() -> None:
    """A stop that was asked for already ends the run at once, whatever was begun is stopped."""
    log, *parts = _three()
    stop = asyncio.Event()
    stop.set()
    await App("t", *parts).run(stop)
    assert sorted(line for line in log if "stops" in line) == sorted(
        line.replace("starts", "stops") for line in log if "starts" in line
    )


async def test_an_error_while_stopping_stops_the_rest_all_the_same() -> None:
    """The parts below are stopped, then the error comes out."""
    log, a, b, c = _three()
    c.stop_error = OSError("while stopping")
    stop = asyncio.Event()
    running = asyncio.create_task(App("t", a, b, c).run(stop))
    await until(lambda: log == ALL[:3])
    stop.set()
    with pytest.raises(OSError, match="while stopping"):
        await _end(running)
    assert log == ALL


async def test_a_second_signal_cuts_the_stopping_short(caplog: pytest.LogCaptureFixture) -> None:
    """A part that hangs while it stops is cancelled, the others are stopped, and it is said."""
    log, a, b, c = _three()
    c.may_stop.clear()
    running = asyncio.create_task(App("shop", a, b, c).run())
    await until(lambda: log == ALL[:3])
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: log == ALL[:4])
    os.kill(os.getpid(), signal.SIGTERM)
    await _end(running)
    assert log == ALL
    assert "shop was stopped before it had finished" in caplog.text


async def test_cancelling_the_run_stops_the_parts() -> None:
    """Who cancels the run hears that it was cancelled, after the parts were stopped."""
    log, *parts = _three()
    running = asyncio.create_task(App("t", *parts).run())
    await until(lambda: log == ALL[:3])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await _end(running)
    assert log == ALL


async def test_cancelling_the_run_while_it_stops_is_a_cancellation_too() -> None:
    """A cancellation from outside is never swallowed, also when a stop was asked for before."""
    log, a, b, c = _three()
    c.may_stop.clear()
    stop = asyncio.Event()
    running = asyncio.create_task(App("t", a, b, c).run(stop))
    await until(lambda: log == ALL[:3])
    stop.set()
    await until(lambda: log == ALL[:4])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await _end(running)
    assert log == ALL
