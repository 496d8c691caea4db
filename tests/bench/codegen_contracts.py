"""The contracts that ``make bench-codegen`` compiles: many files as a company might have them, always the same."""

from pathlib import Path

__all__ = ["FILES", "METHODS", "write_contracts"]

FILES = 200
METHODS = 10
"""Methods in a file, half of them in each of its two services."""

_SHAPES = (("", ""), ("", ""), ("", ""), ("", "stream "), ("stream ", ""))
"""What stands before the request and the response: three in five are unary."""

_POLICY = """ {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (carrick.v1.method) = {
      timeout: "2s"
      retry: {max_attempts: 4, initial_backoff: "20ms", codes: [UNAVAILABLE, ABORTED]}
    };
  }"""

_FILE = """// Area {number}: what the people of area {number} agreed on.
//
// It is asked for by many, and changed by few.
syntax = "proto3";

package acme.area{number}.v1;

import "carrick/v1/options.proto";
import "google/protobuf/timestamp.proto";
{imports}
option (carrick.v1.file) = {{policy: {{timeout: "5s", breaker: {{failure_ratio: 0.6}}}}}};

{services}
// Thing is what area {number} is about.
message Thing {{
  // Line is one part of it.
  message Line {{
    // Amount in the smallest unit.
    int64 amount = 1;
    map<string, string> labels = 2;
  }}
  enum State {{
    STATE_UNSPECIFIED = 0;
    STATE_OPEN = 1;
    STATE_CLOSED = 2;
  }}
  string thing_id = 1;
  repeated Line lines = 2;
  State state = 3;
  google.protobuf.Timestamp created = 4;
  oneof owner {{
    string person = 5;
    string team = 6;
  }}
{neighbour}}}

// ThingChanged: the thing is another one now.
message ThingChanged {{
  option (carrick.v1.event) = {{subject: "area{number}.thing-changed.v1", key: "thing_id"}};
  string thing_id = 1;
  Thing thing = 2;
}}
"""

_MESSAGES = """
message {name}Request {{
  string thing_id = 1;
  Thing thing = 2;
  optional uint32 limit = 3;
}}

message {name}Response {{
  Thing thing = 1;
  repeated Thing others = 2;
}}
"""


def write_contracts(folder: Path, files: int) -> list[str]:
    """Write contract files below ``folder``; return their paths there."""
    paths = [_path(number) for number in range(files)]
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(_file(number), "utf-8")
    return paths


def _path(number: int) -> str:
    return f"acme/area{number}/v1/area{number}.proto"


def _file(number: int) -> str:
    names = [f"{verb}Thing{index}" for index, verb in enumerate(("Get", "Change", "Count", "Watch", "Import") * 2)]
    half = METHODS // 2
    services = [_service(f"Area{number}Desk", names[:half]), _service(f"Area{number}Archive", names[half:METHODS])]
    text = _FILE.format(
        number=number,
        imports=f'import "{_path(number - 1)}";\n' if number else "",
        services="\n".join(services),
        neighbour=f"  acme.area{number - 1}.v1.Thing neighbour = 7;\n" if number else "",
    )
    return text + "".join(_MESSAGES.format(name=name) for name in names[:METHODS])


def _service(name: str, methods: list[str]) -> str:
    body = "\n".join(_method(index, method) for index, method in enumerate(methods))
    return f"// {name} does the work on things, and says what it did.\nservice {name} {{\n{body}\n}}\n"


def _method(index: int, name: str) -> str:
    requests, responses = _SHAPES[index % len(_SHAPES)]
    comment = f"  // {name} does what its name says, to one thing. It fails with NOT_FOUND where there is none.\n"
    policy = _POLICY if index % len(_SHAPES) == 0 else ";"
    return f"{comment}  rpc {name}({requests}{name}Request) returns ({responses}{name}Response){policy}"
