"""Many publishes as one piece of NATS's protocol (``HPUB``).

nats-py's ``publish`` looks at each header by itself, and asks its flusher after each message: a third of what a relay
does. What is used here of its client is private to it, the same in nats-py 2.12 and 2.16, and checked when a broker is
made. The protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from inspect import iscoroutinefunction, signature

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import (
    BadHeaderError,
    BadSubjectError,
    ConnectionClosedError,
    MaxPayloadError,
    OutboundBufferLimitError,
)
from nats.errors import Error as NatsError

from carrick.errors import ConfigurationError

__all__ = ["abandon", "check_nats_py", "forget", "is_sendable", "known", "leave", "publication", "send"]

_PRIVATE = ("_send_command", "_flush_pending", "_process_msg", "_error_cb")
_BUFFER = ("_pending", "_pending_data_size", "_transport", "_pongs", "_remove_sub")
_PARSED = ["self", "sid", "subject", "reply", "data", "headers"]
_MOST_UNSENT = 32 * 1024 * 1024  # a few batches: each try to a server that stands still adds one
_SUBJECT = re.compile(r"[^\s\x00]+").fullmatch
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # a token of RFC 9110
_NEWLINES = str.maketrans({"\r": " ", "\n": " "})


def check_nats_py() -> None:
    """Raise ``ConfigurationError`` when the installed nats-py lacks something private to it that is used here."""
    client = Client()
    missing = [name for name in _PRIVATE if not iscoroutinefunction(getattr(client, name, None))]
    missing += [name for name in _BUFFER if not hasattr(client, name)]
    if "_process_msg" not in missing and list(signature(Client._process_msg).parameters) != _PARSED:
        missing.append("_process_msg(sid, subject, reply, data, headers)")
    if not hasattr(Subscription(client), "_id"):
        missing.append("subscribe()._id")
    if missing:
        raise ConfigurationError(
            f"nats-py {version('nats-py')} has no Client.{', Client.'.join(missing)}, which Carrick calls: "
            "install a version of nats-py that this version of Carrick asks for"
        )


def publication(subject: str, headers: Mapping[str, str], data: bytes, *, limit: int, reply: str = "") -> bytes:
    """Return what publishes a message, with the subject that is to be answered to, if any.

    Line breaks in values become spaces, as in nats-py. Raises nats-py's errors: for a subject or a header that can't be
    sent, and for a message of more than ``limit`` bytes as the server counts them.
    """
    lines = ["NATS/1.0", *[f"{_named(name)}: {value}" for name, value in headers.items()]]
    count = len(lines) + 1
    text = "\r\n".join(lines) + "\r\n\r\n"
    if text.count("\r") != count or text.count("\n") != count:
        text = "\r\n".join([line.translate(_NEWLINES) for line in lines]) + "\r\n\r\n"
    try:
        block = text.encode()
    except UnicodeEncodeError as error:  # half of a pair of surrogates
        raise BadHeaderError(str(error)) from error
    size = len(block) + len(data)
    if size > limit:
        raise MaxPayloadError
    where = _sendable(subject) + b" " + reply.encode() if reply else _sendable(subject)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (where, len(block), size, block, data)


def is_sendable(client: Client) -> bool:
    """Say whether it is connected to a server that reads."""
    return client.is_connected and client.pending_data_size <= _MOST_UNSENT


async def send(client: Client, publications: Sequence[bytes]) -> None:
    """Send publications in their order. Raises nats-py's errors when it is not connected, or nobody reads any more."""
    if client.is_closed:
        raise ConnectionClosedError
    if not is_sendable(client):
        raise OutboundBufferLimitError
    await client._send_command(b"".join(publications))
    await client._flush_pending()


def forget(client: Client) -> None:
    """Drop what was not sent: nats-py would send it to the next server, long after its sender was told that it failed.

    What a client is subscribed to it says anew there by itself.
    """
    client._pending, client._pending_data_size = [], 0


def abandon(client: Client) -> None:
    """Cut the connection to a server that reads no more. To close it would take until everything is sent."""
    forget(client)
    writer = getattr(client._transport, "_io_writer", None)  # a WebSocket has none
    if writer is not None:
        writer.transport.abort()


async def known(client: Client, timeout: float) -> bool:
    """Say whether the server has seen all that was sent so far, within a time. Raises nats-py's errors.

    nats-py's ``flush`` sends its PING past what waits to be sent; and where it gave up waiting, the PONG that comes
    later ends the loop that reads.
    """
    pong = asyncio.get_running_loop().create_future()
    client._pongs.append(pong)
    try:
        await send(client, [b"PING\r\n"])
    except NatsError:
        if pong in client._pongs:
            client._pongs.remove(pong)
        raise
    await asyncio.wait((pong,), timeout=timeout)
    return pong.done()


async def leave(client: Client, subscription: Subscription, timeout: float) -> None:
    """End a subscription. What the server has sent by now is still handed over, if that takes no longer than this.

    nats-py's ``drain`` would subscribe once more after an outage, raises in one, and relies on ``flush``.
    """
    try:
        if client.is_connected:
            await send(client, [b"UNSUB %d\r\n" % subscription._id])
            if await known(client, timeout):
                async with asyncio.timeout(timeout):
                    await subscription._pending_queue.join()
    except (NatsError, TimeoutError):  # the server is gone, or stands still: it hands over nothing
        pass
    finally:
        client._remove_sub(subscription._id)
        subscription._stop_processing()


@lru_cache(maxsize=1024)
def _named(name: str) -> str:
    if not _NAME(name):
        raise BadHeaderError(name)
    return name


@lru_cache(maxsize=4096)
def _sendable(subject: str) -> bytes:
    if not _SUBJECT(subject):
        raise BadSubjectError
    return subject.encode()
