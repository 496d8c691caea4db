"""Making a folder: complete, or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from carrick.cli.generate import Generation
from carrick.cli.new import project
from carrick.cli.new.name import Name
from carrick.cli.new.project import make_project
from carrick.errors import ConfigurationError

NAME = Name("order-desk")


@pytest.fixture(autouse=True)
def _generated(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: Generation, say: Callable[[str], None]) -> None:
        Path("generated.py").touch()

    monkeypatch.setattr(Generation, "write", write)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    """It has the name already, and nothing in it; others may look in as into any folder."""
    (tmp_path / "order-desk").mkdir()
    made = make_project(NAME, tmp_path)
    assert made == tmp_path / "order-desk"
    assert (made / "generated.py").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["order-desk"]
    assert made.stat().st_mode == tmp_path.stat().st_mode | 0o055


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """A folder with anything in it, a file, and a link are refused."""
    target = tmp_path / "order-desk"
    target.mkdir()
    (target / "own.txt").touch()
    with pytest.raises(ConfigurationError, match="order-desk is there already and not empty; choose another name"):
        make_project(NAME, tmp_path)
    (target / "own.txt").rename(tmp_path / "own.txt")
    target.rmdir()
    target.symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="is there already"):
        make_project(NAME, tmp_path)
    target.unlink()
    target.touch()
    with pytest.raises(ConfigurationError, match="is there already"):
        make_project(NAME, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["order-desk", "own.txt"]


def test_nothing_is_left_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what generating needs, there is no half of a project, and the command's folder is as before."""

    def fail(*_: object) -> None:
        raise ConfigurationError("there is no compiler")

    before = Path.cwd()
    monkeypatch.setattr(project, "choose_template", fail)
    with pytest.raises(ConfigurationError, match="there is no compiler"):
        make_project(NAME, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert Path.cwd() == before
