from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    CRITICAL: _ClassVar[Priority]
    DEFAULT: _ClassVar[Priority]
    SHEDDABLE: _ClassVar[Priority]

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
PRIORITY_UNSPECIFIED: Priority
CRITICAL: Priority
DEFAULT: Priority
SHEDDABLE: Priority
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
    __slots__ = ("timeout", "retry", "breaker", "idempotency", "attempt_timeout", "deadline_margin", "min_remaining", "priority", "retry_budget", "hedge", "concurrency", "throttle", "cache", "fallback", "shedding", "rate_limit")
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MARGIN_FIELD_NUMBER: _ClassVar[int]
    MIN_REMAINING_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RETRY_BUDGET_FIELD_NUMBER: _ClassVar[int]
    HEDGE_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    THROTTLE_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    SHEDDING_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    timeout: str
    retry: RetryPolicy
    breaker: BreakerPolicy
    idempotency: IdempotencyPolicy
    attempt_timeout: str
    deadline_margin: str
    min_remaining: str
    priority: Priority
    retry_budget: RetryBudgetPolicy
    hedge: HedgePolicy
    concurrency: ConcurrencyPolicy
    throttle: ThrottlePolicy
    cache: CachePolicy
    fallback: FallbackPolicy
    shedding: SheddingPolicy
    rate_limit: RateLimitPolicy
    def __init__(self, timeout: _Optional[str] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., breaker: _Optional[_Union[BreakerPolicy, _Mapping]] = ..., idempotency: _Optional[_Union[IdempotencyPolicy, _Mapping]] = ..., attempt_timeout: _Optional[str] = ..., deadline_margin: _Optional[str] = ..., min_remaining: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., retry_budget: _Optional[_Union[RetryBudgetPolicy, _Mapping]] = ..., hedge: _Optional[_Union[HedgePolicy, _Mapping]] = ..., concurrency: _Optional[_Union[ConcurrencyPolicy, _Mapping]] = ..., throttle: _Optional[_Union[ThrottlePolicy, _Mapping]] = ..., cache: _Optional[_Union[CachePolicy, _Mapping]] = ..., fallback: _Optional[_Union[FallbackPolicy, _Mapping]] = ..., shedding: _Optional[_Union[SheddingPolicy, _Mapping]] = ..., rate_limit: _Optional[_Union[RateLimitPolicy, _Mapping]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_attempts", "initial_backoff", "max_backoff", "multiplier", "codes", "replay_bytes", "enabled")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    REPLAY_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    initial_backoff: str
    max_backoff: str
    multiplier: float
    codes: _containers.RepeatedScalarFieldContainer[Code]
    replay_bytes: int
    enabled: bool
    def __init__(self, max_attempts: _Optional[int] = ..., initial_backoff: _Optional[str] = ..., max_backoff: _Optional[str] = ..., multiplier: _Optional[float] = ..., codes: _Optional[_Iterable[_Union[Code, str]]] = ..., replay_bytes: _Optional[int] = ..., enabled: _Optional[bool] = ...) -> None: ...

class RetryBudgetPolicy(_message.Message):
    __slots__ = ("ratio", "per_second", "window", "enabled")
    RATIO_FIELD_NUMBER: _ClassVar[int]
    PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    ratio: float
    per_second: float
    window: str
    enabled: bool
    def __init__(self, ratio: _Optional[float] = ..., per_second: _Optional[float] = ..., window: _Optional[str] = ..., enabled: _Optional[bool] = ...) -> None: ...

class HedgePolicy(_message.Message):
    __slots__ = ("delay", "quantile", "window", "min_calls", "max_hedges", "enabled")
    DELAY_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MIN_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_HEDGES_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    delay: str
    quantile: float
    window: str
    min_calls: int
    max_hedges: int
    enabled: bool
    def __init__(self, delay: _Optional[str] = ..., quantile: _Optional[float] = ..., window: _Optional[str] = ..., min_calls: _Optional[int] = ..., max_hedges: _Optional[int] = ..., enabled: _Optional[bool] = ...) -> None: ...

class BreakerPolicy(_message.Message):
    __slots__ = ("failure_ratio", "window", "min_calls", "open_for", "trials", "slow_after", "slow_ratio", "window_calls", "enabled")
    FAILURE_RATIO_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MIN_CALLS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FOR_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    SLOW_AFTER_FIELD_NUMBER: _ClassVar[int]
    SLOW_RATIO_FIELD_NUMBER: _ClassVar[int]
    WINDOW_CALLS_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    failure_ratio: float
    window: str
    min_calls: int
    open_for: str
    trials: int
    slow_after: str
    slow_ratio: float
    window_calls: int
    enabled: bool
    def __init__(self, failure_ratio: _Optional[float] = ..., window: _Optional[str] = ..., min_calls: _Optional[int] = ..., open_for: _Optional[str] = ..., trials: _Optional[int] = ..., slow_after: _Optional[str] = ..., slow_ratio: _Optional[float] = ..., window_calls: _Optional[int] = ..., enabled: _Optional[bool] = ...) -> None: ...

class ConcurrencyPolicy(_message.Message):
    __slots__ = ("limit", "adaptive", "min_limit", "max_limit", "max_queued", "enabled")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ADAPTIVE_FIELD_NUMBER: _ClassVar[int]
    MIN_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAX_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    limit: int
    adaptive: bool
    min_limit: int
    max_limit: int
    max_queued: int
    enabled: bool
    def __init__(self, limit: _Optional[int] = ..., adaptive: _Optional[bool] = ..., min_limit: _Optional[int] = ..., max_limit: _Optional[int] = ..., max_queued: _Optional[int] = ..., enabled: _Optional[bool] = ...) -> None: ...

class ThrottlePolicy(_message.Message):
    __slots__ = ("multiplier", "window", "enabled")
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    multiplier: float
    window: str
    enabled: bool
    def __init__(self, multiplier: _Optional[float] = ..., window: _Optional[str] = ..., enabled: _Optional[bool] = ...) -> None: ...

class CachePolicy(_message.Message):
    __slots__ = ("ttl", "max_bytes", "stale_if_error", "enabled")
    TTL_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    STALE_IF_ERROR_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    ttl: str
    max_bytes: int
    stale_if_error: str
    enabled: bool
    def __init__(self, ttl: _Optional[str] = ..., max_bytes: _Optional[int] = ..., stale_if_error: _Optional[str] = ..., enabled: _Optional[bool] = ...) -> None: ...

class FallbackPolicy(_message.Message):
    __slots__ = ("last_good", "max_bytes", "codes", "enabled")
    LAST_GOOD_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    last_good: str
    max_bytes: int
    codes: _containers.RepeatedScalarFieldContainer[Code]
    enabled: bool
    def __init__(self, last_good: _Optional[str] = ..., max_bytes: _Optional[int] = ..., codes: _Optional[_Iterable[_Union[Code, str]]] = ..., enabled: _Optional[bool] = ...) -> None: ...

class SheddingPolicy(_message.Message):
    __slots__ = ("limit", "adaptive", "min_limit", "max_queued", "max_queue_time", "max_loop_lag", "enabled")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ADAPTIVE_FIELD_NUMBER: _ClassVar[int]
    MIN_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_LOOP_LAG_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    limit: int
    adaptive: bool
    min_limit: int
    max_queued: int
    max_queue_time: str
    max_loop_lag: str
    enabled: bool
    def __init__(self, limit: _Optional[int] = ..., adaptive: _Optional[bool] = ..., min_limit: _Optional[int] = ..., max_queued: _Optional[int] = ..., max_queue_time: _Optional[str] = ..., max_loop_lag: _Optional[str] = ..., enabled: _Optional[bool] = ...) -> None: ...

class RateLimitPolicy(_message.Message):
    __slots__ = ("per_second", "burst", "by", "max_keys", "enabled")
    class By(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        BY_UNSPECIFIED: _ClassVar[RateLimitPolicy.By]
        METHOD: _ClassVar[RateLimitPolicy.By]
        CALLER: _ClassVar[RateLimitPolicy.By]
        TENANT: _ClassVar[RateLimitPolicy.By]
    BY_UNSPECIFIED: RateLimitPolicy.By
    METHOD: RateLimitPolicy.By
    CALLER: RateLimitPolicy.By
    TENANT: RateLimitPolicy.By
    PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    MAX_KEYS_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    per_second: float
    burst: int
    by: RateLimitPolicy.By
    max_keys: int
    enabled: bool
    def __init__(self, per_second: _Optional[float] = ..., burst: _Optional[int] = ..., by: _Optional[_Union[RateLimitPolicy.By, str]] = ..., max_keys: _Optional[int] = ..., enabled: _Optional[bool] = ...) -> None: ...

class IdempotencyPolicy(_message.Message):
    __slots__ = ("key", "expiry", "replayed_errors", "enabled")
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
    REPLAYED_ERRORS_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    key: IdempotencyPolicy.Key
    expiry: str
    replayed_errors: _containers.RepeatedScalarFieldContainer[Code]
    enabled: bool
    def __init__(self, key: _Optional[_Union[IdempotencyPolicy.Key, str]] = ..., expiry: _Optional[str] = ..., replayed_errors: _Optional[_Iterable[_Union[Code, str]]] = ..., enabled: _Optional[bool] = ...) -> None: ...

class EventPolicy(_message.Message):
    __slots__ = ("subject", "key", "unordered", "handling")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNORDERED_FIELD_NUMBER: _ClassVar[int]
    HANDLING_FIELD_NUMBER: _ClassVar[int]
    subject: str
    key: str
    unordered: bool
    handling: HandlingPolicy
    def __init__(self, subject: _Optional[str] = ..., key: _Optional[str] = ..., unordered: _Optional[bool] = ..., handling: _Optional[_Union[HandlingPolicy, _Mapping]] = ...) -> None: ...

class HandlingPolicy(_message.Message):
    __slots__ = ("max_attempts", "timeout", "initial_backoff", "max_backoff", "hold_key", "unknown_type")
    class UnknownType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN_TYPE_UNSPECIFIED: _ClassVar[HandlingPolicy.UnknownType]
        DEAD_LETTER: _ClassVar[HandlingPolicy.UnknownType]
        SKIP: _ClassVar[HandlingPolicy.UnknownType]
    UNKNOWN_TYPE_UNSPECIFIED: HandlingPolicy.UnknownType
    DEAD_LETTER: HandlingPolicy.UnknownType
    SKIP: HandlingPolicy.UnknownType
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    INITIAL_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    HOLD_KEY_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_TYPE_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    timeout: str
    initial_backoff: str
    max_backoff: str
    hold_key: bool
    unknown_type: HandlingPolicy.UnknownType
    def __init__(self, max_attempts: _Optional[int] = ..., timeout: _Optional[str] = ..., initial_backoff: _Optional[str] = ..., max_backoff: _Optional[str] = ..., hold_key: _Optional[bool] = ..., unknown_type: _Optional[_Union[HandlingPolicy.UnknownType, str]] = ...) -> None: ...
