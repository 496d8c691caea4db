"""Contracts with rules for their requests, compiled while the tests run."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc  # type: ignore[import-untyped]

from carrick import IdempotencyOptions, MethodKind, MethodPolicy, MethodSpec
from tests.codegen.compiling import PROTOVALIDATE, WELL_KNOWN

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
        (folder / "rules.proto").write_text(
            f'syntax = "proto3";\npackage test.rules;\nimport "buf/validate/validate.proto";\n{body}'
        )
        includes = [f"-I{each}" for each in (folder, PROTOVALIDATE, WELL_KNOWN)]
        compiled = folder / "compiled.binpb"
        flags = [*includes, "--include_imports", f"--descriptor_set_out={compiled}"]
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
