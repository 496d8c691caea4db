"""What is wrong with the contracts, gathered so that all of it is told at once."""

from carrick_codegen._source import Location, Place

__all__ = ["ContractErrors", "MalformedRequestError"]


class MalformedRequestError(Exception):
    """The bytes on stdin are not a request of a protobuf compiler."""


class ContractErrors:
    """Errors found so far. The same error at the same place counts once: policies are inherited by many methods."""

    def __init__(self) -> None:
        self._found: set[tuple[Location, str]] = set()

    def add(self, at: Place, message: str) -> None:
        """Note that what stands ``at`` is wrong; ``message`` says what to write instead."""
        self._found.add((at.location, _on_one_line(message)))

    def __bool__(self) -> bool:
        return bool(self._found)

    def __str__(self) -> str:
        """Return all errors, one a line, in the order of the files."""
        return "\n".join(f"{at}: {message}" for at, message in sorted(self._found))


def _on_one_line(message: str) -> str:
    """Write what cannot be printed as an escape: a value of a contract may hold anything."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message)
