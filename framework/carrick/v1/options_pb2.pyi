from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OK: _ClassVar[Code]
    CANCELLED: _ClassVar[Code]
    UNKNOWN: _ClassVar[Code]
    INVALID_ARGUMENT: _ClassVar[Code]
    DEADLINE_EXCEEDED: _ClassVar[Code]
    NOT_FOUND: _ClassVar[Code]
    ALREADY_EXISTS: _ClassVar[Code]
    PERMISSION_DENIED: _ClassVar[Code]
    RESOURCE_EXHAUSTED: _ClassVar[Code]
    FAILED_PRECONDITION: _ClassVar[Code]
    ABORTED: _ClassVar[Code]
    OUT_OF_RANGE: _ClassVar[Code]
    UNIMPLEMENTED: _ClassVar[Code]
    INTERNAL: _ClassVar[Code]
    UNAVAILABLE: _ClassVar[Code]
    DATA_LOSS: _ClassVar[Code]
    UNAUTHENTICATED: _ClassVar[Code]
OK: Code
CANCELLED: Code
UNKNOWN: Code
INVALID_ARGUMENT: Code
DEADLINE_EXCEEDED: Code
NOT_FOUND: Code
ALREADY_EXISTS: Code
PERMISSION_DENIED: Code
RESOURCE_EXHAUSTED: Code
FAILED_PRECONDITION: Code
ABORTED: Code
OUT_OF_RANGE: Code
UNIMPLEMENTED: Code
INTERNAL: Code
UNAVAILABLE: Code
DATA_LOSS: Code
UNAUTHENTICATED: Code
FILE_FIELD_NUMBER: _ClassVar[int]
file: _descriptor.FieldDescriptor
SERVICE_FIELD_NUMBER: _ClassVar[int]
service: _descriptor.FieldDescriptor
METHOD_FIELD_NUMBER: _ClassVar[int]
method: _descriptor.FieldDescriptor
EVENT_FIELD_NUMBER: _ClassVar[int]
event: _descriptor.FieldDescriptor

class FileOptions(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: MethodPolicy
    def __init__(self, policy: _Optional[_Union[MethodPolicy, _Mapping]] = ...) -> None: ...

class ServiceOptions(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: MethodPolicy
    def __init__(self, policy: _Optional[_Union[MethodPolicy, _Mapping]] = ...) -> None: ...

class MethodPolicy(_message.Message):
    __slots__ = ("timeout", "retry", "breaker", "idempotency")
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_FIELD_NUMBER: _ClassVar[int]
    timeout: str
    retry: RetryPolicy
    breaker: BreakerPolicy
    idempotency: IdempotencyPolicy
    def __init__(self, timeout: _Optional[str] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., breaker: _Optional[_Union[BreakerPolicy, _Mapping]] = ..., idempotency: _Optional[_Union[IdempotencyPolicy, _Mapping]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_attempts", "initial_backoff", "max_backoff", "multiplier", "codes", "replay_bytes")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    REPLAY_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    initial_backoff: str
    max_backoff: str
    multiplier: float
    codes: _containers.RepeatedScalarFieldContainer[Code]
    replay_bytes: int
    def __init__(self, max_attempts: _Optional[int] = ..., initial_backoff: _Optional[str] = ..., max_backoff: _Optional[str] = ..., multiplier: _Optional[float] = ..., codes: _Optional[_Iterable[_Union[Code, str]]] = ..., replay_bytes: _Optional[int] = ...) -> None: ...

class BreakerPolicy(_message.Message):
    __slots__ = ("failure_ratio", "window", "min_calls", "open_for", "trials")
    FAILURE_RATIO_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MIN_CALLS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FOR_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    failure_ratio: float
    window: str
    min_calls: int
    open_for: str
    trials: int
    def __init__(self, failure_ratio: _Optional[float] = ..., window: _Optional[str] = ..., min_calls: _Optional[int] = ..., open_for: _Optional[str] = ..., trials: _Optional[int] = ...) -> None: ...

class IdempotencyPolicy(_message.Message):
    __slots__ = ("key", "expiry")
    class Key(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KEY_UNSPECIFIED: _ClassVar[IdempotencyPolicy.Key]
        OPTIONAL: _ClassVar[IdempotencyPolicy.Key]
        REQUIRED: _ClassVar[IdempotencyPolicy.Key]
    KEY_UNSPECIFIED: IdempotencyPolicy.Key
    OPTIONAL: IdempotencyPolicy.Key
    REQUIRED: IdempotencyPolicy.Key
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    key: IdempotencyPolicy.Key
    expiry: str
    def __init__(self, key: _Optional[_Union[IdempotencyPolicy.Key, str]] = ..., expiry: _Optional[str] = ...) -> None: ...

class EventPolicy(_message.Message):
    __slots__ = ("subject", "key")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    subject: str
    key: str
    def __init__(self, subject: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...
