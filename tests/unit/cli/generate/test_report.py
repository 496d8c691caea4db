"""What the command prints."""

from pathlib import Path

from carrick.cli.generate.changes import Changes
from carrick.cli.generate.report import differences, summary


def _changes(write: dict[Path, bytes], *, remove: tuple[Path, ...] = (), left: tuple[Path, ...] = ()) -> Changes:
    return Changes(write=write, remove=remove, left=left, checksums={})


def test_each_difference_has_a_line_and_the_start_of_its_diff() -> None:
    """Missing, different and stale files are told apart."""
    there = {Path("changed.py"): b"a\nb\n"}
    changes = _changes(
        {Path("changed.py"): b"a\nc\n", Path("new.py"): b"a\n"}, remove=(Path("old.py"),), left=(Path("own.py"),)
    )
    assert list(differences(changes, there.get)) == [
        "different: changed.py",
        "  --- changed.py (there)",
        "  +++ changed.py (generated)",
        "  @@ -1,2 +1,2 @@",
        "   a",
        "  -b",
        "  +c",
        "missing: new.py",
        "stale: old.py (no contract gives this file)",
        "stale: own.py (no contract gives this file, and it was changed by hand)",
    ]


def test_the_diff_is_bounded() -> None:
    """In width, in lines of a file, and in all."""
    lines = b"".join(b"%d\n" % number for number in range(1000))
    changes = _changes({Path(f"{number:03}.py"): lines + b"x" * 1000 for number in range(100)})
    found = list(differences(changes, lambda _: b""))
    assert len(found) == 201
    assert found[-1] == "... and 1900 lines more"
    assert max(map(len, found)) <= 162


def test_the_summary_counts() -> None:
    """How many there are, were written and were removed."""
    changes = _changes({Path("a"): b""}, remove=(Path("b"), Path("c")))
    assert summary(changes, 7) == "7 files, 1 written, 2 removed"
