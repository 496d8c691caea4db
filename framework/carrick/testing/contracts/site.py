"""Where the databases of a contract's tests are."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from carrick.store import Database, Dialect, Migrations

__all__ = ["StoreDatabase", "StoreSite"]


class StoreDatabase(Database, Protocol):
    """A database that is opened and closed as a context manager; opening applies the migrations that are due."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class StoreSite(Protocol):
    """One place, empty at first, for as many databases as there are processes in a test's story."""

    @property
    def dialect(self) -> Dialect:
        """Whose SQL is understood there."""
        ...

    def database(self, *, migrations: Sequence[Migrations]) -> StoreDatabase:
        """Return a database there, to be opened, with what it migrates. Each sees what the others commit."""
        ...
