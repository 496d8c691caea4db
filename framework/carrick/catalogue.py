"""All events of some contracts, to be looked up."""

from collections.abc import Iterator
from typing import Any

from carrick.errors import ConfigurationError
from carrick.event import EventSpec

__all__ = ["EventCatalogue"]


class EventCatalogue:
    """Events by their CloudEvents type and by their subject: ``EventCatalogue(*orders.EVENTS, *payments.EVENTS)``.

    Iterating gives them in the order of their subjects. Raises ConfigurationError for two events with one subject or
    one type; giving the same event twice is no mistake.
    """

    def __init__(self, *specs: EventSpec[Any]) -> None:
        self._by_type: dict[str, EventSpec[Any]] = {}
        self._by_subject: dict[str, EventSpec[Any]] = {}
        for spec in specs:
            _enter(self._by_type, "type", spec.full_name, spec)
            _enter(self._by_subject, "subject", spec.subject, spec)

    def by_type(self, full_name: str) -> EventSpec[Any] | None:
        """Return the event of a CloudEvents ``type``, ``shop.orders.v1.OrderPlaced``; None when there is none."""
        return self._by_type.get(full_name)

    def by_subject(self, subject: str) -> EventSpec[Any] | None:
        """Return the event of a contract's subject, ``orders.placed.v1``; None when there is none."""
        return self._by_subject.get(subject)

    def __iter__(self) -> Iterator[EventSpec[Any]]:
        return (spec for _, spec in sorted(self._by_subject.items()))

    def __len__(self) -> int:
        return len(self._by_subject)


def _enter(index: dict[str, EventSpec[Any]], what: str, key: str, spec: EventSpec[Any]) -> None:
    first = index.setdefault(key, spec)
    if first is not spec:
        raise ConfigurationError(
            f'two events have the {what} "{key}": {_named(first)} and {_named(spec)}; '
            "leave one of them out, or change its contract"
        )


def _named(spec: EventSpec[Any]) -> str:
    return f"{spec.full_name} on {spec.subject}" + (f" ({spec.source})" if spec.source else "")
