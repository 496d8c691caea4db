"""What contracts say, checked and resolved: all that :mod:`carrick_codegen.render` needs, and no descriptors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carrick_codegen._source import Given, Place

__all__ = ["Event", "Fields", "File", "MessageType", "Method", "Part", "Policy", "Service"]


Fields = Mapping[str, Given[Any]]
"""Values by the names of their fields: times in seconds, codes and enums by name. What is given nearest is last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a contract gives of one part of a policy, like its retries."""

    at: Place
    """Where it stands; nearest to the method, when several places give some of it."""
    fields: Fields
    sound: bool = True
    """Whether all that is given makes sense. What does not has been reported, and is not among the fields."""

    @property
    def enabled(self) -> bool:
        """Whether the part is asked for; it is unless the contract says otherwise."""
        return "enabled" not in self.fields or bool(self.fields["enabled"].value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a file, a service or a method gives of ``carrick.v1.MethodPolicy``; of a method, with all it inherits."""

    fields: Fields = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)

    def asks_for(self, part: str) -> bool:
        """Tell whether a part is given and not switched off."""
        return part in self.parts and self.parts[part].enabled


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class MessageType:
    """A message class."""

    module: str
    """The ``_pb2`` module of the file that declares it."""
    names: tuple[str, ...]
    """Its names from the outermost in."""
    full_name: str
    same_run: bool
    """Whether its file is generated in the same run."""
    has_stub: bool
    """Whether type checkers can read protoc's stub of the module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of a service."""

    name: str
    full_name: str
    """``shop.orders.v1.Orders/PlaceOrder``."""
    streams_requests: bool
    streams_responses: bool
    python_name: str
    constant: str
    comment: str
    request: MessageType
    response: MessageType
    idempotency_level: str | None
    """NO_SIDE_EFFECTS or IDEMPOTENT; None when the contract does not say."""
    deprecated: bool
    """Whether the contract says so of the method, its service or its file."""
    policy: Policy
    validated: bool
    """Whether the contract has rules for its requests."""

    @property
    def keyed(self) -> bool:
        """Whether calls carry an idempotency key."""
        return self.policy.asks_for("idempotency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service."""

    full_name: str
    client: str
    """Name of the class that calls it."""
    blocking_client: str
    """Name of the class that calls it and waits."""
    servicer: str
    """Name of the class that answers its calls."""
    fake: str
    """Name of the class that stands in for it in tests, in the module of fakes."""
    comment: str
    deprecated: bool
    """Whether the contract says so of the service or its file."""
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One message that is an event."""

    full_name: str
    python_name: str
    constant: str
    comment: str
    deprecated: bool
    """Whether the contract says so of the message or its file."""
    message: MessageType
    subject: str
    key: str
    unordered: bool
    handling: Fields
    """What the contract gives of how consumers handle it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One contract file."""

    path: str
    output: str
    """Path of the generated file."""
    fakes_output: str
    """Path of the generated file with the fakes of its services."""
    relative_imports: bool
    """Whether modules of the same run are imported relative to the generated one."""
    loads: bool
    """Whether Python can load protoc's module of the file: protoc writes ``import 2fa_pb2`` for an import so named."""
    publisher: str
    """Name of the class that publishes the file's events."""
    blocking_publisher: str
    """Name of the class that does so from code without an event loop."""
    comment: str
    services: tuple[Service, ...]
    events: tuple[Event, ...]
