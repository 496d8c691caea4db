"""Errors in services, names and packages, and how errors of several files come together."""

from pathlib import Path

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from carrick_codegen.plugin import generate
from tests.codegen.compiling import compile_files, compile_folder

GOOD = """
service Good {
  rpc Get(M) returns (M);
}
message M {}
"""


def test_one_bad_file_and_no_file_is_generated(tmp_path: Path) -> None:
    """A good file beside a bad one is not generated either, and all bad files are told of, in order."""
    bad = "message {} {{\n  option (carrick.v1.event).key = 'id';\n  string id = 1;\n}}"
    request = compile_files(tmp_path, good=GOOD, bad=bad.format("Bad"), worse=bad.format("Worse"))
    response = generate(request)
    assert not response.file
    assert [line.split(": ")[0] for line in response.error.splitlines()] == [
        "acme/v1/bad.proto:5:3",
        "acme/v1/worse.proto:5:3",
    ]


def test_files_without_services_and_events_give_nothing(tmp_path: Path) -> None:
    """A file of messages only is no error, and no file."""
    response = generate(compile_files(tmp_path, orders="message M {}"))
    assert (response.error, len(response.file)) == ("", 0)


def test_files_of_imports_are_not_generated(tmp_path: Path) -> None:
    """Only the files that the compiler asks for are generated and checked."""
    compile_files(tmp_path, other=GOOD)
    request = compile_files(tmp_path, orders='import "acme/v1/other.proto";\nservice S { rpc Get(M) returns (M); }')
    response = generate(request)
    assert [file.name for file in response.file] == ["acme/v1/orders_carrick.py", "acme/v1/orders_carrick_fakes.py"]
    assert "from acme.v1.other_pb2 import M\n" in response.file[0].content


@pytest.mark.parametrize(
    ("path", "package"),
    [("carrick/v1/mine.proto", "carrick.v1"), ("acme/mine.proto", "carrick"), ("carrick/mine.proto", "acme")],
)
def test_the_runtimes_package_is_refused(path: str, package: str, tmp_path: Path) -> None:
    """A file that would shadow the runtime is refused, unless the user insists."""
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(f'syntax = "proto3";\npackage {package};\n{GOOD}')
    response = generate(compile_folder(tmp_path))
    assert not response.file
    assert response.error == (
        f"{path}:2:1: files of the package carrick are not generated: a folder carrick of generated code would shadow "
        "the runtime, which has this file's code already; leave the file out (buf: paths or exclude_paths of the "
        "input), or give the plugin allow_carrick=true"
    )
    allowed = generate(compile_folder(tmp_path, parameter="allow_carrick=true"))
    assert [file.name for file in allowed.file] == [
        path.replace(".proto", end) for end in ("_carrick.py", "_carrick_fakes.py")
    ]


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("acme/größe.proto", "from acme.größe_pb2 import M\n"),
        ("acme/it's 2.proto", 'M = message_class("acme.it\'s 2_pb2", "acme.M")\n'),
        ("2fa/global/a.proto", "from .a_pb2 import M\n"),
        ("lambda.proto", "from lambda_pb2 import M\n"),
    ],
)
def test_paths_of_any_kind(path: str, module: str, tmp_path: Path) -> None:
    """A module that no import statement can name is imported by a relative one, or by its name in a string."""
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(f'syntax = "proto3"; package acme; {GOOD}')
    response = generate(compile_folder(tmp_path))
    assert not response.error
    assert module in response.file[0].content
    assert "class GoodClient:" in response.file[0].content


@pytest.mark.parametrize("declaration", ["enum E { A = 0; None = 1; }", "message O { enum E { A = 0; True = 1; } }"])
@pytest.mark.parametrize("kind", ["", "public "])
def test_stubs_that_type_checkers_cannot_read(declaration: str, kind: str, tmp_path: Path) -> None:
    """A keyword in protoc's stub, or in one that it imports, makes its messages untyped; other files keep theirs."""
    request = compile_files(
        tmp_path,
        plain=GOOD.replace("Good", "Plain"),
        stub=f"message Stub {{}} {declaration}",
        user=f'import {kind}"acme/v1/stub.proto"; message User {{ Stub stub = 1; }}',
        last='import "acme/v1/user.proto"; import "acme/v1/plain.proto"; service S { rpc Get(User) returns (M); }',
    )
    last = {file.name: file.content for file in generate(request).file}["acme/v1/last_carrick.py"]
    assert "    class User(UntypedMessage):\n" in last
    assert '    User = message_class("acme.v1.user_pb2", "acme.v1.User")\n' in last
    assert "from acme.v1.plain_pb2 import M\n" in last


def test_a_chain_of_many_imports() -> None:
    """Imports may go deeper than Python's stack."""
    files = [
        FileDescriptorProto(name=f"f{number}.proto", dependency=[f"f{number - 1}.proto"] if number else [])
        for number in range(2000)
    ]
    files[-1].message_type.add(name="M")
    files[-1].service.add(name="S").method.add(name="Get", input_type=".M", output_type=".M")
    response = generate(CodeGeneratorRequest(file_to_generate=[files[-1].name], proto_file=files))
    assert "from f1999_pb2 import M\n" in response.file[0].content
