"""The contracts in a Python package: the .proto files that it ships, or what its generated modules hold of them."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

__all__ = ["Corpus", "merged", "read_corpus"]


@dataclass(frozen=True, slots=True)
class Corpus:
    """The contract files of one package."""

    name: str
    root: Path
    """The folder that is on the path when the package is installed."""
    modules: tuple[str, ...]
    """The package's Python files, relative to ``root``."""
    protos: tuple[str, ...]
    """The .proto files that it ships, relative to ``root``; most packages ship none."""
    descriptors: FileDescriptorSet
    """What the package's generated modules hold; without comments."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The contract files, as imports name them."""
        return self.protos or tuple(sorted(file.name for file in self.descriptors.file))


def read_corpus(distribution: Distribution) -> Corpus:
    """Return the contracts of a package that is installed, or unpacked: nothing of it is imported."""
    root = Path(str(distribution.locate_file("")))
    files = sorted(str(file) for file in distribution.files or ())
    modules = tuple(file for file in files if file.endswith(".py"))
    descriptors = {
        proto.name: proto
        for module in modules
        if module.endswith(("_pb2.py", "_pb.py"))
        for proto in _descriptors(root / module)
    }
    return Corpus(
        name=distribution.name,
        root=root,
        modules=modules,
        protos=tuple(file for file in files if file.endswith(".proto")),
        descriptors=FileDescriptorSet(file=descriptors.values()),
    )


def merged(corpora: Iterable[Corpus]) -> FileDescriptorSet:
    """Return the descriptors of some packages; of files that several have, the first package's."""
    files: dict[str, FileDescriptorProto] = {}
    for corpus in corpora:
        for file in corpus.descriptors.file:
            files.setdefault(file.name, file)
    return FileDescriptorSet(file=files.values())


def _descriptors(module: Path) -> Iterator[FileDescriptorProto]:
    """Yield the files whose descriptors a generated module registers: the bytes that it calls a function with."""
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            value = node.args[0].value
            if isinstance(value, bytes) and (file := _parsed(value)) is not None:
                yield file


def _parsed(value: bytes) -> FileDescriptorProto | None:
    try:
        file = FileDescriptorProto.FromString(value)
    except DecodeError:
        return None
    return file if file.name.endswith(".proto") else None
