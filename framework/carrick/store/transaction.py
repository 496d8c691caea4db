"""What the framework needs of a database, and what a handler does with a transaction."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from carrick import status
from carrick.context import current
from carrick.errors import CarrickError, ConfigurationError, is_answer
from carrick.store import claims
from carrick.store.dialect import Dialect

__all__ = ["Database", "Parameters", "Result", "Transaction"]

Res = TypeVar("Res", bound=Message)
Parameters = Mapping[str, Any]


class Result(Protocol):
    """The rows of a statement; their columns are attributes."""

    @property
    def rowcount(self) -> int:
        """Rows changed."""
        ...

    def all(self) -> Sequence[Any]:
        """All rows."""
        ...

    def first(self) -> Any | None:
        """The first row, or None."""
        ...

    def scalar_one(self) -> Any:
        """The one value of the one row; raises when there are more or none."""
        ...


class Transaction(ABC):
    """One local transaction. It commits when its block ends and rolls back when the block raises.

    Used by one task at a time.
    """

    dialect: Dialect
    """Whose SQL it understands: ``Sql(...).of(tx.dialect)`` for statements that are not the same in all databases."""

    def __init__(self) -> None:
        self._after_commit: list[Callable[[], None]] = []

    @abstractmethod
    async def execute(self, statement: Any, parameters: Parameters | Sequence[Parameters] | None = None) -> Result:
        """Run a statement: SQL with ``:name`` parameters, or a SQLAlchemy statement.

        A list of parameters runs it once for each. Raises ``StoreError`` when the database is locked, full or gone.
        """

    async def reply(self, response: Res) -> Res:
        """Complete the idempotency record of the call being handled with its reply, and return the reply.

        A keyed handler ends with ``return await tx.reply(response)``. Aborts the transaction with ``ABORTED`` when the
        claim was taken over by another execution meanwhile. Without a key there is nothing to complete.
        """
        ctx = current()
        claim = None if ctx is None else ctx.call.claim
        if claim is not None:
            if not isinstance(response, claim.method.response):
                raise TypeError(
                    f"{claim.method.full_name} replies with a {claim.method.response.__name__}, "
                    f"not with a {type(response).__name__}"
                )
            await claims.fulfil(self, claim, reply=claim.method.encode_response(response))
            self.after_commit(claim.fulfil)
        return response

    async def refuse(self, error: CarrickError) -> None:
        """Complete the idempotency record of the call being handled with an error: a refusal that has an effect.

        Raise the error after the transaction's block; inside, it would undo the block::

            async with database.transaction() as tx:
                await tx.execute(...)  # what is to stay of the refused call
                await tx.refuse(refusal)
            raise refusal

        Repeated calls are answered with it, whatever its code. ``ABORTED`` as for :meth:`reply`.
        """
        if not is_answer(error):
            raise TypeError(f"tx.refuse() is for an error of the handler's own, not for a {type(error).__name__}")
        ctx = current()
        claim = None if ctx is None else ctx.call.claim
        if claim is not None:
            await claims.fulfil(self, claim, error=status.encoded(error.code, error.message, error.details))
            self.after_commit(lambda: claim.refuse(error))

    async def handled(self) -> None:
        """Record the event being handled in the inbox, so that its effect in this transaction happens once.

        Raises ``DuplicateEventError`` when an earlier delivery had its effect; let it pass, and nothing is committed.
        """
        ctx = current()
        receipt = None if ctx is None else ctx.call.receipt
        if receipt is None:
            raise ConfigurationError(
                "tx.handled() is for handlers of events whose subscriber has an inbox: Subscriber(..., inbox=Inbox(db))"
            )
        await claims.receive(self, receipt)
        self.after_commit(receipt.fulfil)

    def after_commit(self, action: Callable[[], None]) -> None:
        """Call ``action`` once the transaction is committed. It must be quick and must not raise."""
        self._after_commit.append(action)

    def committed(self) -> None:
        """Run the actions. For databases, right after their commit."""
        for action in self._after_commit:
            action()


class Database(Protocol):
    """Where transactions come from. Readers see a snapshot; whether writers run side by side, each database says."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction that may write."""
        ...

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction that only reads."""
        ...
