"""Changing files so that nothing is half-written."""

import os
import stat
from pathlib import Path

import pytest

from carrick.cli.generate.disk import prune, read, remove, replace


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    """As any new file is: readable by those who may."""
    path = tmp_path / "a" / "b" / "c.py"
    replace(path, b"1")
    (tmp_path / "plain").touch()
    assert path.read_bytes() == b"1"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_crash_in_the_middle_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last step the old content is there, and afterwards nothing is left over."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "a.py"
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        replace(path, b"new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.py", b"old")]


def test_only_a_plain_file_has_content(tmp_path: Path) -> None:
    """What is missing, a folder, a link, a pipe and a device are no generated files: reading some would never end."""
    (tmp_path / "link").symlink_to(__file__)
    os.mkfifo(tmp_path / "pipe")
    others = (
        tmp_path / "none",
        tmp_path,
        tmp_path / "link",
        Path(__file__) / "x",
        tmp_path / "pipe",
        Path("/dev/zero"),
    )
    assert [read(path) for path in others] == [None] * len(others)


def test_empty_folders_go_with_the_files(tmp_path: Path) -> None:
    """Up to the output folder, and none that holds anything."""
    for name in ("gen/a/b/x.py", "gen/a/own.txt", "gen/c/d/y.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths = [tmp_path / "gen/a/b/x.py", tmp_path / "gen/c/d/y.py"]
    remove(paths)
    prune(paths, [str(tmp_path / "gen")])
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "gen",
        "gen/a",
        "gen/a/own.txt",
    ]


def test_the_output_folder_itself_stays(tmp_path: Path) -> None:
    """Even when nothing is left in it: somebody named it."""
    (tmp_path / "gen").mkdir()
    prune([tmp_path / "gen" / "x.py"], [str(tmp_path / "gen")])
    assert list(tmp_path.iterdir()) == [tmp_path / "gen"]


def test_what_another_run_has_removed_is_no_error(tmp_path: Path) -> None:
    """Two at once want the same: files and folders may be gone, or go in between."""
    (tmp_path / "gen" / "a").mkdir(parents=True)
    paths = [tmp_path / "gen/a/b/x.py", tmp_path / "gen/a/y.py"]
    remove(paths)
    prune(paths, [str(tmp_path / "gen")])
    assert list(tmp_path.rglob("*")) == [tmp_path / "gen"]
