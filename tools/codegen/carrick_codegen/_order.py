"""Two fields of options, one of which must not be below the other."""

from dataclasses import dataclass

from carrick_codegen._errors import ContractErrors
from carrick_codegen.model import Fields

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """A field that must not be below another one.

    Fields that are not given have the runtime's defaults; None is a default that is not compared.
    """

    high: str
    high_default: float | None
    low: str
    low_default: float | None
    times: bool = False
    """Whether the two are times, in seconds, or numbers of something."""
    only_if: str | None = None
    """The flag without which the two have nothing to do with each other."""

    def check(self, fields: Fields, errors: ContractErrors) -> None:
        """Report fields that are not in this order, where the nearest of the two is given."""
        if self.only_if is not None and not (self.only_if in fields and fields[self.only_if].value):
            return
        high = fields[self.high].value if self.high in fields else self.high_default
        low = fields[self.low].value if self.low in fields else self.low_default
        given = [each for name, each in fields.items() if name in {self.high, self.low}]
        if not given or high is None or low is None or high >= low:
            return
        more, less = ("longer", "shorter") if self.times else ("larger", "smaller")
        errors.add(
            given[-1].at,
            f"{self.high} ({self._told(self.high, high, fields)}) must not be below "
            f"{self.low} ({self._told(self.low, low, fields)}); "
            f"write a {more} {self.high} or a {less} {self.low}",
        )

    def _told(self, name: str, value: float, fields: Fields) -> str:
        """Write a value, and whether it is one that nobody gave."""
        text = f"{value:g} s" if self.times else str(value)
        return text if name in fields else f"{text} unless given"
