"""The plugin's parameters: ``--carrick_opt=allow_carrick=true`` for protoc, ``opt:`` for buf."""

from dataclasses import dataclass

__all__ = ["Parameters", "parse"]

_BOOLS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a user may ask of the plugin."""

    allow_carrick: bool = False
    """Generate also for files of the package ``carrick``, which would shadow the runtime."""


def parse(text: str) -> Parameters:
    """Return the parameters of a request, ``name=value`` with commas between. Raises ValueError."""
    values: dict[str, bool] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        if name != "allow_carrick":
            raise ValueError(f'unknown parameter "{name}"; known are: allow_carrick=true|false')
        if value not in _BOOLS:
            raise ValueError(f'parameter "{item}" must be {name}=true or {name}=false')
        values[name] = _BOOLS[value]
    return Parameters(**values)
