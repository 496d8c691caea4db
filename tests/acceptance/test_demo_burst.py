"""The burst demo, small: it plays to its end, and each of its checks can fail."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.demo.burst.timeline import Phases, Timeline, checks

CAPACITY = 60.0
PHASES = Phases(burst=2.0, calm=4.0)


def test_a_short_burst_is_handled_once_and_drawn(tmp_path: Path) -> None:
    """What it prints names every check; a busy machine may keep it from its rates, but never loses an event."""
    done = subprocess.run(
        [sys.executable, "-m", "services.demo.burst", "--burst", "0.4", "--steady", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    answers = {line[:3].strip() for line in done.stdout.splitlines() if "every event handled once" in line}
    assert answers == {"yes"}, done.stdout
    assert "yes  depth rose" in done.stdout
    assert "yes  depth fell to 0" in done.stdout
    assert "<polyline" in (tmp_path / "demo-results" / "burst.svg").read_text("utf-8")


def run(depth: int = 600, rate: float = CAPACITY, slow: float = 3.0, end: int = 0) -> Timeline:
    """Return a run of a burst of so many events, that were handled at this rate."""
    timeline = Timeline()
    for look in range(100):
        at = look / 4
        written = 0 if at < PHASES.burst else depth
        handled = min(max(at - PHASES.burst, 0.0) * rate, depth - end)
        timeline.written.append((at, written))
        timeline.handled.append((at, round(handled)))
    timeline.latencies = [(number / depth * 4, slow if number > depth / 2 else 3.0) for number in range(depth)]
    return timeline


def test_a_run_as_it_should_be_passes() -> None:
    """All of its checks hold."""
    assert all(check.ok for check in checks(run(), PHASES, CAPACITY, dict.fromkeys(range(600), 1)))


@pytest.mark.parametrize(
    ("failing", "make", "effects"),
    [
        ("depth rose", lambda: run(depth=30), [1] * 30),
        ("depth fell", lambda: run(end=5), [1] * 600),
        ("handled at capacity", lambda: run(rate=40.0), [1] * 600),
        ("senders' p99", lambda: run(slow=12.0), [1] * 600),
        ("every event", run, [1] * 599),
        ("every event", run, [1] * 599 + [2]),
    ],
)
def test_each_check_can_fail(failing: str, make: Callable[[], Timeline], effects: list[int]) -> None:
    """What is wrong fails the check for it."""
    found = checks(make(), PHASES, CAPACITY, dict(enumerate(effects)))
    assert [check.what for check in found if not check.ok and check.what.startswith(failing)]
