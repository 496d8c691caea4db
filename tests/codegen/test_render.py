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

from carrick.generated import GENERATED_VERSION
from carrick_codegen import _imports
from carrick_codegen._layout import WIDTH
from carrick_codegen.plugin import generate
from tests.codegen.checking import GeneratedTree
from tests.codegen.compiling import ROOT, compile_files

GOLDEN = ROOT / "tests" / "codegen" / "golden"
INPUT = GOLDEN / "input"
EXPECTED = GOLDEN / "expected"

RELATIVE = ("acme/billing/v1/billing_carrick.py", "acme/names/v1/uses_keywords_carrick.py")
"""Generated files that are expected for ``relative_imports=true`` as well."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> GeneratedTree:
    """The modules for all golden contracts."""
    return GeneratedTree(INPUT, tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def relative_tree(tmp_path_factory: pytest.TempPathFactory) -> GeneratedTree:
    """The modules for all golden contracts, with imports relative to each other."""
    return GeneratedTree(INPUT, tmp_path_factory.mktemp("relative"), "relative_imports=true")


def _compare(files: dict[str, str], folder: Path) -> None:
    if os.environ.get("CARRICK_REGENERATE_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in files.items():
            path = folder / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
    paths = folder.rglob("*.py.txt")
    expected = {str(path.relative_to(folder)).removesuffix(".txt"): path.read_text("utf-8") for path in paths}
    assert files.keys() == expected.keys()
    for name, content in files.items():
        assert content == expected[name], f"{name} differs; see this module's docstring"


def test_golden_files(tree: GeneratedTree) -> None:
    """Each contract gives the file that is committed beside it, and no other."""
    _compare(tree.files, EXPECTED)


def test_golden_files_with_relative_imports(relative_tree: GeneratedTree) -> None:
    """The parameter changes the imports of what is generated in the same run."""
    _compare({name: relative_tree.files[name] for name in RELATIVE}, GOLDEN / "expected_relative")


def test_the_same_request_gives_the_same_bytes(tree: GeneratedTree) -> None:
    """Generating twice, or from files in another order, gives the same response."""
    reordered = CodeGeneratorRequest(
        file_to_generate=list(tree.request.file_to_generate)[::-1], proto_file=tree.request.proto_file
    )
    responses = {generate(request).SerializeToString() for request in (tree.request, tree.request, reordered)}
    assert len(responses) == 1


def test_hash_seed_does_not_matter(tree: GeneratedTree) -> None:
    """Processes with different hash seeds write the same bytes."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", "from carrick_codegen.plugin import main; main()"],
            input=tree.request.SerializeToString(),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


def test_lines_are_short(tree: GeneratedTree) -> None:
    """No line that could be broken is longer than the width: what is left are words and items of comments."""
    texts = [text for name, text in tree.files.items() if "long_names" not in name]
    long = [line.lstrip() for text in texts for line in text.split("\n") if len(line) > WIDTH]
    assert {line[:6] for line in long} <= {"- one ", "https:", "descri"}, long


def test_formatters_change_nothing(tree: GeneratedTree, relative_tree: GeneratedTree) -> None:
    """Generated modules are as ``ruff format`` would have them."""
    tree.check_format()
    relative_tree.check_format()


def test_linters_find_nothing(tree: GeneratedTree, relative_tree: GeneratedTree) -> None:
    """Generated modules import nothing that they do not use, and use nothing undefined."""
    tree.check_lint()
    relative_tree.check_lint()


def test_generated_code_imports(tree: GeneratedTree) -> None:
    """Beside protoc's modules, the generated ones import without a warning, and define what ``__all__`` says."""
    tree.check_imports()


def test_generated_code_calls(tree: GeneratedTree) -> None:
    """Every client calls every method of every servicer, and of the fakes; every event gets to routes of both kinds."""
    services = [service for file in tree.request.proto_file for service in file.service]
    methods = sum(len(service.method) for service in services)
    events = sum(text.count(" = EventSpec(") for text in tree.files.values())
    assert tree.check_calls() == (
        f"{len(services)} services, {methods} methods, {methods * 5} calls, {events} events, {events * 2} handled\n"
    )


def test_generated_code_type_checks(tree: GeneratedTree, relative_tree: GeneratedTree) -> None:
    """Mypy and pyright, both strict, find nothing."""
    tree.check_types()
    relative_tree.check_types()


