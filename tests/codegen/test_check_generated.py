"""`make check-generated`: what differs is listed, and nothing else."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.codegen.compiling import ROOT


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script, which lies outside of any package."""
    spec = importlib.util.spec_from_file_location("check_generated", ROOT / "tools" / "check_generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / "gen" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def test_missing_stale_and_different_files(script: ModuleType, tmp_path: Path) -> None:
    """Each file that differs has a line, and what changed in it is shown."""
    _write(tmp_path / "old", same="a\n", changed="a\nb\n", stale="a\n")
    _write(tmp_path / "new", same="a\n", changed="a\nc\n", missing="a\n")
    tree = script.Tree("buf.gen.yaml", "gen", "*")
    lines = list(script.differences(tree, committed=tmp_path / "old", fresh=tmp_path / "new"))
    assert lines == [
        "different: gen/changed.py",
        "  --- committed",
        "  +++ generated",
        "  @@ -1,2 +1,2 @@",
        "   a",
        "  -b",
        "  +c",
        "missing: gen/missing.py",
        "stale: gen/stale.py (no contract gives this file)",
    ]


def test_caches_and_written_files_do_not_count(script: ModuleType, tmp_path: Path) -> None:
    """Bytecode, and files that the pattern leaves to people, are not compared."""
    cache = tmp_path / "old" / "gen" / "__pycache__" / "a_pb2.pyc"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"")
    _write(tmp_path / "old", written="")
    tree = script.Tree("buf.gen.yaml", "gen", "*_pb2*")
    assert not list(script.differences(tree, committed=tmp_path / "old", fresh=tmp_path / "new"))


def test_the_committed_code_is_up_to_date(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """What is committed is what the contracts give."""
    assert script.main() == 0, capsys.readouterr().out
