"""Golden tests: the contracts in golden/input give exactly golden/expected (named .txt to keep linters out).

After a change that is meant to show, write the expected files anew and read the diff:

    CARRICK_REGENERATE_GOLDEN=1 .venv/bin/python -m pytest tests/codegen/test_render.py
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest

from carrick_codegen.plugin import generate
from tests.codegen.compiling import PROTO, ROOT, WELL_KNOWN, compile_folder

GOLDEN = ROOT / "tests" / "codegen" / "golden"
INPUT = GOLDEN / "input"
EXPECTED = GOLDEN / "expected"
INPUTS = sorted(str(path.relative_to(INPUT)) for path in INPUT.rglob("*.proto"))


@pytest.fixture(scope="module")
def request_for_all(tmp_path_factory: pytest.TempPathFactory) -> CodeGeneratorRequest:
    """The request for all golden contracts at once."""
    folder = tmp_path_factory.mktemp("golden")
    shutil.copytree(INPUT, folder, dirs_exist_ok=True)
    return compile_folder(folder)


@pytest.fixture(scope="module")
def generated(request_for_all: CodeGeneratorRequest) -> dict[str, str]:
    """What the plugin makes of all golden contracts, by path."""
    response = generate(request_for_all)
    assert not response.error, response.error
    files = {file.name: file.content for file in response.file}
    if os.environ.get("CARRICK_REGENERATE_GOLDEN"):
        shutil.rmtree(EXPECTED, ignore_errors=True)
        _write({f"{name}.txt": content for name, content in files.items()}, EXPECTED)
    return files


def _write(files: dict[str, str], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")


def _expected() -> dict[str, str]:
    paths = EXPECTED.rglob("*.py.txt")
    return {str(path.relative_to(EXPECTED)).removesuffix(".txt"): path.read_text("utf-8") for path in paths}


def test_golden_files(generated: dict[str, str]) -> None:
    """Each contract gives the file that is committed beside it, and no other."""
    expected = _expected()
    assert generated.keys() == expected.keys()
    for name, content in generated.items():
        assert content == expected[name], f"{name} differs; see this module's docstring"


def test_the_same_request_gives_the_same_bytes(request_for_all: CodeGeneratorRequest) -> None:
    """Generating twice, or from files in another order, gives the same response."""
    reversed_request = CodeGeneratorRequest(
        file_to_generate=list(request_for_all.file_to_generate)[::-1], proto_file=request_for_all.proto_file
    )
    once, twice, reordered = (
        generate(request).SerializeToString() for request in (request_for_all, request_for_all, reversed_request)
    )
    assert once == twice == reordered


def test_hash_seed_does_not_matter(request_for_all: CodeGeneratorRequest) -> None:
    """Processes with different hash seeds write the same bytes."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", "from carrick_codegen.plugin import main; main()"],
            input=request_for_all.SerializeToString(),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


def test_lines_are_short(generated: dict[str, str]) -> None:
    """No line that could be broken is longer than 110 columns."""
    long = [line for text in generated.values() for line in text.split("\n") if len(line) > 110]
    assert [line.lstrip()[:5] for line in long] == ["- one", "- one"], "only list items of comments stay as they are"


def test_generated_code_is_clean_to_linters(generated: dict[str, str], tmp_path: Path) -> None:
    """Generated modules import nothing that they do not use, and use nothing undefined."""
    _write(generated, tmp_path / "gen")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "--target-version", "py311"]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_generated_code_imports_and_type_checks(generated: dict[str, str], tmp_path: Path) -> None:
    """Beside protoc's modules, the generated ones import, define what `__all__` says, and satisfy mypy --strict."""
    _write(generated, tmp_path / "gen")
    includes = [f"-I{include}" for include in (INPUT, PROTO, WELL_KNOWN)]
    outputs = [f"--python_out={tmp_path / 'gen'}", f"--pyi_out={tmp_path / 'gen'}"]
    _run([sys.executable, "-m", "grpc_tools.protoc", *includes, *outputs, *INPUTS], tmp_path)
    modules = [name.removesuffix(".py").replace("/", ".") for name in generated]
    imports = "\n".join(f"from {module} import *" for module in modules)
    _run([sys.executable, "-c", imports], tmp_path / "gen")
    flags = ["--strict", "--explicit-package-bases", "--namespace-packages", "--cache-dir", str(tmp_path / "cache")]
    paths = {"MYPYPATH": f"{tmp_path / 'gen'}:{ROOT / 'framework'}"}
    _run([sys.executable, "-m", "mypy", "--config-file=", *flags, "gen/acme"], tmp_path, **paths)


def _run(command: list[str], folder: Path, **environment: str) -> None:
    result = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{command[:3]}:\n{result.stdout}{result.stderr}"
