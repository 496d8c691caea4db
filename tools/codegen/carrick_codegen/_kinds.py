"""The kinds of fields that options have: what a contract may give for one, and how it is written in Python."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from carrick_codegen._duration import seconds
from carrick_codegen._layout import Group

__all__ = ["Choice", "Codes", "Count", "Duration", "Flag", "Kind", "Real"]


class Kind(ABC):
    """One kind of field."""

    @abstractmethod
    def read(self, given: Any, faults: list[str]) -> Any:
        """Return what a contract gives as the model's value; None for what counts as not given.

        What is wrong with it is added to ``faults``, in words that go on behind the field's name.
        """

    def argument(self, name: str, value: Any) -> str | Group:
        """Return the argument that gives ``value`` to the runtime's options."""
        return f"{name}={value!r}"

    @property
    def runtime_names(self) -> frozenset[str]:
        """What the argument needs of the runtime."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class Duration(Kind):
    """A time, in seconds for the model. Only where ``zero`` is true may it be none at all."""

    zero: bool = False

    def read(self, given: Any, faults: list[str]) -> float | None:
        """Return the seconds."""
        try:
            return seconds(given, zero=self.zero)
        except ValueError as error:
            faults.append(str(error))
            return None


@dataclass(frozen=True, slots=True)
class _Number(Kind):
    """A number that must be within bounds: a test, and what it tests in words."""

    holds: Callable[[float], bool]
    words: str

    def read(self, given: Any, faults: list[str]) -> Any:
        """Return the number itself."""
        if not self.holds(given):
            faults.append(f"must be {self.words}, not {given}")
        return given


class Count(_Number):
    """A whole number from ``least`` to ``most``; without these, any that a contract can hold."""

    def __init__(self, least: int = 0, most: float = math.inf, *, hint: str = "") -> None:
        words = f"{least} or more" if most == math.inf else f"{least} to {most:.0f}"
        super().__init__(lambda value: least <= value <= most, words + (f" ({hint})" if hint else ""))


class Real(_Number):
    """A number with a fraction: finite, and within the bounds that are given as a test and in words."""

    def __init__(self, holds: Callable[[float], bool], words: str) -> None:
        super().__init__(lambda value: math.isfinite(value) and holds(value), words)


class Flag(Kind):
    """True or false."""

    def read(self, given: Any, faults: list[str]) -> Any:
        """Return it as it is."""
        return given


_STATUSES = frozenset(
    """
    OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED
    RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS
    UNAUTHENTICATED
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Codes(Kind):
    """Statuses of failures: their names, without repeats. ``not_ok`` says why success is none of them."""

    not_ok: str

    def read(self, given: Any, faults: list[str]) -> tuple[str, ...]:
        """Return the names."""
        if "OK" in given:
            faults.append(f"must not hold OK: {self.not_ok}; take OK out")
        faults += [
            f"holds {each}, which is no status of gRPC; write a name like UNAVAILABLE"
            for each in given
            if each not in _STATUSES
        ]
        return tuple(dict.fromkeys(given))

    def argument(self, name: str, value: Any) -> str | Group:
        """Return the argument with a frozenset."""
        return Group(f"{name}=frozenset(", [Group("{", [f"Code.{each}" for each in value], "}")])

    @property
    def runtime_names(self) -> frozenset[str]:
        """Codes are an enum of the runtime."""
        return frozenset({"Code"})


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of some names, which are those of an enum of the runtime too; one name more means: not given."""

    enum: str
    names: tuple[str, ...]
    unspecified: str

    def read(self, given: Any, faults: list[str]) -> str | None:
        """Return the name."""
        if given == self.unspecified:
            return None
        if given not in self.names:
            faults.append(f"must be {', '.join(self.names[:-1])} or {self.names[-1]}, not {given}")
        return str(given)

    def argument(self, name: str, value: Any) -> str | Group:
        """Return the argument with the enum's member."""
        return f"{name}={self.enum}.{value}"

    @property
    def runtime_names(self) -> frozenset[str]:
        """Return the enum."""
        return frozenset({self.enum})
