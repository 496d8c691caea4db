"""Messages with the event option, as the model's events."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor

from carrick_codegen import _event_key, _subject
from carrick_codegen._errors import ContractErrors
from carrick_codegen._message_types import message_type
from carrick_codegen._options import EVENT, OptionMessage, OptionReader
from carrick_codegen._request import Contract
from carrick_codegen._source import FilePath, Given
from carrick_codegen.model import Event
from carrick_codegen.names import constant_name, member_name

__all__ = ["EventReader"]

_MESSAGES = 4
_NESTED = 3


class EventReader:
    """Reads the events of all files of a request; no two of them may have one subject."""

    def __init__(self, options: OptionReader, errors: ContractErrors) -> None:
        self._options = options
        self._errors = errors
        self._subjects: dict[str, Given[str]] = {}

    def read(self, contract: Contract) -> tuple[Event, ...]:
        """Return a file's events in its own order, nested ones behind the message that they are in."""
        return tuple(
            event
            for message, path in _messages(contract)
            if (option := self._options.read(EVENT, message, contract.source, path)) is not None
            if (event := self._event(message, option, contract.source.comment(path))) is not None
        )

    def _event(self, message: Descriptor, option: OptionMessage, comment: str) -> Event | None:
        option.refuse_unknown(("subject", "key"), self._errors)
        subject, key = self._subject(message, option), self._key(message, option)
        reference = message_type(message, option.at, self._errors)
        if subject is None or key is None:
            return None
        return Event(
            full_name=message.full_name,
            python_name=member_name("_".join(reference.names)),
            constant=constant_name(*reference.names),
            comment=comment,
            message=reference,
            subject=subject,
            key=key,
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


def _messages(contract: Contract) -> Iterator[tuple[Descriptor, FilePath]]:
    for index, message in enumerate(contract.file.message_types_by_name.values()):
        yield from _with_nested(message, (_MESSAGES, index))


def _with_nested(message: Descriptor, path: FilePath) -> Iterator[tuple[Descriptor, FilePath]]:
    yield message, path
    for index, nested in enumerate(message.nested_types):
        yield from _with_nested(nested, (*path, _NESTED, index))
