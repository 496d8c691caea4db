"""What an event's option says about its consumers, read and checked."""

from carrick_codegen import _fields
from carrick_codegen._errors import ContractErrors
from carrick_codegen._options import OptionMessage
from carrick_codegen._order import Order
from carrick_codegen._parts import HANDLING
from carrick_codegen.model import Fields

__all__ = ["ORDER", "read"]

ORDER = Order("max_backoff", 30.0, "initial_backoff", 0.1, times=True)


def read(event: OptionMessage, errors: ContractErrors) -> Fields:
    """Return what an event's option gives of ``handling``. What makes no sense is reported."""
    option = event.part("handling")
    if option is None:
        return {}
    option.refuse_unknown(HANDLING.fields, errors)
    fields, sound = _fields.read(option, HANDLING, errors)
    if sound:
        ORDER.check(fields, errors)
    _check_order_of_keys(event, fields, errors)
    return fields


def _check_order_of_keys(event: OptionMessage, fields: Fields, errors: ContractErrors) -> None:
    unordered, hold_key = event.given("unordered"), fields.get("hold_key")
    if unordered is not None and unordered.value and hold_key is not None and hold_key.value:
        errors.add(
            hold_key.at,
            "hold_key makes no sense for an unordered event: its later ones may pass one that fails; "
            "take hold_key away, or unordered where the order does matter",
        )
