"""What nats-py and JetStream say went wrong, in the framework's words."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nats.errors import BadHeaderError, BadSubjectError, MaxPayloadError, NoRespondersError, OutboundBufferLimitError
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from carrick.errors import Code, MessagingError

__all__ = ["ATOMIC_DISABLED", "size_of", "vendor_errors"]

ATOMIC_DISABLED = 10174
_CODES = {
    10060: Code.NOT_FOUND,  # another stream takes this subject
    10054: Code.INVALID_ARGUMENT,  # larger than the stream takes
    10071: Code.ABORTED,  # wrong last sequence
    10164: Code.ABORTED,  # the same, of a batch
    10201: Code.ABORTED,  # a batch with an id that is stored
    10077: Code.RESOURCE_EXHAUSTED,  # the stream is full
    10023: Code.RESOURCE_EXHAUSTED,  # JetStream is
    10047: Code.RESOURCE_EXHAUSTED,
}


def size_of(data: bytes, headers: Mapping[str, str]) -> int:
    """Return the bytes that the server counts: ``NATS/1.0``, a line for each header, an empty line, and the data."""
    return 12 + sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items()) + len(data)


@contextmanager
def vendor_errors(what: str) -> Iterator[None]:
    """Turn nats-py's errors into ``MessagingError``."""
    try:
        yield
    except MaxPayloadError as error:
        raise MessagingError(Code.INVALID_ARGUMENT, f"{what}: larger than the server's max_payload") from error
    except (BadHeaderError, BadSubjectError) as error:
        raise MessagingError(Code.INVALID_ARGUMENT, f"{what}: it can't be sent: {error}") from error
    except ServiceUnavailableError as error:
        raise MessagingError(
            Code.UNAVAILABLE, f"{what}: the NATS server has no JetStream (yet); start it with --jetstream"
        ) from error
    except (NoRespondersError, NoStreamResponseError) as error:
        raise MessagingError(Code.UNAVAILABLE, f"{what}: no stream takes it (yet)") from error
    except APIError as error:
        raise MessagingError(
            _CODES.get(error.err_code or 0, Code.UNAVAILABLE),
            f"{what}: {error.description or type(error).__name__} (JetStream error {error.err_code})",
        ) from error
    except OutboundBufferLimitError as error:
        raise MessagingError(Code.UNAVAILABLE, f"{what}: not connected to NATS, or it reads no more") from error
    except (NatsError, TimeoutError, OSError) as error:
        raise MessagingError(Code.UNAVAILABLE, f"{what}: {type(error).__name__}") from error
