"""What a compiler is given to do."""

from pathlib import Path
from typing import Any

import pytest

from carrick.cli.generate.job import Job, make_job
from carrick.cli.generate.template import Template, parse
from carrick.errors import ConfigurationError


def _template(**plugin: Any) -> Template:
    return parse({"version": "v2", "plugins": [{"out": "gen", **plugin}]}, Path("buf.gen.yaml"))


@pytest.mark.parametrize(
    ("plugin", "relative", "options"),
    [
        ({"local": "protoc-gen-carrick"}, True, "relative_imports=true"),
        ({"local": "bin/protoc-gen-carrick", "opt": "a=b"}, True, "a=b,relative_imports=true"),
        ({"local": "protoc-gen-carrick", "opt": "relative_imports=true"}, True, "relative_imports=true"),
        ({"local": "protoc-gen-carrick", "opt": ["a=b", "c"]}, False, "a=b,c"),
        ({"local": "protoc-gen-other"}, True, ""),
        ({"protoc_builtin": "pyi"}, True, ""),
    ],
)
def test_the_frameworks_plugin_is_told_of_relative_imports(
    plugin: dict[str, Any], relative: bool, options: str
) -> None:
    """Once, beside its own options; no other plugin knows the parameter."""
    template = _template(**plugin)
    job = Job(template=template, sources=(), folders={}, relative_imports=relative)
    assert job.options(template.plugins[0]) == options


@pytest.mark.parametrize(
    ("plugin", "relative", "each_folder"),
    [
        ({"local": "protoc-gen-carrick"}, False, True),
        ({"local": "protoc-gen-carrick"}, True, False),
        ({"local": "protoc-gen-other"}, True, True),
        ({"local": "protoc-gen-other", "strategy": "all"}, False, False),
    ],
)
def test_relative_imports_want_one_run(plugin: dict[str, Any], relative: bool, each_folder: bool) -> None:
    """The framework's plugin knows of its own run only, so all folders are in it then."""
    template = _template(**plugin)
    job = Job(template=template, sources=(), folders={}, relative_imports=relative)
    assert job.each_folder(template.plugins[0]) is each_folder


def test_each_output_has_a_folder_that_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is generated into the user's own."""
    into, project = tmp_path / "into", tmp_path / "project"
    into.mkdir()
    project.mkdir()
    (project / "a.proto").touch()
    monkeypatch.chdir(project)
    job = make_job(_template(protoc_builtin="pyi"), into, allow_carrick=False, relative_imports=False)
    assert job.folders == {"gen": into / "0"}
    assert [source.name for sources in job.sources if sources for source in sources.files] == ["a.proto"]
    assert [path.name for path in project.iterdir()] == ["a.proto"]


def test_a_missing_plugin_is_one_sentence(tmp_path: Path) -> None:
    """Before any compiler is run."""
    with pytest.raises(ConfigurationError, match="there is no program protoc-gen-none; install it, or put it on PATH"):
        make_job(_template(local="protoc-gen-none"), tmp_path, allow_carrick=False, relative_imports=False)
