"""Identifiers: made here, and checked here when they come from outside."""

import hashlib
import os
import random
import time

__all__ = ["MAX_ID_LENGTH", "accepted_id", "derived_id", "random_id", "time_ordered_id", "unique_id"]

MAX_ID_LENGTH = 128
"""Longest id taken from a peer, in characters."""


_generator = random.Random()  # not random's own, which a program may seed; the operating system seeds this one
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_generator.seed)


def random_id() -> str:
    """32 hexadecimal digits, 128 random bits that nobody can guess."""
    return os.urandom(16).hex()


def unique_id(digits: int = 32) -> str:
    """Hexadecimal digits that do not occur twice, for names that are no secret. Takes no system call."""
    return f"{_generator.getrandbits(4 * digits):0{digits}x}"


def time_ordered_id() -> str:
    """Make a UUID version 7 (RFC 9562): sorts by the millisecond in which it was made, then at random."""
    milliseconds = time.time_ns() // 1_000_000
    bits = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | bits
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived_id(*parts: str) -> str:
    """32 hexadecimal digits that are the same whenever the parts are the same (BLAKE2b)."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def accepted_id(value: object) -> str | None:
    """Return an id received from a peer, or None when it is not 1 to 128 visible ASCII characters."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH:
        return None
    return value if value.isascii() and value.isprintable() and " " not in value else None
