"""Code laid out in lines: on one where it fits, otherwise one item a line, as formatters do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WIDTH", "Group", "statement", "tuple_lines"]

WIDTH = 120
"""Columns of a line. At this width, ``ruff format`` leaves generated code as it is."""

_STEP = 4
_GENERIC = re.compile(r"((?:.+ )?\w+\[)([\w.\[\]]+)(\](?: = \(\))?[:,]?)")
_RESULT = re.compile(r"(\) -> )([\w.]+)(:)")


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
            *_annotated(f"{self.closing}{after}", indent),
        ]


def _item(item: str | Group, indent: int) -> list[str]:
    if isinstance(item, str):
        return _annotated(f"{item},", indent)
    return item.lines(indent, after=",")


def _annotated(text: str, indent: int) -> list[str]:
    """Return one line, or more where it is too long and ends with a type: a comma behind that would change it."""
    margin, inner = " " * indent, " " * (indent + _STEP)
    if len(margin + text) > WIDTH:
        if generic := _GENERIC.fullmatch(text):
            return [margin + generic[1], *_annotated(generic[2], indent + _STEP), margin + generic[3]]
        if (result := _RESULT.fullmatch(text)) and len(inner + result[2]) <= WIDTH:
            return [f"{margin}{result[1]}(", inner + result[2], f"{margin}){result[3]}"]
    return [margin + text]


def statement(start: str, value: Group, indent: int = 0, *, expanded: bool = False) -> list[str]:
    """Return a statement that ends with ``value``, which gets parentheses where they make it fit."""
    whole = Group(f"{start} {value.opening}", value.items, value.closing)
    if indent + len(whole.opening) > WIDTH:
        margin = " " * indent
        lines = [f"{margin}{start} (", *value.lines(indent + _STEP, expanded=expanded), f"{margin})"]
        if all(len(line) <= WIDTH for line in lines):
            return lines
    return whole.lines(indent, expanded=expanded)


def tuple_lines(opening: str, items: Sequence[str | Group], indent: int = 0) -> list[str]:
    """Return a tuple, one item a line; formatters put a single one on the line of the parentheses where it fits."""
    if len(items) == 1:
        one_line = f"{' ' * indent}{Group(opening, items, ',)').flat()}"
        if len(one_line) <= WIDTH:
            return [one_line]
    return Group(opening, items).lines(indent, expanded=True)
