"""Errors in services, names and packages, and how errors of several files come together."""

from pathlib import Path

import pytest

from carrick_codegen.plugin import generate
from tests.codegen.compiling import compile_files, compile_folder

AT = "acme/v1/orders.proto"
GOOD = """
service Good {
  rpc Get(M) returns (M);
}
message M {}
"""


def errors_of(folder: Path, body: str) -> list[str]:
    """Return what the plugin says about one contract file."""
    response = generate(compile_files(folder, orders=body))
    assert not response.file
    return response.error.splitlines()


@pytest.mark.parametrize(
    "signature", ["(stream M) returns (M)", "(M) returns (stream M)", "(stream M) returns (stream M)"]
)
def test_streaming_is_not_supported_yet(signature: str, tmp_path: Path) -> None:
    """A streaming method is an error that says what to do about it."""
    body = f"service Orders {{\n  rpc Watch{signature};\n}}\nmessage M {{}}"
    assert errors_of(tmp_path, body) == [
        f"{AT}:5:3: method acme.v1.Orders.Watch is streaming, which is not supported yet; make it unary or leave it out"
    ]


def test_a_streaming_method_cannot_have_a_key(tmp_path: Path) -> None:
    """An idempotency key on a streaming method is an error of its own, also when the service gives it."""
    body = """
    service Orders {
      option (carrick.v1.service).policy.idempotency.key = REQUIRED;
      rpc Watch(M) returns (stream M);
    }
    message M {}
    """
    assert errors_of(tmp_path, body)[0] == (
        f"{AT}:6:3: method acme.v1.Orders.Watch is streaming and cannot have an idempotency key: "
        "there is no one reply to keep; take the idempotency policy away from it"
    )


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (
            "service S { rpc GetIt(M) returns (M); rpc get_it(M) returns (M); } message M {}",
            "acme.v1.S/GetIt and acme.v1.S/get_it would both be get_it",
        ),
        (
            (
                "message OuterInner { string id = 1; option (carrick.v1.event) = {subject: 'a.v1' key: 'id'}; }"
                "message Outer {"
                " message Inner { string id = 1; option (carrick.v1.event) = {subject: 'b.v1' key: 'id'}; } }"
            ),
            "acme.v1.OuterInner and acme.v1.Outer.Inner would both be outer_inner",
        ),
    ],
)
def test_names_that_become_one_in_python(body: str, names: str, tmp_path: Path) -> None:
    """Two methods or events with one Python name are an error that names both."""
    found = errors_of(tmp_path, body)
    assert f"{AT}:1:1: {names} in Python; rename one of them" in found


def test_a_message_named_like_a_keyword(tmp_path: Path) -> None:
    """A message that Python could not import by name is an error where it is used."""
    assert errors_of(tmp_path, "service S {\n  rpc Get(None) returns (None);\n}\nmessage None {}") == [
        f'{AT}:5:3: message acme.v1.None is named like the Python keyword "None"; rename it'
    ]


def test_a_path_that_python_cannot_import(tmp_path: Path) -> None:
    """A folder named like a keyword is an error for the file and for the messages used from it."""
    path = tmp_path / "import" / "v1" / "orders.proto"
    path.parent.mkdir(parents=True)
    path.write_text('syntax = "proto3";\npackage acme.v1;\nservice S {\n  rpc Get(M) returns (M);\n}\nmessage M {}\n')
    assert generate(compile_folder(tmp_path)).error.splitlines() == [
        (
            "import/v1/orders.proto:1:1: Python cannot import import.v1.orders_pb2; "
            "rename the file or folder that is a Python keyword or no identifier"
        ),
        (
            "import/v1/orders.proto:4:3: acme.v1.M is declared in import/v1/orders.proto, which Python cannot import "
            "as import.v1.orders_pb2; rename the file or folder that is a Python keyword or no identifier"
        ),
    ]


def test_one_bad_file_and_no_file_is_generated(tmp_path: Path) -> None:
    """A good file beside a bad one is not generated either, and all bad files are told of, in order."""
    bad = "service {} {{\n  rpc Watch(Z) returns (stream Z);\n}}\nmessage Z {{}}"
    request = compile_files(tmp_path, good=GOOD, bad=bad.format("Bad").replace("Z", "Y"), worse=bad.format("Worse"))
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
    assert [file.name for file in response.file] == ["acme/v1/orders_carrick.py"]
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
    assert [file.name for file in allowed.file] == [path.replace(".proto", "_carrick.py")]
