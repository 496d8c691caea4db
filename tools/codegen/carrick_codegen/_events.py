"""Messages with the event option, as the model's events."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor

from carrick_codegen import _event_key, _handling, _subject
from carrick_codegen._errors import ContractErrors
from carrick_codegen._message_types import MessageTypes
from carrick_codegen._options import EVENT, OptionMessage, OptionReader
from carrick_codegen._request import Contract
from carrick_codegen._scope import Scope, Wanted
from carrick_codegen._source import FilePath, Given
from carrick_codegen.model import Event, MessageType
from carrick_codegen.names import MEMBERS, constant_name, member_name, public

__all__ = ["EventReader"]

_MESSAGES = 4
_NESTED = 3


@dataclass(frozen=True, slots=True)
class _Names:
    """What an event is called in Python."""

    member: str
    constant: str


class EventReader:
    """Reads the events of all files of a request; no two of them may have one subject."""

    def __init__(self, types: MessageTypes, options: OptionReader, errors: ContractErrors) -> None:
        self._types = types
        self._options = options
        self._errors = errors
        self._subjects: dict[str, Given[str]] = {}

    def read(self, contract: Contract, module: Scope) -> tuple[Event, ...]:
        """Return a file's events in its own order, nested ones behind the message that they are in.

        Their names in Python are taken from the scope of the file's module.
        """
        found = [
            (message, path, option)
            for message, path in _messages(contract)
            if (option := self._options.read(EVENT, message, contract.source, path)) is not None
        ]
        names = _names([self._types.of(message) for message, _, _ in found], module)
        events = (
            self._event(message, option, name, contract.source.comment(path))
            for (message, path, option), name in zip(found, names, strict=True)
        )
        return tuple(event for event in events if event is not None)

    def _event(self, message: Descriptor, option: OptionMessage, names: _Names, comment: str) -> Event | None:
        option.refuse_unknown(("subject", "key", "unordered", "handling"), self._errors)
        subject, key = self._subject(message, option), self._key(message, option)
        unordered = option.given("unordered")
        handling = _handling.read(option, self._errors)
        if subject is None or key is None:
            return None
        return Event(
            full_name=message.full_name,
            python_name=names.member,
            constant=names.constant,
            comment=comment,
            deprecated=message.GetOptions().deprecated or message.file.GetOptions().deprecated,
            message=self._types.of(message),
            subject=subject,
            key=key,
            unordered=unordered is not None and bool(unordered.value),
            handling=handling,
        )

    def _subject(self, message: Descriptor, option: OptionMessage) -> str | None:
        given = option.given("subject")
        if given is None or not given.value:
            self._errors.add(
                option.at, f'event {message.full_name} has no subject; add one, like subject: "orders.placed.v1"'
            )
            return None
        fault = _subject.fault(given.value)
        if fault is not None:
            advice = 'write lower-case tokens with dots between and a version last, like "orders.placed.v1"'
            self._errors.add(given.at, f'subject "{given.value}" is malformed: {fault}; {advice}')
        self._claim(message, given)
        return str(given.value)

    def _claim(self, message: Descriptor, subject: Given[str]) -> None:
        first = self._subjects.setdefault(subject.value, Given(message.full_name, subject.at))
        if first.value != message.full_name:
            self._errors.add(
                subject.at,
                f'subject "{subject.value}" is the one of {first.value} already ({first.at}); '
                f"give {message.full_name} a subject of its own",
            )

    def _key(self, message: Descriptor, option: OptionMessage) -> str | None:
        given = option.given("key")
        if given is None or not given.value:
            names = ", ".join(f'"{name}"' for name in _event_key.candidates(message))
            self._errors.add(
                option.at,
                f"event {message.full_name} has no key; add the name of the field whose value keeps events in order"
                + (f", one of: {names}" if names else ", once it has a string field for that"),
            )
            return None
        fault = _event_key.fault(message, given.value)
        if fault is not None:
            self._errors.add(given.at, fault)
        return str(given.value)


def _names(messages: list[MessageType], module: Scope) -> list[_Names]:
    declared = ["_".join(message.names) for message in messages]
    members = Scope(MEMBERS).names(
        [
            Wanted(name, (member_name(*message.names), public(name)))
            for name, message in zip(declared, messages, strict=True)
        ]
    )
    for member in members:
        module.name(f"on_{member}")
        module.name(f"apply_{member}")
    constants = module.names([Wanted(name, (constant_name(name),)) for name in declared])
    return [_Names(*names) for names in zip(members, constants, strict=True)]


def _messages(contract: Contract) -> Iterator[tuple[Descriptor, FilePath]]:
    for index, message in enumerate(contract.file.message_types_by_name.values()):
        yield from _with_nested(message, (_MESSAGES, index))


def _with_nested(message: Descriptor, path: FilePath) -> Iterator[tuple[Descriptor, FilePath]]:
    yield message, path
    for index, nested in enumerate(message.nested_types):
        yield from _with_nested(nested, (*path, _NESTED, index))
