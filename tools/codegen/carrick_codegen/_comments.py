"""Proto comments as plain text, and that text as docstrings."""

import re
import unicodedata
from functools import cache

__all__ = ["cleaned", "docstring", "first_paragraph", "one_line"]

_QUOTES = '"""'
_PREFORMATTED = re.compile(r"\s|[-*+#>|]|[0-9]+[.)]\s")
"""The start of a line that must stay a line: lists, tables, code."""

_RISKY_QUOTES = re.compile(r'"{3,}|\A"+|"+\Z')
"""Quotes that would merge with those of a docstring, or end it."""


def cleaned(comment: str) -> str:
    """Return a comment without its margin, linter directives, control characters and outer blank lines."""
    lines = [_printable(line).rstrip() for line in comment.removeprefix("*").splitlines()]  # of /** ... */
    kept = [line for line in lines if not line.lstrip().startswith("buf:lint:")]
    return "\n".join(_dedented(kept)).strip()


def first_paragraph(text: str) -> str:
    """Return the first paragraph of a cleaned comment on one line."""
    return one_line(text.partition("\n\n")[0])


def one_line(text: str) -> str:
    """Return ``text`` with a blank for each run of blanks, line ends and control characters."""
    return " ".join(cleaned(text).split())


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char for char in line.expandtabs(4) if unicodedata.category(char) not in {"Cc", "Cs"})


def docstring(text: str, *, indent: int, width: int) -> list[str]:
    """Return ``text`` as the lines of a docstring, its paragraphs wrapped to ``width`` columns."""
    margin = " " * indent
    escaped = _escaped(text)
    whole = f"{margin}{_QUOTES}{escaped}{_QUOTES}"
    if "\n" not in escaped and len(whole) <= width:
        return [whole]
    lines = _lines(_QUOTES + escaped, width - indent)
    if len(lines) == 1:  # the quotes behind it are too much
        lines = _lines(_QUOTES + escaped, width - indent - len(_QUOTES))
    if len(lines) == 1:  # and there is nowhere to break it
        return [f"{margin}{lines[0]}{_QUOTES}"]
    return [f"{margin}{line}".rstrip() for line in (lines[0], *_dedented(lines[1:]), _QUOTES)]


def _escaped(text: str) -> str:
    return _RISKY_QUOTES.sub(lambda match: r"\"" * len(match[0]), text.replace("\\", r"\\"))


def _lines(text: str, width: int) -> list[str]:
    return "\n\n".join(_wrapped(block, width) for block in re.split(r"\n{2,}", text)).split("\n")


def _dedented(lines: list[str]) -> list[str]:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return [line[margin:] for line in lines]


@cache  # a method's comment is in four classes
def _wrapped(paragraph: str, width: int) -> str:
    if any(_PREFORMATTED.match(line) for line in paragraph.removeprefix(_QUOTES).split("\n")):
        return paragraph
    lines: list[str] = []
    for word in paragraph.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)
