"""Where things stand in a contract file, and what its comments say about them."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.descriptor_pb2 import FileDescriptorProto, SourceCodeInfo

from carrick_codegen._comments import cleaned

__all__ = ["FilePath", "Given", "Location", "SourceMap"]

T_co = TypeVar("T_co", covariant=True)

FilePath = tuple[int, ...]
"""Field numbers and indexes that lead from a FileDescriptorProto to an element, as in SourceCodeInfo."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a contract file; lines and columns count from 1."""

    path: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Given(Generic[T_co]):
    """A value that a contract gives, with the place where it does."""

    value: T_co
    at: Location


class SourceMap:
    """The locations and comments of one file. Compilers differ in how finely they record options."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self.path = file.name
        self._entries: dict[FilePath, SourceCodeInfo.Location] = {}
        for entry in file.source_code_info.location:
            self._entries.setdefault(tuple(entry.path), entry)

    def at(self, path: FilePath) -> Location:
        """Return where ``path`` stands: itself, else its first recorded part, else what it is a part of."""
        entry = self._entries.get(path) or self._first_below(path) or self._nearest_above(path)
        if entry is None:
            return Location(self.path)
        return Location(self.path, entry.span[0] + 1, entry.span[1] + 1)

    def comment(self, path: FilePath) -> str:
        """Return the comment above ``path``, or else the one behind it; empty when there is none."""
        entry = self._entries.get(path)
        if entry is None:
            return ""
        return cleaned(entry.leading_comments) or cleaned(entry.trailing_comments)

    def _first_below(self, path: FilePath) -> SourceCodeInfo.Location | None:
        below = (entry for key, entry in self._entries.items() if key[: len(path)] == path)
        return min(below, key=_start, default=None)

    def _nearest_above(self, path: FilePath) -> SourceCodeInfo.Location | None:
        above = (self._entries.get(path[:length]) for length in range(len(path) - 1, -1, -1))
        return next((entry for entry in above if entry is not None), None)


def _start(entry: SourceCodeInfo.Location) -> tuple[int, ...]:
    return tuple(entry.span[:2])
