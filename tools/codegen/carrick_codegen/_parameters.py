"""The plugin's parameters: ``--carrick_opt=relative_imports=true`` for protoc, ``opt:`` for buf."""

from dataclasses import dataclass, fields

__all__ = ["Parameters", "parse"]

_BOOLS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a user may ask of the plugin."""

    allow_carrick: bool = False
    """Generate also for files of the package ``carrick``, which would shadow the runtime."""
    relative_imports: bool = False
    """Import modules of the same run relative to the generated one, so that their folder can lie in a package."""


def parse(text: str) -> Parameters:
    """Return the parameters of a request, ``name=value`` with commas between. Raises ValueError."""
    values: dict[str, bool] = {}
    known = [field.name for field in fields(Parameters)]
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        if name not in known:
            choices = ", ".join(f"{each}=true|false" for each in known)
            raise ValueError(f'unknown parameter "{name}"; known are: {choices}')
        if value not in _BOOLS:
            raise ValueError(f'parameter "{item}" must be {name}=true or {name}=false')
        values[name] = _BOOLS[value]
    return Parameters(**values)
