"""Freeing a plugin's errors of what compilers put around them."""

from pathlib import Path

import pytest

from carrick.cli.generate.plugin_errors import plain_errors
from carrick.cli.generate.sources import Source, Sources
from carrick.cli.generate.workspace import Module, Workspace


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    """One contract, ``proto/a/v1/a.proto`` from here."""
    monkeypatch.chdir(tmp_path)
    module = Module(tmp_path / "proto")
    contract = Source("a/v1/a.proto", module.root / "a/v1/a.proto", module)
    return Sources(Workspace(root=tmp_path, modules=(module,)), (contract,))


@pytest.mark.parametrize(
    "said",
    [
        "--local-carrick_out: a/v1/a.proto:9:5: no\na/v1/a.proto:10:5: nor that",
        "Failure: plugin protoc-gen-carrick: a/v1/a.proto:9:5: no\na/v1/a.proto:10:5: nor that",
        (
            "Failure: plugin protoc-gen-carrick: a/v1/a.proto:9:5: no\na/v1/a.proto:10:5: nor that\n"
            "context canceled\nplugin python: signal: killed"
        ),
        (
            "Failure: plugin pyi: signal: killed\nplugin protoc-gen-carrick: a/v1/a.proto:9:5: no\n"
            "a/v1/a.proto:10:5: nor that"
        ),
    ],
)
def test_an_error_names_the_file_from_here(said: str, sources: Sources) -> None:
    """Whichever compiler ran the plugin, and without a word of the plugins that it stopped."""
    assert plain_errors(said, [sources]) == "proto/a/v1/a.proto:9:5: no\nproto/a/v1/a.proto:10:5: nor that"


@pytest.mark.parametrize(
    "said",
    [
        "proto/a/v1/a.proto:9:5: Expected ';'.",
        "Failure: plugin protoc-gen-other: b.proto:1:1: not ours",
        "--local-carrick_out: unknown parameter",
        "Failure: plugin python: signal: killed",
    ],
)
def test_other_words_stay(said: str, sources: Sources) -> None:
    """The compiler's own, another contract's, and a plugin that was killed by itself."""
    assert plain_errors(said, [sources]) == said
