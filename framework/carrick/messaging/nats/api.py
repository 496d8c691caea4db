"""JetStream's own API, where nats-py leaves out of its answers what is newer than itself."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from nats.js.errors import APIError

from carrick.messaging.nats.client import DirectClient

__all__ = ["ask", "ask_for_many"]


async def ask(client: DirectClient, subject: str, request: Any, timeout: float) -> dict[str, Any]:
    """Ask the API something. Raises nats-py's errors: ``APIError`` for a refusal."""
    payload = b"" if request is None else json.dumps(request).encode()
    answer = await client.request(f"$JS.API.{subject}", payload, timeout=timeout)
    said: dict[str, Any] = json.loads(answer.data)
    if "error" in said:
        raise APIError.from_error(said["error"])
    return said


async def ask_for_many(
    client: DirectClient,
    subject: str,
    request: Any,
    came: Callable[[bytes, bytes, bytes, bytes | None], bool],
    timeout: float,
) -> None:
    """Ask for what is answered in many messages, until ``came`` says that one was the last.

    Raises ``TimeoutError`` when none has come for ``timeout`` seconds, and nats-py's errors.
    """
    ended, count = asyncio.Event(), 0

    def heard(subject: bytes, reply: bytes, data: bytes, block: bytes | None) -> None:
        nonlocal count
        count += 1
        if not ended.is_set() and came(subject, reply, data, block):
            ended.set()

    inbox = client.new_inbox()
    subscription = await client.listen(inbox, heard)
    try:
        await client.publish(f"$JS.API.{subject}", json.dumps(request).encode(), reply=inbox)
        while not ended.is_set():
            before = count
            try:
                async with asyncio.timeout(timeout):
                    await ended.wait()
            except TimeoutError:
                if count == before:
                    raise
    finally:
        await client.unlisten(subscription)
