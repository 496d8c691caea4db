"""Which contracts code is generated from."""

from pathlib import Path
from typing import Any

import pytest

from carrick.cli.generate.sources import find_sources
from carrick.cli.generate.template import parse
from carrick.errors import ConfigurationError

FILES = ("proto/a/v1/a.proto", "proto/a/v2/a.proto", "lib/b/b.proto", "proto/carrick/v1/options.proto")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two modules, one of which has the framework's contracts."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: proto}, {path: lib}]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _names(allow_carrick: bool = False, **given: Any) -> list[str]:
    plugins = [{"local": "x", "out": "gen"}]
    template = parse({"version": "v2", "inputs": [given], "plugins": plugins}, Path("buf.gen.yaml"))
    sources = find_sources(template, template.inputs[0], allow_carrick=allow_carrick)
    return [source.name for source in sources.files]


def test_a_module_or_all_of_them() -> None:
    """The folder of the input is a module, or has modules in it."""
    assert _names(directory="proto") == ["a/v1/a.proto", "a/v2/a.proto"]
    assert _names(directory=".") == ["a/v1/a.proto", "a/v2/a.proto", "b/b.proto"]


def test_the_order_of_modules_does_not_matter(folder: Path) -> None:
    """Contracts come in the order of their names, so what is generated depends on nothing else."""
    (folder / "buf.yaml").write_text("version: v2\nmodules: [{path: lib}, {path: proto}]\n")
    assert _names(directory=".") == ["a/v1/a.proto", "a/v2/a.proto", "b/b.proto"]


def test_paths_limit_it() -> None:
    """Files and folders may be named, and left out."""
    assert _names(directory="proto", paths=["proto/a/v1"]) == ["a/v1/a.proto"]
    assert _names(directory="proto", paths=["proto/a/v2/a.proto"]) == ["a/v2/a.proto"]
    assert _names(directory="proto", exclude_paths=["proto/a/v1"]) == ["a/v2/a.proto"]


def test_the_frameworks_own_contracts_are_left_out(folder: Path) -> None:
    """Wherever they lie, unless they are asked for."""
    copied = folder / "lib/vendor/options.proto"
    copied.parent.mkdir()
    copied.write_text('syntax = "proto3";\npackage carrick.v1;\n')
    assert _names(directory="lib") == ["b/b.proto"]
    assert "carrick/v1/options.proto" in _names(directory="proto", allow_carrick=True)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"directory": "none"}, "there is no folder none; write one, or change inputs in buf.gen.yaml"),
        ({"directory": "proto", "paths": ["proto/b"]}, "there is no contract in proto at proto/b; write one"),
        ({"directory": "proto/a"}, r"proto/a lies inside the module proto; write directory: proto with paths: \[pro"),
    ],
)
def test_nothing_to_generate_from_is_one_sentence(folder: Path, given: dict[str, Any], complaint: str) -> None:
    """What is missing, and what to do about it."""
    (folder / "buf.gen.yaml").touch()
    with pytest.raises(ConfigurationError, match=complaint):
        _names(**given)


def test_one_name_for_two_contracts_is_refused(folder: Path) -> None:
    """A compiler would take one of them."""
    (folder / "lib/a/v1").mkdir(parents=True)
    (folder / "lib/a/v1/a.proto").touch()
    complaint = "proto/a/v1/a.proto and lib/a/v1/a.proto are both imported as a/v1/a.proto; move or rename one"
    with pytest.raises(ConfigurationError, match=complaint):
        _names(directory=".")
