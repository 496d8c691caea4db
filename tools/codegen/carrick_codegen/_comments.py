"""Proto comments as plain text, and that text as docstrings."""

import re
import unicodedata

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
    margin = min((len(line) - len(line.lstrip()) for line in kept if line), default=0)
    return "\n".join(line[margin:] for line in kept).strip()


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
    one_line = f"{margin}{_QUOTES}{escaped}{_QUOTES}"
    if "\n" not in escaped and len(one_line) <= width:
        return [one_line]
    blocks = [_wrapped(block, width - indent) for block in re.split(r"\n{2,}", _QUOTES + escaped)]
    lines = "\n\n".join(blocks).split("\n")
    return [f"{margin}{line}".rstrip() for line in (*lines, _QUOTES)]


def _escaped(text: str) -> str:
    return _RISKY_QUOTES.sub(lambda match: r"\"" * len(match[0]), text.replace("\\", r"\\"))


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
