"""Code laid out in lines: on one where it fits, otherwise one item a line, as formatters do."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WIDTH", "Group", "tuple_lines"]

WIDTH = 120
"""Columns of a line. At this width, ``ruff format`` leaves generated code as it is."""

_STEP = 4


@dataclass(frozen=True, slots=True)
class Group:
    """Items between an opening and a closing text, like a call and its arguments."""

    opening: str
    items: Sequence["str | Group"]
    closing: str = ")"

    def flat(self) -> str:
        """Return the group as one line."""
        items = (item if isinstance(item, str) else item.flat() for item in self.items)
        return f"{self.opening}{', '.join(items)}{self.closing}"

    def lines(self, indent: int = 0, *, after: str = "", expanded: bool = False) -> list[str]:
        """Return the group as lines; ``expanded`` gives each item one of its own even where all fit on one."""
        margin = " " * indent
        one_line = f"{margin}{self.flat()}{after}"
        if not self.items or (len(one_line) <= WIDTH and not expanded):
            return [one_line]
        inner = (_item(item, indent + _STEP) for item in self.items)
        return [
            f"{margin}{self.opening}",
            *(line for lines in inner for line in lines),
            f"{margin}{self.closing}{after}",
        ]


def _item(item: str | Group, indent: int) -> list[str]:
    if isinstance(item, str):
        return [f"{' ' * indent}{item},"]
    return item.lines(indent, after=",")


def tuple_lines(opening: str, items: Sequence[str | Group], indent: int = 0) -> list[str]:
    """Return a tuple, one item a line; formatters put a single one on the line of the parentheses where it fits."""
    if len(items) == 1:
        one_line = f"{' ' * indent}{Group(opening, items, ',)').flat()}"
        if len(one_line) <= WIDTH:
            return [one_line]
    return Group(opening, items).lines(indent, expanded=True)
