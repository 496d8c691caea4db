"""What generated code says of things that a contract calls deprecated."""

from carrick_codegen._layout import Group
from carrick_codegen._literals import string

__all__ = ["deprecation"]


def deprecation(full_name: str, *, indent: int = 0) -> list[str]:
    """Return the decorator by which type checkers, and a DeprecationWarning at each use, tell of it."""
    return Group("@deprecated(", [string(f"{full_name} is deprecated by its contract")]).lines(indent)
