"""Methods whose requests have rules of protovalidate."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from hypothesis import given
from hypothesis import strategies as st

from carrick_codegen._options import OptionKind, OptionReader
from carrick_codegen._rules import RuleReader
from carrick_codegen.plugin import generate
from tests.codegen.compiling import compile_files, compile_folder
from tests.codegen.fuzz.effort import bounded
from tests.codegen.running import text_of

RULED = "message Ruled { string id = 1 [(buf.validate.field).required = true]; }"


def validated(text: str) -> list[str]:
    """Return the names of the methods that are told to have rules."""
    specs = re.findall(r"MethodSpec\(.*?\n\)", text, re.DOTALL)
    return [re.findall(r'name="(\w+)"', spec)[0] for spec in specs if "    validated=True," in spec.split("\n")]


def contract(request: str, response: str = "") -> str:
    """Return a contract whose request and response have these fields and options."""
    return f"""
    import "buf/validate/validate.proto";
    service Orders {{ rpc Get(Req) returns (Res); }}
    message Req {{ {request} }}
    message Res {{ {response} }}
    """


@pytest.mark.parametrize(
    "request_",
    [
        "string id = 1 [(buf.validate.field).required = true];",
        "string id = 1 [(buf.validate.field) = {}];",
        "oneof which { string id = 1 [(buf.validate.field).required = true]; }",
        "oneof which { option (buf.validate.oneof).required = true; string id = 1; }",
        'option (buf.validate.message).cel = {id: "x", expression: "true"};',
        f"{RULED} Ruled one = 1;",
        f"{RULED} repeated Ruled some = 1;",
        f"{RULED} map<string, Ruled> by_name = 1;",
        f"{RULED} oneof which {{ Ruled one = 1; }}",
        f"{RULED} message Inner {{ Ruled one = 1; }} Inner inner = 1;",
        f"{RULED} Req self = 1; Ruled one = 2;",
        f"{RULED} message Inner {{ Req back = 1; Ruled one = 2; }} Inner inner = 1;",
    ],
)
def test_requests_with_rules(request_: str, tmp_path: Path) -> None:
    """Rules are of fields, oneofs and messages, wherever in the request these are."""
    assert validated(text_of(tmp_path, contract(request_))) == ["Get"]


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ("string id = 1;", ""),
        ("Req self = 1; repeated Req more = 2; map<string, Req> by_name = 3;", ""),
        ("string id = 1 [deprecated = true];", ""),
        (RULED, ""),
        ("", "string id = 1 [(buf.validate.field).required = true];"),
    ],
)
def test_requests_without_rules(request_: str, response: str, tmp_path: Path) -> None:
    """Rules of responses are nothing to the server, and other options are no rules."""
    assert validated(text_of(tmp_path, contract(request_, response))) == []


def test_without_protovalidate_there_are_no_rules(tmp_path: Path) -> None:
    """Where no contract imports it nothing is looked for, and another extension of that number is no rule."""
    body = """
    import "google/protobuf/descriptor.proto";
    extend google.protobuf.FieldOptions { Note note = 1159; }
    message Note {}
    service Orders { rpc Get(Req) returns (Req); }
    message Req { string id = 1 [(note) = {}]; }
    """
    assert validated(text_of(tmp_path, body)) == []


def test_rules_in_another_file(tmp_path: Path) -> None:
    """The file of a service need not know of them."""
    request = compile_files(
        tmp_path,
        items="""
        import "buf/validate/validate.proto";
        message Item { int32 n = 1 [(buf.validate.field).required = true]; }
        """,
        orders="""
        import "acme/v1/items.proto";
        service Orders {
          rpc Put(Order) returns (Done);
          rpc Watch(stream Order) returns (Done);
          rpc Get(Done) returns (Order);
        }
        message Order { repeated Item items = 1; }
        message Done {}
        """,
    )
    (text,) = (file.content for file in generate(request).file if file.name == "acme/v1/orders_carrick.py")
    assert validated(text) == ["Put", "Watch"]


def test_an_import_of_options_alone(tmp_path: Path) -> None:
    """Edition 2024 has imports that are there for options, and are not among what the file depends on."""
    (tmp_path / "a.proto").write_text(
        """
        edition = "2024";
        import option "buf/validate/validate.proto";
        service Orders { rpc Get(Req) returns (Req); }
        message Req { string id = 1 [(buf.validate.field).required = true]; }
        """
    )
    response = generate(compile_folder(tmp_path, "a.proto"))
    assert not response.error
    assert validated(response.file[0].content) == ["Get"]


class _Options(OptionReader):
    """Takes messages for ruled by their names, and counts how often each is looked at."""

    def __init__(self, ruled: set[str]) -> None:
        super().__init__(DescriptorPool())
        self._ruled = ruled
        self.looks: Counter[str] = Counter()

    def knows(self, kind: OptionKind) -> bool:
        return True

    def has(self, kind: OptionKind, element: Any) -> bool:
        if isinstance(element, Descriptor):
            self.looks[element.full_name] += 1
            return element.full_name in self._ruled
        return False


NUMBERS = st.integers(0, 7)


@bounded(300)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=16), st.sets(NUMBERS, max_size=2), st.permutations(range(8)))
def test_messages_that_hold_each_other(edges: list[tuple[int, int]], ruled: set[int], order: list[int]) -> None:
    """Whichever is asked about first, a message's rules are those that its fields lead to; each is looked at once."""
    file = FileDescriptorProto(name="a.proto", syntax="proto3")
    for number in range(8):
        file.message_type.add(name=f"M{number}")
    for index, (holder, held) in enumerate(edges, 1):
        file.message_type[holder].field.add(
            name=f"f{index}",
            number=index,
            label=FieldDescriptorProto.LABEL_REPEATED,
            type=FieldDescriptorProto.TYPE_MESSAGE,
            type_name=f".M{held}",
        )
    messages = DescriptorPool().AddSerializedFile(file.SerializeToString()).message_types_by_name
    options = _Options({f"M{number}" for number in ruled})
    rules = RuleReader(options)
    assert {number for number in order if rules.applies_to(messages[f"M{number}"])} == _leading_to(ruled, edges)
    assert max(options.looks.values()) == 1


def _leading_to(ruled: set[int], edges: list[tuple[int, int]]) -> set[int]:
    leading = set(ruled)
    for _ in range(8):
        leading |= {holder for holder, held in edges if held in leading}
    return leading
