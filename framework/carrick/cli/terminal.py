"""What is safe and fitting to print on a terminal."""

import sys
import time
from collections.abc import Iterator, Sequence

import typer

__all__ = ["ProgressLine", "dump", "printable", "table"]

_CLEAR_LINE = "\r\x1b[K"
_WIDTH = 16
_EVERY = 10.0  # seconds


def printable(text: str) -> str:
    """Return a text in one line, with whatever a terminal would obey written out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def dump(data: bytes) -> Iterator[str]:
    """Yield bytes as text where all of them are, and as lines of hexadecimal digits otherwise."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        lines = ["\0"]
    if all(line.replace("\t", " ").isprintable() for line in lines):
        yield from lines
        return
    for start in range(0, len(data), _WIDTH):
        yield data[start : start + _WIDTH].hex(" ")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines whose columns are below each other; the last may be of any length."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads) - 1)]
    for row in (heads, *rows):
        yield "  ".join([*(f"{text:<{width}}" for text, width in zip(row, widths, strict=False)), row[-1]]).rstrip()


class ProgressLine:
    """A line on standard error: written over again and again on a terminal, and elsewhere every ten seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + _EVERY

    def show(self, text: str) -> None:
        """Put a text in the place of the one before."""
        if self._terminal:
            typer.echo(f"{_CLEAR_LINE}{text}", err=True, nl=False)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            typer.echo(text, err=True)

    def clear(self) -> None:
        """Take it away, before something else is printed."""
        if self._terminal:
            typer.echo(_CLEAR_LINE, err=True, nl=False)
