"""The methods of Payments."""

from carrick import Context
from carrick.store import Database
from services.payments.bank import Bank
from services.payments.store import Ledger
from shop.payments.v1.payments_carrick import PaymentsServicer
from shop.payments.v1.payments_pb2 import ChargeRequest, ChargeResponse, RefundRequest, RefundResponse

__all__ = ["PaymentsHandlers"]


class PaymentsHandlers(PaymentsServicer):
    """Charges and refunds."""

    def __init__(self, database: Database, ledger: Ledger, bank: Bank) -> None:
        self._database = database
        self._ledger = ledger
        self._bank = bank

    async def charge(self, request: ChargeRequest, ctx: Context) -> ChargeResponse:
        """Ask the bank, then write the charge."""
        await self._bank.authorise(request.customer_id, request.amount)
        async with self._database.transaction() as tx:
            charge_id = await self._ledger.charge(tx, request.order_id, request.customer_id, request.amount)
            return await tx.reply(ChargeResponse(charge_id=charge_id))

    async def refund(self, request: RefundRequest, ctx: Context) -> RefundResponse:
        """Give back what an order paid."""
        async with self._database.transaction() as tx:
            await self._ledger.refund(tx, request.order_id)
        return RefundResponse()
