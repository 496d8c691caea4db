"""Errors in events: where they are reported, and in what words."""

from pathlib import Path

import pytest

from carrick_codegen.plugin import generate
from tests.codegen.compiling import compile_files
from tests.codegen.running import errors_of

PLACED = """
message Placed {
  option (carrick.v1.event) = {%s};
  string order_id = 1;
  repeated string lines = 2;
  double total = 3;
  Placed parent = 4;
  bytes raw = 5;
  map<string, string> labels = 6;
  optional uint32 number = 7;
  Kind kind = 8;
}
enum Kind {
  KIND_UNSPECIFIED = 0;
}
"""


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            'key: "order_id"',
            'event acme.v1.Placed has no subject; add one, like subject: "orders.placed.v1"',
        ),
        (
            'subject: "" key: "order_id"',
            'event acme.v1.Placed has no subject; add one, like subject: "orders.placed.v1"',
        ),
        (
            'subject: "orders.placed.v1"',
            (
                "event acme.v1.Placed has no key; add the name of the field whose value keeps events in order, "
                'one of: "order_id", "number"'
            ),
        ),
        (
            'subject: "orders.placed" key: "order_id"',
            (
                'subject "orders.placed" is malformed: its last token is "placed" instead of a version like "v1"; '
                'write lower-case tokens with dots between and a version last, like "orders.placed.v1"'
            ),
        ),
        (
            'subject: "orders.placed.v1" key: "oder_id"',
            'acme.v1.Placed has no field "oder_id"; did you mean "order_id"?',
        ),
        (
            'subject: "orders.placed.v1" key: "zzz"',
            'acme.v1.Placed has no field "zzz"; fields that can be: "order_id", "number"',
        ),
        *(
            (
                f'subject: "orders.placed.v1" key: "{key}"',
                (
                    f'the field "{key}" cannot be the key: a key is one string, integer or bool, not repeated; '
                    'fields that can be: "order_id", "number"'
                ),
            )
            for key in ("lines", "total", "parent", "raw", "labels", "kind")
        ),
    ],
)
def test_event_errors(option: str, message: str, tmp_path: Path) -> None:
    """Each mistake in an event is reported at its option, with what to write instead."""
    assert errors_of(tmp_path, PLACED % option) == [f"acme/v1/orders.proto:5:3: {message}"]


def test_all_mistakes_of_an_event_are_told_at_once(tmp_path: Path) -> None:
    """A wrong subject does not hide a missing key."""
    found = errors_of(tmp_path, PLACED % 'subject: "x"')
    assert [error.partition(": ")[2].partition(";")[0] for error in found] == [
        "event acme.v1.Placed has no key",
        'subject "x" is malformed: it needs two tokens or more, with dots between',
    ]


def test_options_on_lines_of_their_own_are_told_apart(tmp_path: Path) -> None:
    """The line is that of the wrong value where the compiler recorded it."""
    body = """
    message Placed {
      option (carrick.v1.event).subject = "orders.placed.v1";
      option (carrick.v1.event).key = "orderid";
      string order_id = 1;
    }
    """
    assert errors_of(tmp_path, body) == [
        'acme/v1/orders.proto:6:3: acme.v1.Placed has no field "orderid"; did you mean "order_id"?'
    ]


def test_an_error_is_one_line(tmp_path: Path) -> None:
    """A line end in what an error quotes is shown as it is written."""
    assert errors_of(tmp_path, PLACED % 'subject: "orders.placed.v1" key: "a\\n\\001b"') == [
        'acme/v1/orders.proto:5:3: acme.v1.Placed has no field "a\\n\\x01b"; fields that can be: "order_id", "number"'
    ]


def test_a_message_without_fields_cannot_have_a_key(tmp_path: Path) -> None:
    """Where no field can be the key, the error says to add one."""
    body = 'message Placed { option (carrick.v1.event) = {subject: "orders.placed.v1"}; }'
    assert errors_of(tmp_path, body) == [
        (
            "acme/v1/orders.proto:4:18: event acme.v1.Placed has no key; add the name of the field whose value keeps "
            "events in order, once it has a string field for that"
        )
    ]


def test_two_events_cannot_have_one_subject(tmp_path: Path) -> None:
    """A subject belongs to one event in all files of a request, nested ones included."""
    event = 'option (carrick.v1.event) = {subject: "orders.placed.v1" key: "id"}; string id = 1;'
    request = compile_files(
        tmp_path,
        first=f"message First {{ {event} }}",
        second=f"message Outer {{\n  message Second {{ {event} }}\n}}",
    )
    assert generate(request).error == (
        'acme/v1/second.proto:5:20: subject "orders.placed.v1" is the one of acme.v1.First already '
        "(acme/v1/first.proto:4:17); give acme.v1.Outer.Second a subject of its own"
    )


@pytest.mark.parametrize(
    "kind", ["string", "bool", *(f"{prefix}{bits}" for prefix in ("int", "uint", "sint") for bits in (32, 64))]
)
def test_keys_of_every_allowed_type(kind: str, tmp_path: Path) -> None:
    """Strings, integers and bools can be keys, also in a oneof."""
    body = f"""
    message Placed {{
      option (carrick.v1.event) = {{subject: "orders.placed.v1" key: "id"}};
      oneof which {{
        {kind} id = 1;
      }}
    }}
    """
    assert not generate(compile_files(tmp_path, orders=body)).error


def test_events_of_a_deprecated_file_are_deprecated(tmp_path: Path) -> None:
    """As its services are: the catalogue says so, and who subscribes is warned."""
    event = 'message M { option (carrick.v1.event) = {subject: "m.v1" key: "id"}; string id = 1; }'
    text = generate(compile_files(tmp_path, orders=f"option deprecated = true;\n{event}")).file[0].content
    assert "deprecated=True" in text
    assert '@deprecated("acme.v1.M is deprecated by its contract")\ndef on_m(' in text


def test_an_event_without_an_order_says_so(tmp_path: Path) -> None:
    """In its specification, for the outbox, and in its publisher's words."""
    body = PLACED % 'subject: "orders.placed.v1" key: "order_id" unordered: true'
    text = generate(compile_files(tmp_path, orders=body)).file[0].content
    assert "unordered=True" in text
    assert "Published to ``orders.placed.v1``, in any order, if and only if" in text
    ordered = generate(compile_files(tmp_path, orders=body.replace("true", "false"))).file[0].content
    assert "unordered" not in ordered
