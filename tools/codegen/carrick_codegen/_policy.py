"""Method policies: read from options, as the tables of :mod:`carrick_codegen._parts` say, and merged nearest first."""

from collections.abc import Mapping

from carrick_codegen import _fields
from carrick_codegen._errors import ContractErrors
from carrick_codegen._options import OptionMessage
from carrick_codegen._parts import PARTS, POLICY
from carrick_codegen.model import Fields, Part, Policy

__all__ = ["merge", "read"]


def read(option: OptionMessage, errors: ContractErrors) -> Policy:
    """Return the policy that one option gives. Values that make no sense are reported and left out."""
    option.refuse_unknown((*POLICY.fields, *PARTS), errors)
    fields, _ = _fields.read(option, POLICY, errors)
    given = ((name, option.part(name)) for name in PARTS)
    return Policy(fields=fields, parts={name: _part(name, part, errors) for name, part in given if part is not None})


def _part(name: str, option: OptionMessage, errors: ContractErrors) -> Part:
    option.refuse_unknown(PARTS[name].fields, errors)
    fields, sound = _fields.read(option, PARTS[name], errors)
    return Part(at=option.at, fields=fields, sound=sound)


def merge(far: Policy, near: Policy) -> Policy:
    """Return ``far`` with every field that ``near`` gives put in place of its own."""
    return Policy(fields=_merged_fields(far.fields, near.fields), parts=_merged_parts(far.parts, near.parts))


def _merged_parts(far: Mapping[str, Part], near: Mapping[str, Part]) -> dict[str, Part]:
    merged = {**far, **near}
    for name in far.keys() & near.keys():
        merged[name] = Part(
            at=near[name].at,
            fields=_merged_fields(far[name].fields, near[name].fields),
            sound=far[name].sound and near[name].sound,
        )
    return merged


def _merged_fields(far: Fields, near: Fields) -> Fields:
    return {**{name: given for name, given in far.items() if name not in near}, **near}
