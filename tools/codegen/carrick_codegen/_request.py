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
    """One file to generate for."""

    file: FileDescriptor
    source: SourceMap


def load(request: CodeGeneratorRequest) -> tuple[DescriptorPool, list[Contract]]:
    """Return the files to generate, ordered by path, and the pool that they and their imports live in.

    Raises MalformedRequestError for a request that no compiler makes.
    """
    if not request.file_to_generate:
        raise MalformedRequestError("it names no files to generate")
    pool = DescriptorPool()
    sources: dict[str, SourceMap] = {}
    for proto in request.proto_file:
        try:
            pool.AddSerializedFile(proto.SerializeToString())
        except (TypeError, ValueError) as error:
            raise MalformedRequestError(f"a file in it is broken ({error})") from error
        sources[proto.name] = SourceMap(proto)
    return pool, [_contract(pool, sources, path) for path in sorted(set(request.file_to_generate))]


def _contract(pool: DescriptorPool, sources: dict[str, SourceMap], path: str) -> Contract:
    if path not in sources:
        raise MalformedRequestError(f"it does not hold the file {path!r} that it asks for")
    return Contract(pool.FindFileByName(path), sources[path])
