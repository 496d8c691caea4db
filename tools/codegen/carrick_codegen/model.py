"""What contracts say, checked and resolved: all that :mod:`carrick_codegen.render` needs, and no descriptors."""

from dataclasses import dataclass

from carrick_codegen._source import Given, Place

__all__ = ["Breaker", "Event", "File", "Idempotency", "MessageType", "Method", "Policy", "Retry", "Service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What a contract gives of ``carrick.v1.RetryPolicy``; times in seconds."""

    at: Place
    max_attempts: Given[int] | None = None
    initial_backoff: Given[float] | None = None
    max_backoff: Given[float] | None = None
    multiplier: Given[float] | None = None
    codes: Given[tuple[str, ...]] | None = None
    """Names of codes, without repeats."""
    replay_bytes: Given[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What a contract gives of ``carrick.v1.BreakerPolicy``; times in seconds."""

    at: Place
    failure_ratio: Given[float] | None = None
    window: Given[float] | None = None
    min_calls: Given[int] | None = None
    open_for: Given[float] | None = None
    trials: Given[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """What a contract gives of ``carrick.v1.IdempotencyPolicy``; times in seconds."""

    at: Place
    key: Given[str] | None = None
    """OPTIONAL or REQUIRED; always there in a policy of a method."""
    expiry: Given[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a file, a service or a method gives of ``carrick.v1.MethodPolicy``; of a method, with all it inherits."""

    timeout: Given[float] | None = None
    retry: Retry | None = None
    breaker: Breaker | None = None
    idempotency: Idempotency | None = None


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
    comment: str
    services: tuple[Service, ...]
    events: tuple[Event, ...]