def test_relative_imports_need_no_place_on_the_path(tmp_path: Path) -> None:
    """With relative imports, the generated folder can lie in a package."""
    contract = 'syntax = "proto3"; package a.v1; service S { rpc Get(M) returns (M); } message M {}'
    (tmp_path / "proto" / "a" / "v1").mkdir(parents=True)
    (tmp_path / "proto" / "a" / "v1" / "a.proto").write_text(contract)
    (tmp_path / "app").mkdir()
    tree = GeneratedTree(tmp_path / "proto", tmp_path / "app", "relative_imports=true")
    tree.run(sys.executable, "-c", "from app.gen.a.v1.a_carrick import SClient", PYTHONPATH=str(tmp_path))


def test_messages_that_are_only_described_are_loaded_relatively(tmp_path: Path) -> None:
    """A contract that uses none of its own messages has its descriptors loaded, from the folder that it lies in."""
    contract = (
        'syntax = "proto3"; package a.v1; import "google/protobuf/empty.proto"; service S { rpc Get(E) returns (E); }'
    )
    (tmp_path / "proto" / "a").mkdir(parents=True)
    (tmp_path / "proto" / "a" / "a.proto").write_text(contract.replace("(E)", "(google.protobuf.Empty)"))
    (tmp_path / "app").mkdir()
    tree = GeneratedTree(tmp_path / "proto", tmp_path / "app", "relative_imports=true")
    look = "import app.gen.a.a_carrick, sys; print('app.gen.a.a_pb2' in sys.modules)"
    assert tree.run(sys.executable, "-c", look, PYTHONPATH=str(tmp_path)) == "True\n"


def test_protobufs_own_messages_are_never_imported_relatively(tmp_path: Path) -> None:
    """Not even when their files are generated in the same run: there is one class of each, the installed one."""
    service = (
        'import "google/protobuf/empty.proto"; service S { rpc Get(google.protobuf.Empty) returns (M); } message M {}'
    )
    request = compile_files(tmp_path, "relative_imports=true", s=service)
    request.file_to_generate.append("google/protobuf/empty.proto")
    texts = [file.content for file in generate(request).file if file.name.endswith("s_carrick.py")]
    assert ["from google.protobuf.empty_pb2 import Empty\n" in text for text in texts] == [True]


def test_code_for_a_newer_runtime_says_so_first(tree: GeneratedTree) -> None:
    """A module generated for the next runtime fails with that sentence, not at a name that this runtime lacks."""
    text = tree.files["acme/bare/v1/bare_carrick.py"]
    newer = text.replace("require_runtime(__name__, 1)", "require_runtime(__name__, 2)").replace("Channel", "Conduit")
    with pytest.raises(
        ImportError, match=r"^newer was generated for a newer runtime .*: pip install --upgrade carrick$"
    ):
        exec(newer, {"__name__": "newer"})  # noqa: S102


def test_both_sides_count_versions_alike() -> None:
    """The plugin generates for the runtime that it is released with."""
    assert _imports.GENERATED_VERSION == GENERATED_VERSION


_DEPRECATED = """
import warnings
from unittest.mock import Mock
from acme.old.v1 import file_carrick, old_carrick
from acme.old.v1.old_pb2 import M

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    old_carrick.CurrentClient(Mock()).list(M())
    old_carrick.OldClient(Mock())
    file_carrick.ForgottenClient(Mock())
    old_carrick.on_changed(Mock())
    old_carrick.apply_changed(Mock())
assert {each.filename for each in caught} == {"<string>"}, "the caller is blamed"
print(*(f"{each.category.__name__}: {each.message}" for each in caught), sep="\\n")
"""


def test_what_is_deprecated_warns_its_users(tree: GeneratedTree) -> None:
    """Calling a deprecated method, constructing a client and subscribing warn, and blame the caller."""
    deprecated = [
        "acme.old.v1.Current/List",
        "acme.old.v1.Old",
        "acme.old.v1.Forgotten",
        "acme.old.v1.Changed",
        "acme.old.v1.Changed",
    ]
    assert tree.run(sys.executable, "-c", _DEPRECATED, PYTHONPATH=str(tree.gen)).splitlines() == [
        f"DeprecationWarning: {name} is deprecated by its contract" for name in deprecated
    ]
