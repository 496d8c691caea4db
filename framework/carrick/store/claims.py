"""The statements by which a transaction fulfils a claim or a receipt."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from carrick.claim import Claim, Receipt, Tenure
from carrick.errors import CarrickError, Code, DuplicateEventError, StoreError
from carrick.store.dialect import Sql

if TYPE_CHECKING:
    from carrick.store.transaction import Transaction

__all__ = ["NewerOwnerError", "check_tenures", "complete", "fulfil", "receive"]

_FULFIL = """
UPDATE carrick_idempotency SET reply = :reply, error = :error
WHERE method = :method AND key = :key AND token = :token AND reply IS NULL AND error IS NULL
"""

_RECEIVE = Sql.template("""
INSERT INTO carrick_inbox (consumer, event_id, handled_at) VALUES (:consumer, :event_id, {now})
ON CONFLICT DO NOTHING
""")

_RECEIVE_IN_TENURE = Sql.template("""
INSERT INTO carrick_inbox (consumer, event_id, handled_at)
SELECT :consumer, :event_id, {now} WHERE NOT EXISTS (
    SELECT 1 FROM carrick_partition
    WHERE consumer = :consumer AND stream = :stream AND partition = :partition AND epoch > :epoch)
ON CONFLICT DO NOTHING
""")

_RECEIVED = "SELECT 1 FROM carrick_inbox WHERE consumer = :consumer AND event_id = :event_id"

_EPOCHS = "SELECT partition, epoch FROM carrick_partition WHERE consumer = :consumer AND stream = :stream"


class NewerOwnerError(StoreError):
    """Another process consumes the partition by now: what this one has of it in hand is that one's."""

    def __init__(self, tenure: Tenure) -> None:
        super().__init__(
            Code.ABORTED,
            f"partition {tenure.partition} of stream {tenure.stream} is consumed by another process now, which handles "
            f"the events of {tenure.consumer} that this one had not",
        )


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
    """Store the receipt, or raise ``DuplicateEventError`` when it is there already.

    Raises :class:`NewerOwnerError` when another process consumes the event's partition by now.
    """
    values: dict[str, Any] = {"consumer": receipt.consumer, "event_id": receipt.event_id}
    tenure = receipt.tenure
    if tenure is None:
        result = await tx.execute(_RECEIVE.of(tx.dialect), values)
    else:
        held = {"stream": tenure.stream, "partition": tenure.partition, "epoch": tenure.epoch}
        result = await tx.execute(_RECEIVE_IN_TENURE.of(tx.dialect), values | held)
    if result.rowcount == 1:
        return
    if tenure is not None and not (await tx.execute(_RECEIVED, values)).all():
        raise NewerOwnerError(tenure)
    raise DuplicateEventError(f"{receipt.consumer} has handled event {receipt.event_id} before")


async def check_tenures(tx: Transaction, tenures: Collection[Tenure]) -> None:
    """Raise :class:`NewerOwnerError` when another process consumes one of some partitions by now."""
    for consumer, stream in {(tenure.consumer, tenure.stream) for tenure in tenures}:
        rows = (await tx.execute(_EPOCHS, {"consumer": consumer, "stream": stream})).all()
        epochs = {row.partition: row.epoch for row in rows}
        for tenure in tenures:
            if epochs.get(tenure.partition, 0) > tenure.epoch:
                raise NewerOwnerError(tenure)
