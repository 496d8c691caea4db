"""Random contracts that protoc accepts, in several files that import each other."""

from collections.abc import Callable, Sequence
from keyword import iskeyword
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import Edition, FeatureSet, FileDescriptorProto, FileDescriptorSet
from hypothesis import strategies as st

from carrick.v1 import options_pb2
from tests.codegen.fuzz.messages import MessageBuilder
from tests.codegen.fuzz.names import COMMENTS, FOLDERS, IDENTIFIERS, PACKAGES
from tests.codegen.fuzz.policies import add_options, add_policies
from tests.codegen.fuzz.symbols import Symbols, joined

__all__ = ["contracts", "proto_of", "request_for", "small"]

_EDITIONS = {"2023": Edition.EDITION_2023, "2024": Edition.EDITION_2024}
_SYNTAXES = ("proto2", "proto3", *_EDITIONS)


@st.composite
def contracts(draw: Callable[[Any], Any], *, sensible: bool, root: str = "") -> FileDescriptorSet:
    """Draw contracts; ``sensible`` ones have no error in their options. All files lie in the folder ``root``."""
    builder = _Builder(draw, root)
    for _ in range(draw(st.integers(1, 3))):
        builder.add_file(sensible=sensible)
    return FileDescriptorSet(file=builder.files)


def small(*, path: str = "a.proto", message: str = "M", method: str = "Get", timeout: str = "2s") -> FileDescriptorSet:
    """Return a contract with one method."""
    file = FileDescriptorProto(name=path, syntax="proto3", dependency=["carrick/v1/options.proto"])
    file.message_type.add(name=message)
    declared = file.service.add(name="S").method.add(name=method, input_type=f".{message}", output_type=f".{message}")
    extension: Any = options_pb2.method
    options: Any = declared.options
    options.Extensions[extension].timeout = timeout
    return FileDescriptorSet(file=[file])


def request_for(contracts: FileDescriptorSet) -> CodeGeneratorRequest:
    """Return the request to generate for contracts, as a compiler makes it: with all that they import."""
    imported = map(proto_of, (descriptor_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR))
    wanted = [file.name for file in contracts.file]
    return CodeGeneratorRequest(file_to_generate=wanted, proto_file=[*imported, *contracts.file])


def proto_of(descriptor: Any) -> FileDescriptorProto:
    """Return a file as a compiler hands it out."""
    file = FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


class _Builder:
    """Builds files one after the other, so that each may import those before it."""

    def __init__(self, draw: Callable[[Any], Any], root: str) -> None:
        self.files: list[FileDescriptorProto] = []
        self._draw = draw
        self._root = [root] if root else []
        self._symbols = Symbols()
        self._modules: set[str] = set()
        self._exported: dict[str, list[str]] = {}
        """Messages that other files may use, by file."""
        self._passed_on: dict[str, set[str]] = {}
        """Files that are visible through a file's public imports."""

    def add_file(self, *, sensible: bool) -> None:
        """Add a file with messages and services."""
        syntax = self._draw(st.sampled_from(_SYNTAXES))
        package = self._symbols.package(*self._root, *self._draw(st.lists(PACKAGES, max_size=3)))
        file = FileDescriptorProto(name=self._path(), package=package)
        _set_syntax(file, syntax)
        messages = [*self._imports(file), *self._messages(file, syntax)]
        for _ in range(self._draw(st.integers(0, 2))):
            self._service(file, messages)
        add_options(self._draw, file)
        if self._draw(st.booleans()):
            add_policies(self._draw, file, ".".join([*self._root, f"file{len(self.files)}"]), sensible=sensible)
        self._comments(file)
        self.files.append(file)

    def _path(self) -> str:
        """Return a path whose module is not the one of another file."""
        parts = [*self._root, *self._draw(st.lists(FOLDERS, min_size=1, max_size=3))]
        while _module(parts) in self._modules:
            parts[-1] += "x"
        self._modules.add(_module(parts))
        return "/".join(parts) + ".proto"

    def _imports(self, file: FileDescriptorProto) -> list[str]:
        """Import some earlier files; return the messages that are visible through them."""
        visible: set[str] = set()
        self._passed_on[file.name] = set()
        for other in self.files:
            if self._draw(st.booleans()) and _can_be_imported(other.name):
                file.dependency.append(other.name)
                seen = {other.name, *self._passed_on[other.name]}
                visible |= seen
                if self._draw(st.booleans()) and _can_be_public(other.name):
                    file.public_dependency.append(len(file.dependency) - 1)
                    self._passed_on[file.name] |= seen
        return [message for name in sorted(visible) for message in self._exported[name]]

    def _messages(self, file: FileDescriptorProto, syntax: str) -> list[str]:
        declared: list[str] = []
        top: list[str] = []
        for _ in range(self._draw(st.integers(1, 3))):
            builder = MessageBuilder(self._draw, self._symbols, file.message_type.add(), file.package)
            declared += builder.build(syntax)
            top.append(builder.full_name)
        self._exported[file.name] = top if syntax == "2024" else declared  # edition 2024 keeps nested ones to the file
        return declared

    def _service(self, file: FileDescriptorProto, messages: Sequence[str]) -> None:
        service = file.service.add(name=self._symbols.declare(file.package, self._draw(IDENTIFIERS)))
        types = st.sampled_from(messages).map(".".__add__)
        for _ in range(self._draw(st.integers(0, 4))):
            service.method.add(
                name=self._symbols.declare(joined(file.package, service.name), self._draw(IDENTIFIERS)),
                input_type=self._draw(types),
                output_type=self._draw(types),
                client_streaming=self._draw(st.booleans()),
                server_streaming=self._draw(st.booleans()),
            )

    def _comments(self, file: FileDescriptorProto) -> None:
        paths = [[2], [12], *([4, index] for index in range(len(file.message_type)))]
        for index, service in enumerate(file.service):
            paths += [[6, index], *([6, index, 2, number] for number in range(len(service.method)))]
        for line, path in enumerate(paths):
            if self._draw(st.booleans()):
                location = file.source_code_info.location.add(path=path, span=[line, 0, 9])
                location.leading_comments, location.trailing_comments = self._draw(st.tuples(COMMENTS, COMMENTS))


def _set_syntax(file: FileDescriptorProto, syntax: str) -> None:
    if syntax in _EDITIONS:
        file.syntax, file.edition = "editions", _EDITIONS[syntax]
    else:
        file.syntax = syntax
    if syntax == "2024":
        file.options.features.enforce_naming_style = FeatureSet.STYLE_LEGACY


def _module(parts: Sequence[str]) -> str:
    return "/".join(parts).replace("-", "_").replace(".", "/")


def _can_be_imported(path: str) -> bool:
    """Tell whether protoc's own modules can import a file: by a statement, or where there is a keyword, by name."""
    return _can_be_public(path) or any(map(iskeyword, _parts(path)))


def _can_be_public(path: str) -> bool:
    """Tell whether protoc's own modules can import a file publicly: they have an import statement for it."""
    return all(part.isidentifier() and not iskeyword(part) for part in _parts(path))


def _parts(path: str) -> list[str]:
    return path.removesuffix(".proto").replace("-", "_").split("/")
