"""The names taken in a set of contracts, by protobuf's rules."""

__all__ = ["Symbols", "joined"]


class Symbols:
    """Full names of all that has been declared. A name that is taken gets a digit behind it."""

    def __init__(self) -> None:
        self._declared: set[str] = set()
        self._packages: set[str] = set()

    def declare(self, scope: str, name: str) -> str:
        """Declare something in a scope; return its name there."""
        while joined(scope, name) in self._declared | self._packages:
            name += "2"
        self._declared.add(joined(scope, name))
        return name

    def package(self, *names: str) -> str:
        """Declare a package, that others may share; return its full name."""
        package = ""
        for name in names:
            while joined(package, name) in self._declared:
                name += "2"
            package = joined(package, name)
            self._packages.add(package)
        return package


def joined(scope: str, name: str) -> str:
    """Return the full name of what is called ``name`` in a scope, which is empty outside of any package."""
    return f"{scope}.{name}" if scope else name
