"""Where things stand in a contract file, and what its comments say about them."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile
from typing import Generic, TypeVar

from google.protobuf.descriptor_pb2 import FileDescriptorProto, SourceCodeInfo

from carrick_codegen._comments import cleaned

__all__ = ["FilePath", "Given", "Location", "Place", "SourceMap"]

T_co = TypeVar("T_co", covariant=True)

FilePath = tuple[int, ...]
"""Field numbers and indexes that lead from a FileDescriptorProto to an element, as in SourceCodeInfo."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Line and column in a contract file; both count from 1."""

    path: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an element stands. It is looked up when it is told, which is hardly ever."""

    source: "SourceMap"
    path: FilePath

    @property
    def location(self) -> Location:
        """Line and column."""
        return self.source.location(self.path)

    def __str__(self) -> str:
        return str(self.location)


@dataclass(frozen=True, slots=True)
class Given(Generic[T_co]):
    """A value that a contract gives, with the place where it does."""

    value: T_co
    at: Place


class SourceMap:
    """The locations and comments of one file. Compilers differ in how finely they record options."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self.path = file.name
        self._recorded = file.source_code_info.location

    def at(self, path: FilePath) -> Place:
        """Return the place of ``path``."""
        return Place(self, path)

    def location(self, path: FilePath) -> Location:
        """Return where ``path`` stands: itself, else its first recorded part, else what it is a part of."""
        entry = self._entries.get(path) or self._first_below(path) or self._nearest_above(path)
        if entry is None:
            return Location(self.path)
        return Location(self.path, entry.span[0] + 1, entry.span[1] + 1)

    def comment(self, path: FilePath) -> str:
        """Return the comment above ``path``, or else the one behind it; empty when there is none."""
        entry = self._commented.get(path)
        if entry is None:
            return ""
        return cleaned(_text(entry.leading_comments)) or cleaned(_text(entry.trailing_comments))

    @cached_property
    def _commented(self) -> dict[FilePath, SourceCodeInfo.Location]:
        return _by_path(entry for entry in self._recorded if entry.leading_comments or entry.trailing_comments)

    @cached_property
    def _entries(self) -> dict[FilePath, SourceCodeInfo.Location]:
        return _by_path(entry for entry in self._recorded if len(entry.span) >= 2)

    @cached_property
    def _paths(self) -> list[FilePath]:
        return sorted(self._entries)

    def _first_below(self, path: FilePath) -> SourceCodeInfo.Location | None:
        after = islice(self._paths, bisect_left(self._paths, path), None)
        below = takewhile(lambda key: key[: len(path)] == path, after)
        return min((self._entries[key] for key in below), key=_start, default=None)

    def _nearest_above(self, path: FilePath) -> SourceCodeInfo.Location | None:
        above = (self._entries.get(path[:length]) for length in range(len(path) - 1, -1, -1))
        return next((entry for entry in above if entry is not None), None)


def _by_path(entries: Iterable[SourceCodeInfo.Location]) -> dict[FilePath, SourceCodeInfo.Location]:
    found: dict[FilePath, SourceCodeInfo.Location] = {}
    for entry in entries:
        found.setdefault(tuple(entry.path), entry)
    return found


def _start(entry: SourceCodeInfo.Location) -> tuple[int, ...]:
    return tuple(entry.span[:2])


def _text(comment: str | bytes) -> str:
    """Return a comment as text; protobuf gives bytes where they are no UTF-8, which it does not check here."""
    return comment if isinstance(comment, str) else comment.decode(errors="replace")
