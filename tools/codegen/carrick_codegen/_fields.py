"""The fields of one class of options, read as the tables of :mod:`carrick_codegen._parts` say."""

from carrick_codegen._errors import ContractErrors
from carrick_codegen._options import OptionMessage
from carrick_codegen._parts import Options
from carrick_codegen._source import Given
from carrick_codegen.model import Fields

__all__ = ["read"]


def read(option: OptionMessage, options: Options, errors: ContractErrors) -> tuple[Fields, bool]:
    """Return the fields that make sense, and whether that is all of them. The others are reported."""
    fields, sound = {}, True
    for name, kind in options.fields.items():
        if (given := option.given(name)) is None:
            continue
        faults: list[str] = []
        value = kind.read(given.value, faults)
        for fault in faults:
            errors.add(given.at, f"{name} {fault}")
        sound = sound and not faults
        if value is not None and not faults:
            fields[name] = Given(value, given.at)
    return fields, sound
