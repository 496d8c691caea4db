import os
import random
import subprocess
import sys
import time
import uuid

import pytest

from carrick.ids import MAX_ID_LENGTH, accepted_id, derived_id, random_id, time_ordered_id, unique_id


def test_random_ids_are_32_digits() -> None:
    """A random id has 128 bits and is not given twice."""
    ids = {random_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


def test_unique_ids_have_the_digits_asked_for() -> None:
    """Leading zeros are there, and no id is given twice."""
    ids = {unique_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert {len(each) for each in ids} == {32}
    assert {len(unique_id(1)) for _ in range(100)} == {1}
    assert len(unique_id(48)) == 48


def test_unique_ids_do_not_follow_a_programs_seed() -> None:
    """Processes that seed Python's generator alike name their calls differently all the same."""
    ids = []
    for _ in range(2):
        random.seed(42)
        ids.append(unique_id())

    assert ids[0] != ids[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork to survive")
def test_a_forked_process_has_ids_of_its_own() -> None:
    """A child does not go on with the parent's numbers."""
    program = "import os; from carrick.ids import unique_id; unique_id(); os.fork(); os.write(1, unique_id().encode())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout

    assert len(said) == 64
    assert said[:32] != said[32:]


def test_time_ordered_ids_are_uuid7() -> None:
    """Version and variant bits are those of RFC 9562, for any random bits."""
    for _ in range(200):
        text = time_ordered_id()
        parsed = uuid.UUID(text)

        assert str(parsed) == text
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122


def test_time_ordered_ids_hold_the_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 48 bits are the Unix time in milliseconds."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_999_999)

    assert uuid.UUID(time_ordered_id()).int >> 80 == 1_700_000_000_123


def test_time_ordered_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of later milliseconds sort after those of earlier ones, as text too."""
    ids = []
    for millisecond in range(50):
        monkeypatch.setattr(time, "time_ns", lambda now=millisecond: (1_700_000_000_000 + now) * 1_000_000)
        ids.append(time_ordered_id())

    assert ids == sorted(ids)


def test_derived_ids_are_pinned() -> None:
    """The same parts give the same id in every version."""
    assert derived_id("a", "b") == "51f0df627eafec87293cace2af5bdf2a"
    assert derived_id() == "cae66941d9efbd404e4d88758ea67670"


def test_derived_ids_keep_parts_apart() -> None:
    """Parts that join to the same text give different ids."""
    assert len({derived_id("ab", "c"), derived_id("a", "bc"), derived_id("abc"), derived_id("abc", "")}) == 4


@pytest.mark.parametrize("value", ["a", "!", "~", "0f8fad5b-d9cb-469f-a165-70867728950e", "x" * MAX_ID_LENGTH])
def test_accepted_ids(value: str) -> None:
    """1 to 128 visible ASCII characters are taken as they are."""
    assert accepted_id(value) == value


@pytest.mark.parametrize(
    "value",
    ["", "x" * (MAX_ID_LENGTH + 1), "a b", " a", "a\n", "a\x00", "\x7f", "é", b"bytes", None, 7],
)
def test_refused_ids(value: object) -> None:
    """Whatever is empty, too long, invisible, beyond ASCII or no text is not an id."""
    assert accepted_id(value) is None
