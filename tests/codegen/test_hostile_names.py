"""Names and comments for which grpc's own plugin writes Python that does not compile or work: Carrick's does.

The contracts lie in hostile/input, each with a comment that says what grpc makes of it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.codegen.real.checking import Called, call_faults, compile_faults, lint_faults, type_faults
from tests.codegen.real.corpus import Corpus
from tests.codegen.real.generating import Generated, generate

HOSTILE = Path(__file__).with_name("hostile")
INPUT = HOSTILE / "input"
PATHS = tuple(sorted(str(path.relative_to(INPUT)) for path in INPUT.rglob("*.proto")))


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """What Carrick's plugin makes of the contracts."""
    corpus = Corpus("hostile", INPUT, (), PATHS, FileDescriptorSet())
    result = generate(corpus, corpus, tmp_path_factory.mktemp("ours"))
    assert not result.faults, "\n".join(result.faults)
    return result


@pytest.fixture(scope="module")
def called(generated: Generated) -> Called:
    """What came of calling all methods."""
    return call_faults(generated)


@pytest.fixture(scope="module")
def grpc_faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What is wrong with what grpc's plugin makes of each contract."""
    out = tmp_path_factory.mktemp("grpc")
    outputs = [f"--python_out={out}", f"--grpc_python_out={out}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{INPUT}", *outputs, *PATHS], check=True)
    modules = [path.removesuffix(".proto").replace("/", ".") + "_pb2_grpc" for path in PATHS]
    command = [sys.executable, "-P", str(HOSTILE / "grpc_probe.py")]
    environment = {**os.environ, "PYTHONPATH": str(out)}
    answer = subprocess.run(
        command, input=json.dumps(modules), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(zip(PATHS, json.loads(answer.stdout), strict=True))


@pytest.mark.parametrize("path", PATHS)
def test_what_grpcs_plugin_writes_does_not_work(path: str, grpc_faults: dict[str, str | None]) -> None:
    """Each contract is one that grpc's own plugin gets wrong, so that it belongs here."""
    assert grpc_faults[path] is not None


@pytest.mark.parametrize("path", PATHS)
def test_what_carricks_plugin_writes_works(path: str, generated: Generated, called: Called) -> None:
    """Its module imports, has what the contract says, and every method can be called over gRPC."""
    assert called.faults.get(generated.modules[path]) is None


def test_all_of_it_is_clean_and_typed(generated: Generated, tmp_path: Path) -> None:
    """Linters and type checkers find nothing."""
    assert not [*compile_faults(generated), *lint_faults(generated), *type_faults(generated, tmp_path)]
