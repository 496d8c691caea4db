"""The statements by which a transaction fulfils a claim or a receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrick.claim import Claim, Receipt
from carrick.errors import CarrickError, Code, DuplicateEventError
from carrick.store.dialect import Sql

if TYPE_CHECKING:
    from carrick.store.transaction import Transaction

__all__ = ["complete", "fulfil", "receive"]

_FULFIL = """
UPDATE carrick_idempotency SET reply = :reply, error = :error
WHERE method = :method AND key = :key AND token = :token AND reply IS NULL AND error IS NULL
"""

_RECEIVE = Sql.template("""
INSERT INTO carrick_inbox (consumer, event_id, handled_at) VALUES (:consumer, :event_id, {now})
ON CONFLICT DO NOTHING
""")


async def fulfil(tx: Transaction, claim: Claim, *, reply: bytes | None = None, error: bytes | None = None) -> None:
    """Store the reply, or an encoded error, under the claim's token.

    Raises ``ABORTED`` when somebody else holds the key now.
    """
    if not await complete(tx, claim, reply=reply, error=error):
        raise CarrickError(
            Code.ABORTED,
            f"{claim.method.full_name}: the claim on the idempotency key was taken over; this execution is undone",
        )


async def complete(tx: Transaction, claim: Claim, *, reply: bytes | None = None, error: bytes | None = None) -> bool:
    """Store an answer under the claim's token; say whether the token still holds the key."""
    result = await tx.execute(
        _FULFIL,
        {
            "reply": reply,
            "error": error,
            "method": claim.method.full_name,
            "key": claim.key,
            "token": claim.token,
        },
    )
    return result.rowcount == 1


async def receive(tx: Transaction, receipt: Receipt) -> None:
    """Store the receipt, or raise ``DuplicateEventError`` when it is there already."""
    result = await tx.execute(_RECEIVE.of(tx.dialect), {"consumer": receipt.consumer, "event_id": receipt.event_id})
    if result.rowcount != 1:
        raise DuplicateEventError(f"{receipt.consumer} has handled event {receipt.event_id} before")
