"""Contracts with rules for their requests, compiled while the tests run.

They import as many of protovalidate's options as the tests need, written down here: only their numbers count.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc  # type: ignore[import-untyped]

from carrick import IdempotencyOptions, MethodKind, MethodPolicy, MethodSpec

OPTIONS = """
syntax = "proto2";
package buf.validate;
import "google/protobuf/descriptor.proto";
extend google.protobuf.MessageOptions { optional MessageRules message = 1159; }
extend google.protobuf.FieldOptions { optional FieldRules field = 1159; }
message Rule { optional string id = 1; optional string message = 2; optional string expression = 3; }
message MessageRules { repeated Rule cel = 3; }
message FieldRules {
  repeated Rule cel = 23;
  optional bool required = 25;
  oneof type { UInt32Rules uint32 = 5; StringRules string = 14; RepeatedRules repeated = 18; MapRules map = 19; }
}
message StringRules { optional uint64 min_len = 2; optional uint64 max_len = 3; optional string pattern = 6; }
message UInt32Rules { optional uint32 lt = 2; optional uint32 gt = 4; }
message RepeatedRules { optional uint64 min_items = 1; optional uint64 max_items = 2; optional FieldRules items = 4; }
message MapRules { optional FieldRules keys = 4; optional FieldRules values = 5; }
"""

SHOP = """
message Line {
  string sku = 1 [(buf.validate.field).string.min_len = 1];
  uint32 quantity = 2 [(buf.validate.field).uint32.gt = 0];
}
message Order {
  option (buf.validate.message).cel = {
    id: "order.gift", message: "a gift needs a note", expression: "!this.gift || this.note != ''"
  };
  string customer_id = 1 [(buf.validate.field).string = {min_len: 1, max_len: 64}];
  repeated Line lines = 2 [(buf.validate.field).repeated.min_items = 1];
  map<string, uint32> labels = 3 [(buf.validate.field).map.values.uint32.lt = 5];
  map<uint32, Line> by_shelf = 4;
  map<string, uint32> tokens = 5 [(buf.validate.field).map.values.uint32.lt = 5, debug_redact = true];
  string password = 6 [
    debug_redact = true,
    (buf.validate.field).cel = {
      id: "password.known", expression: "this != 'swordfish' ? '' : this + ' is known to all'"
    }
  ];
  string nick = 7 [(buf.validate.field).cel = {
    id: "nick.rude", expression: "this != 'boor' ? '' : this + ' is rude'"
  }];
  bool gift = 8;
  string note = 9;
  uint32 share = 10 [(buf.validate.field).cel = {
    id: "share.whole", message: "must divide 100", expression: "this == 0 || 100 % (this - 7) >= 0"
  }];
}
message Reply {}
"""


def messages(body: str) -> Any:
    """Compile messages, and return an object that has their classes as attributes."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "buf/validate").mkdir(parents=True)
        (folder / "buf/validate/validate.proto").write_text(OPTIONS)
        (folder / "rules.proto").write_text(
            f'syntax = "proto3";\npackage test.rules;\nimport "buf/validate/validate.proto";\n{body}'
        )
        well_known = Path(protoc.__file__).parent / "_proto"
        compiled = folder / "compiled.binpb"
        flags = [f"-I{folder}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={compiled}"]
        assert protoc.main(["protoc", *flags, "rules.proto"]) == 0
        files = FileDescriptorSet.FromString(compiled.read_bytes()).file
    pool = DescriptorPool()
    for file in files:
        pool.Add(file)
    found = pool.FindFileByName("rules.proto").message_types_by_name
    return type("Messages", (), {name: GetMessageClass(descriptor) for name, descriptor in found.items()})


def ruled(
    kind: MethodKind = MethodKind.UNARY,
    *,
    request: Any,
    response: Any,
    idempotency: IdempotencyOptions | None = None,
) -> MethodSpec[Any, Any]:
    """Return a method whose requests have rules."""
    return MethodSpec(
        service="test.rules.Rules",
        name=f"Ruled{kind.name.title().replace('_', '')}",
        request=request,
        response=response,
        kind=kind,
        policy=MethodPolicy(idempotency=idempotency),
        validated=True,
    )
