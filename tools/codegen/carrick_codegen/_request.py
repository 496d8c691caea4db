"""A compiler's request as descriptors: the files to generate, in a descriptor pool of their own."""

from dataclasses import dataclass

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from carrick_codegen._errors import MalformedRequestError
from carrick_codegen._source import SourceMap

__all__ = ["Contract", "load"]


@dataclass(frozen=True, slots=True)
class Contract:
    """One file of a request."""

    file: FileDescriptor
    source: SourceMap


def load(request: CodeGeneratorRequest) -> tuple[DescriptorPool, list[Contract]]:
    """Return the files to generate, ordered by path, and the pool that they and their imports live in.

    Raises MalformedRequestError for a request that no compiler makes.
    """
    if not request.file_to_generate:
        raise MalformedRequestError("it names no files to generate")
    pool = DescriptorPool()
    contracts: dict[str, Contract] = {}
    for proto in request.proto_file:
        try:
            file = pool.AddSerializedFile(proto.SerializeToString())
        except (TypeError, ValueError) as error:
            raise MalformedRequestError(f"Python's protobuf can't load {proto.name} ({error})") from error
        contracts[proto.name] = Contract(file, SourceMap(proto))
    for path in request.file_to_generate:
        if path not in contracts:
            raise MalformedRequestError(f"it does not hold the file {path!r} that it asks for")
    return pool, [contracts[path] for path in sorted(set(request.file_to_generate))]
