"""Names that must differ from each other, like those of a module or of a class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Scope", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The names that something would have, the best first; ``declared`` is its name in the contract."""

    declared: str
    candidates: Sequence[str]


class Scope:
    """The names of one scope, each of them given once. Asked the same in the same order, it answers the same."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def name(self, *candidates: str) -> str:
        """Give the first candidate that is free, or else the last with as many underscores as it takes."""
        name = next((candidate for candidate in candidates if candidate not in self._taken), candidates[-1])
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def names(self, wanted: Sequence[Wanted]) -> list[str]:
        """Give each a name: what is declared under its best name gets that one, then the order decides."""
        given = {
            index: self.name(*each.candidates)
            for index, each in sorted(enumerate(wanted), key=lambda item: item[1].declared != item[1].candidates[0])
        }
        return [given[index] for index in range(len(wanted))]
