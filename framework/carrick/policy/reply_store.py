"""Replies that were given before, by what they answered."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from google.protobuf.message import Message

from carrick.context import Context

__all__ = ["ReplyStore", "request_key"]

_OVERHEAD = 200


@dataclass(frozen=True, slots=True)
class _Stored:
    reply: bytes
    at: float


class ReplyStore:
    """Encoded replies by key, in at most ``max_bytes``; those not asked for the longest go first. Pure.

    An entry counts with its reply and 200 bytes more.
    """

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes
        self._stored: OrderedDict[bytes, _Stored] = OrderedDict()
        self.size = 0
        """Bytes taken."""

    def __len__(self) -> int:
        return len(self._stored)

    def get(self, key: bytes, now: float, max_age: float) -> bytes | None:
        """Return the reply under a key unless it is older than ``max_age`` seconds."""
        stored = self._stored.get(key)
        if stored is None or now - stored.at > max_age:
            return None
        self._stored.move_to_end(key)
        return stored.reply

    def put(self, key: bytes, reply: bytes, now: float) -> None:
        """Keep a reply in place of an earlier one. One that has no room at all is not kept."""
        self._drop(key)
        if _size(reply) > self._room:
            return
        self._stored[key] = _Stored(reply, now)
        self.size += _size(reply)
        while self.size > self._room:
            self._drop(next(iter(self._stored)))

    def _drop(self, key: bytes) -> None:
        dropped = self._stored.pop(key, None)
        if dropped is not None:
            self.size -= _size(dropped.reply)


def _size(reply: bytes) -> int:
    return len(reply) + _OVERHEAD


def request_key(request: Message, ctx: Context) -> bytes:
    """Return what is the same for the same request with the same metadata, for the same tenant (BLAKE2b)."""
    whose = b""
    if ctx.metadata or ctx.tenant is not None:  # apart from the request, whose bytes may end with any others
        whose = hashlib.blake2b(repr((ctx.tenant, sorted(ctx.metadata, key=repr))).encode(), digest_size=32).digest()
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=32, key=whose).digest()
