"""Policies of methods and events in a generated module."""

from collections.abc import Iterator, Sequence

from carrick_codegen._layout import Group
from carrick_codegen._parts import HANDLING, PARTS, POLICY, Options
from carrick_codegen.model import Event, Fields, Policy

__all__ = ["handling_arguments", "names_of_handling", "needed_names", "policy_arguments"]


def policy_arguments(policy: Policy) -> list[str | Group]:
    """Return the arguments of the policy. What the contract does not give is left to the runtime's defaults."""
    parts = [Group(f"{name}={options.name}(", _arguments(options, given)) for name, options, given in _written(policy)]
    return [*_arguments(POLICY, policy.fields), *parts]


def needed_names(policy: Policy) -> set[str]:
    """Return what the policy needs of the runtime."""
    names = _kinds_need(POLICY, policy.fields)
    for _, options, given in _written(policy):
        names |= {options.name, *_kinds_need(options, given)}
    return {POLICY.name, *names} if policy.fields or names else set()


def handling_arguments(event: Event) -> Sequence[str | Group]:
    """Return the arguments of what an event's consumers do with it, as far as the contract gives them."""
    return _arguments(HANDLING, event.handling)


def names_of_handling(event: Event) -> set[str]:
    """Return what these need of the runtime, beside their class."""
    return _kinds_need(HANDLING, event.handling)


def _written(policy: Policy) -> Iterator[tuple[str, Options, Fields]]:
    """Yield the parts that are written, with their fields.

    Of a part that is switched off, nothing else matters. Where its class cannot do without some field, no part means
    the same.
    """
    for name, options in PARTS.items():
        if (part := policy.parts.get(name)) is None:
            continue
        if part.enabled:
            yield name, options, part.fields
        elif options.required is None:
            yield name, options, {"enabled": part.fields["enabled"]}


def _arguments(options: Options, given: Fields) -> Sequence[str | Group]:
    return [kind.argument(name, given[name].value) for name, kind in options.fields.items() if name in given]


def _kinds_need(options: Options, given: Fields) -> set[str]:
    return {each for name in given for each in options.fields[name].runtime_names}
