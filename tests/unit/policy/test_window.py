"""Sliding counts against a list of everything that happened."""

from hypothesis import given
from hypothesis import strategies as st

from carrick.policy.window import LastCounts, SlidingCounts

_EVENTS = st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(0, 2))), max_size=60)


@given(_EVENTS)
def test_what_is_counted_is_what_happened_in_the_last_ten_slices(events: list[tuple[int, set[int]]]) -> None:
    """With a window of ten seconds, a slice is a second: the counts are those of this second and the nine before."""
    counts = SlidingCounts(10.0, 3)
    happened: list[tuple[int, int]] = []
    now = 100
    for passed, kinds in events:
        now += passed
        counts.add_each(now, tuple(kinds))
        happened += [(now, kind) for kind in kinds]
        recent = [kind for second, kind in happened if second > now - 10]
        assert counts.totals(now) == [recent.count(kind) for kind in range(3)]


def test_nothing_is_left_after_the_window_or_after_clearing() -> None:
    """Reading alone drops what is too old."""
    counts = SlidingCounts(1.0, 1)
    counts.add(5.0, 0)
    assert counts.totals(5.89) == [1]
    assert counts.totals(6.0) == [0]
    counts.add(6.0, 0)
    counts.clear()
    assert counts.totals(6.0) == [0]


@given(st.integers(1, 5), st.lists(st.sets(st.integers(0, 2)), max_size=40))
def test_the_last_so_many_are_counted(size: int, events: list[set[int]]) -> None:
    """A window of calls holds as many as it is large, whatever the time."""
    counts = LastCounts(size, 3)
    for number, kinds in enumerate(events, start=1):
        counts.add_each(0.0, tuple(kinds))
        recent = events[max(0, number - size) : number]
        assert counts.totals(1e9) == [sum(kind in each for each in recent) for kind in range(3)]
    counts.clear()
    assert counts.totals(0.0) == [0, 0, 0]
    counts.add(0.0, 1)
    assert counts.totals(0.0) == [0, 1, 0]
