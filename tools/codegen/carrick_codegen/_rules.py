"""Which messages have rules of protovalidate, or hold messages that have some."""

from collections import defaultdict
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor

from carrick_codegen._options import OptionKind, OptionReader

__all__ = ["RuleReader"]

_MESSAGE = OptionKind("buf.validate.message", "google.protobuf.MessageOptions", 7)
_FIELD = OptionKind("buf.validate.field", "google.protobuf.FieldOptions", 8)
_ONEOF = OptionKind("buf.validate.oneof", "google.protobuf.OneofOptions", 2)


class RuleReader:
    """Looks for rules, in the options alone. Each message is looked at once, however many methods take it."""

    def __init__(self, options: OptionReader) -> None:
        self._options = options
        self._any = any(map(options.knows, (_MESSAGE, _FIELD, _ONEOF)))
        self._applies: dict[str, bool] = {}

    def applies_to(self, message: Descriptor) -> bool:
        """Tell whether a message, or one that is reached through its fields, has rules."""
        if not self._any:
            return False
        if message.full_name not in self._applies:
            self._look_at(message)
        return self._applies[message.full_name]

    def _look_at(self, start: Descriptor) -> None:
        """Decide about a message and all that it holds: go down to find rules, and from these up to who holds them."""
        holders: defaultdict[str, list[str]] = defaultdict(list)
        found = {start.full_name}
        ruled: list[str] = []
        waiting = [start]
        while waiting:
            message = waiting.pop()
            if self._has_rules(message):
                ruled.append(message.full_name)
            for held in _held(message):
                holders[held.full_name].append(message.full_name)
                if self._applies.get(held.full_name):
                    ruled.append(held.full_name)
                elif held.full_name not in found and held.full_name not in self._applies:
                    found.add(held.full_name)
                    waiting.append(held)
        self._applies.update(dict.fromkeys(found, False))
        while ruled:
            name = ruled.pop()
            self._applies[name] = True
            ruled += holders.pop(name, ())

    def _has_rules(self, message: Descriptor) -> bool:
        return (
            self._options.has(_MESSAGE, message)
            or any(self._options.has(_FIELD, field) for field in message.fields)
            or any(self._options.has(_ONEOF, oneof) for oneof in message.oneofs)
        )


def _held(message: Descriptor) -> Iterator[Descriptor]:
    for field in message.fields:
        if field.message_type is not None:
            yield field.message_type
