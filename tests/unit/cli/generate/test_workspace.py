"""Finding the modules that imports are looked for in."""

from pathlib import Path

import pytest

from carrick.cli.generate.workspace import Module, find_workspace
from carrick.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two modules and a file in each, but no buf.yaml."""
    for name in ("proto/a/v1/a.proto", "lib/b/b.proto", "lib/.git/c.proto", "lib/b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _names(module: Module) -> list[str]:
    return [name for name, _ in module.files()]


def test_a_folder_by_itself_is_a_module(folder: Path) -> None:
    """Without a buf.yaml, imports begin in the folder; hidden ones in it are passed over."""
    workspace = find_workspace(folder / "lib")
    assert workspace.root == folder / "lib"
    assert [_names(module) for module in workspace.modules] == [["b/b.proto"]]
    assert workspace.holds("b/b.proto")
    assert not workspace.holds("a/v1/a.proto")


def test_the_nearest_buf_yaml_lists_the_modules(folder: Path) -> None:
    """All its modules may be imported, whichever is generated from."""
    (folder / "buf.yaml").write_text("version: v2\nmodules: [{path: proto}, {path: lib}]\ndeps: [buf.build/acme/x]\n")
    workspace = find_workspace(Path("proto"))
    assert [module.root for module in workspace.modules] == [folder / "proto", folder / "lib"]
    assert workspace.deps == ("buf.build/acme/x",)


def test_a_buf_yaml_that_has_nothing_to_do_with_the_folder_is_passed_by(folder: Path) -> None:
    """As buf does."""
    (folder / "buf.yaml").write_text("version: v2\nmodules: [{path: proto}]\n")
    assert find_workspace(Path("lib")).root == folder / "lib"


def test_modules_are_limited_as_they_say(folder: Path) -> None:
    """``excludes`` and ``includes`` hold."""
    (folder / "lib/d").mkdir()
    (folder / "lib/d/d.proto").touch()
    (folder / "buf.yaml").write_text("version: v2\nmodules: [{path: lib, excludes: [lib/b]}]\n")
    assert _names(find_workspace(Path("lib")).modules[0]) == ["d/d.proto"]
    (folder / "buf.yaml").write_text("version: v2\nmodules: [{path: lib, includes: [lib/b]}]\n")
    assert _names(find_workspace(Path("lib")).modules[0]) == ["b/b.proto"]


def test_a_link_that_leads_back_is_not_followed(folder: Path) -> None:
    """Links are followed, but not round in circles."""
    (folder / "lib/b/up").symlink_to(folder / "lib")
    (folder / "lib/a").symlink_to(folder / "proto/a")
    assert _names(Module(folder / "lib")) == ["a/v1/a.proto", "b/b.proto"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version: v1\n", "buf.yaml is of version 'v1', not v2; run: buf config migrate"),
        ("version: v2\nmodules: proto\n", "buf.yaml: modules must be a list, for example - path: proto"),
        ("version: v2\nmodules: [{path: prot}]\n", "there is no folder prot, which buf.yaml names as a module"),
        ("version: v2\nmodules: [{path: [a]}]\n", "buf.yaml: a path must be a folder"),
        ("version: v2\ndeps: x\n", "buf.yaml: deps must be a list of names"),
    ],
)
def test_a_bad_buf_yaml_is_one_sentence(folder: Path, text: str, complaint: str) -> None:
    """What is wrong, and what to write or run instead."""
    (folder / "buf.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        find_workspace(Path("proto"))


def test_the_old_workspace_file_is_refused(folder: Path) -> None:
    """buf.work.yaml would be ignored by what reads version v2."""
    (folder / "buf.work.yaml").touch()
    with pytest.raises(ConfigurationError, match=r"buf\.work\.yaml is of version v1; run: buf config migrate"):
        find_workspace(Path("proto"))
