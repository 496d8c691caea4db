"""``:name`` parameters, as PostgreSQL takes them."""

import re
from collections.abc import Callable, Iterator

__all__ = ["numbered"]

_PIECE = re.compile(
    r"""
    (?P<skip>
        (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*' |        # a string with escapes
        '(?:[^']|'')*' | "(?:[^"]|"")*" |           # a string; a name
        --[^\n]* |                                  # a comment
        (?<![\w$])(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag) |   # a string between dollars
        ::                                          # a cast
    ) |
    (?P<open>/\*) |
    (?<![\w:]):(?P<name>[^\W\d]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """Write ``:name`` parameters as ``$1``, ``$2``, ...; return the statement and the names in that order.

    PostgreSQL's rules: what is in strings, quoted names and comments stays as it is, and so do casts (``::text``) and
    slices (``a[1:n]``). A name used twice has one number.
    """
    names: dict[str, int] = {}
    text = "".join(_written(sql, lambda name: names.setdefault(name, len(names) + 1)))
    return text, tuple(names)


def _written(sql: str, number: Callable[[str], int]) -> Iterator[str]:
    position = 0
    while (piece := _PIECE.search(sql, position)) is not None:
        yield sql[position : piece.start()]
        position = piece.end()
        if piece["name"]:
            yield f"${number(piece['name'])}"
            continue
        if piece["open"]:
            position = _end_of_comment(sql, position)
        yield sql[piece.start() : position]
    yield sql[position:]


def _end_of_comment(sql: str, position: int) -> int:
    """Comments nest in PostgreSQL."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(sql, position)) is not None:
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return len(sql) if depth else position
