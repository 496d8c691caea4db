"""Deciding what to write and what to remove."""

from pathlib import Path

import pytest

from carrick.cli.generate.changes import Changes, decide
from carrick.cli.generate.manifest import checksum

NEW, OLD, OWN = b"new\n", b"old\n", b"somebody's own\n"


def _decide(fresh: dict[str, bytes], known: dict[str, bytes], there: dict[str, bytes], *outs: str) -> Changes:
    return decide(
        {Path(path): content for path, content in fresh.items()},
        {Path(path): checksum(content) for path, content in known.items()},
        outs or ("gen",),
        lambda path: there.get(str(path)),
    )


def test_only_what_differs_is_written() -> None:
    """New files and changed ones; what is the same is left alone."""
    changes = _decide({"gen/a": NEW, "gen/b": NEW, "gen/c": NEW}, {}, {"gen/a": NEW, "gen/b": OLD})
    assert dict(changes.write) == {Path("gen/b"): NEW, Path("gen/c"): NEW}
    assert changes.remove == ()
    assert set(changes.checksums) == {Path("gen/a"), Path("gen/b"), Path("gen/c")}


def test_what_nothing_gives_any_more_is_removed() -> None:
    """It was generated earlier, and is still as it was then."""
    changes = _decide({"gen/a": NEW}, {"gen/a": OLD, "gen/b": OLD}, {"gen/a": OLD, "gen/b": OLD})
    assert changes.remove == (Path("gen/b"),)
    assert set(changes.checksums) == {Path("gen/a")}


def test_somebodys_own_files_are_never_removed() -> None:
    """Neither what was never generated, nor what was changed since."""
    changes = _decide({}, {"gen/b": OLD}, {"gen/b": OWN, "gen/own": OWN})
    assert (changes.remove, changes.left) == ((), (Path("gen/b"),))
    assert changes.checksums == {}


@pytest.mark.parametrize("path", ["other/a", "gen/../other/a", "general/a", "/etc/a"])
def test_nothing_outside_of_the_outputs_is_removed(path: str) -> None:
    """An output that the template no longer has keeps its files, and its place in the list."""
    changes = _decide({}, {path: OLD}, {path: OLD})
    assert (changes.remove, changes.left) == ((), ())
    assert changes.checksums == {Path(path): checksum(OLD)}


def test_what_is_gone_already_is_forgotten() -> None:
    """Somebody deleted it: there is nothing to do."""
    changes = _decide({}, {"gen/a": OLD, "other/b": OLD}, {})
    assert (changes.remove, changes.checksums) == ((), {})


def test_a_link_out_of_the_output_is_not_followed(tmp_path: Path) -> None:
    """A folder that is a link elsewhere is outside."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "gen").mkdir()
    (tmp_path / "gen" / "link").symlink_to(tmp_path / "elsewhere")
    path = str(tmp_path / "gen" / "link" / "a")
    assert _decide({}, {path: OLD}, {path: OLD}, str(tmp_path / "gen")).remove == ()


def test_a_file_that_is_generated_is_never_removed_under_another_name(tmp_path: Path) -> None:
    """However its path is written, and through whatever link it leads."""
    (tmp_path / "gen").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gen")
    path, other = str(tmp_path / "gen" / "a"), str(tmp_path / "link" / ".." / "link" / "a")
    changes = _decide({path: NEW}, {other: NEW}, {path: NEW, other: NEW}, str(tmp_path / "gen"))
    assert (changes.write, changes.remove, set(changes.checksums)) == ({}, (), {Path(path)})


def test_a_path_that_changes_in_case_only_is_written_again() -> None:
    """Where the file system takes both for one, removing the old one has removed the new one."""
    there = {"gen/Orders": NEW, "gen/orders": NEW}
    changes = _decide({"gen/orders": NEW}, {"gen/Orders": NEW}, there)
    assert (changes.remove, dict(changes.write)) == ((Path("gen/Orders"),), {Path("gen/orders"): NEW})
