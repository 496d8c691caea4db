"""Finding the import that is missing."""

from pathlib import Path

import pytest

from carrick.cli.generate.imports import imported, missing_import
from carrick.cli.generate.runtime_protos import proto_path
from carrick.cli.generate.sources import Source, Sources
from carrick.cli.generate.workspace import Module, Workspace


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('syntax = "proto3"; import "a.proto";import public \'b.proto\' ;', ["a.proto", "b.proto"]),
        ('import weak "a.proto";\nimport option "b.proto";', ["a.proto", "b.proto"]),
        ('// import "a.proto";\n/* import "b.proto"; */ import /* x */ "c.proto";', ["c.proto"]),
        ('message M { string import = 1; option (x) = "import \\"a.proto\\";"; }', []),
        ("message M {} import 'a.proto';", ["a.proto"]),
        ("import", []),
    ],
)
def test_import_statements(text: str, names: list[str]) -> None:
    """Each kind is found; comments, texts and fields of that name are not taken for one."""
    assert list(imported(text)) == names


def _sources(folder: Path, *, deps: tuple[str, ...] = ()) -> Sources:
    module = Module(folder)
    return Sources(
        Workspace(root=folder, modules=(module,), deps=deps), (Source("a.proto", folder / "a.proto", module),)
    )


def test_a_missing_import_is_named_with_who_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However deep it is imported; what a compiler has itself is not missing."""
    monkeypatch.chdir(tmp_path)
    Path("a.proto").write_text('import "google/protobuf/any.proto"; import "b.proto"; import "c.proto";')
    Path("b.proto").write_text('import "a.proto"; import "x/y.proto";')
    Path("more").mkdir()
    Path("more/c.proto").touch()
    sentence = missing_import(_sources(tmp_path), [tmp_path / "more"])
    assert sentence is not None
    assert sentence.startswith('b.proto imports "x/y.proto", which is not in .; put the file there, or list the folder')
    with_deps = missing_import(_sources(tmp_path, deps=("buf.build/acme/x",)), [tmp_path / "more"])
    assert with_deps is not None
    assert with_deps.endswith("what buf.yaml has as deps only buf can fetch: pip install buf-bin, then --with buf")


def test_a_misspelt_import_is_recognized(tmp_path: Path) -> None:
    """Among the user's contracts and those that are found by themselves."""
    (tmp_path / "a.proto").write_text('import "carrick/v1/option.proto";')
    sentence = missing_import(_sources(tmp_path), [proto_path()])
    assert sentence is not None
    assert '; did you mean "carrick/v1/options.proto"? if not, put the file there, ' in sentence


def test_nothing_is_missing(tmp_path: Path) -> None:
    """Then the compiler's own words are all there is."""
    (tmp_path / "a.proto").write_text('import "a.proto"; message M { Q q = 1; }')
    assert missing_import(_sources(tmp_path), []) is None
