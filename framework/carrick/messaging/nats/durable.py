"""A durable consumer at the server: found or made, begun anew, paused, and asked where it is."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.js.errors import APIError, NotFoundError

from carrick.errors import Code, MessagingError
from carrick.messaging.contract import Place
from carrick.messaging.nats.api import ask
from carrick.messaging.nats.client import DirectClient

__all__ = ["Durable", "pause", "place", "places"]

_PAUSES = (2, 11)
_RESETS = (2, 14)
_NO_CONSUMER = 10014
_OTHER_START = 10012  # another has made it meanwhile, with another start
_EXISTS = (10105, 10148, 10013)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """What a consumer is to be, and the requests that make it so. All of them raise nats-py's errors."""

    stream: str
    name: str
    filters: Sequence[str]
    ack_wait: float
    max_in_flight: int
    timeout: float

    def can_reset(self, client: DirectClient) -> bool:
        """Say whether the server can have a consumer begin anew (ADR-60)."""
        return _version(client) >= _RESETS

    async def stream_state(self, client: DirectClient) -> tuple[str, int]:
        """Return when the stream was made, and its last sequence."""
        said = await ask(client, f"STREAM.INFO.{self.stream}", None, self.timeout)
        return said["created"], said["state"]["last_seq"]

    async def info(self, client: DirectClient) -> dict[str, Any] | None:
        """Return what the server says of it, or None."""
        try:
            return await ask(client, f"CONSUMER.INFO.{self.stream}.{self.name}", None, self.timeout)
        except NotFoundError as error:
            if error.err_code != _NO_CONSUMER:
                raise
            return None

    async def ensure(self, client: DirectClient, start: int) -> dict[str, Any]:
        """Return what the server says of it. It is made when it is not there, and begins with the sequence ``start``.

        Of one that is there only what differs is changed: what others set, like a pause, stays.
        """
        while True:
            found = await self.info(client)
            if found is None:
                try:
                    return await self._create(client, self._beginning(start))
                except APIError as error:
                    if error.err_code != _OTHER_START and error.err_code not in _EXISTS:
                        raise
                    continue
            config = {**found["config"], **self._wanted}
            config.pop("filter_subject", None)
            if config == found["config"]:
                return found
            return await self._create(client, config)

    async def reset(self, client: DirectClient, start: int) -> dict[str, Any]:
        """Have it begin anew after its ack floor, or with the sequence ``start`` if it is gone; return what it is then.

        A server before 2.14 can't: there it is deleted and made again. What asks for messages is void then.
        """
        if self.can_reset(client):
            return await ask(client, f"CONSUMER.RESET.{self.stream}.{self.name}", {}, self.timeout)
        found = await self.info(client)
        if found is not None:
            with suppress(NotFoundError):
                await self.delete(client)
            start = found["ack_floor"]["stream_seq"] + 1
            config = {**found["config"], **self._beginning(start)}
            with suppress(APIError):  # another was quicker
                return await self._create(
                    client, {name: config[name] for name in config if name not in ("filter_subject", "opt_start_time")}
                )
        return await self.ensure(client, start)

    async def delete(self, client: DirectClient) -> None:
        """Delete it."""
        await ask(client, f"CONSUMER.DELETE.{self.stream}.{self.name}", None, self.timeout)

    @property
    def _wanted(self) -> dict[str, Any]:
        return {
            "durable_name": self.name,
            "ack_policy": "explicit",
            "ack_wait": round(self.ack_wait * 1e9),
            "max_deliver": -1,
            "max_ack_pending": self.max_in_flight,
            "filter_subjects": list(self.filters),
        }

    def _beginning(self, start: int) -> dict[str, Any]:
        if start <= 1:
            return {**self._wanted, "deliver_policy": "all", "opt_start_seq": 0}
        return {**self._wanted, "deliver_policy": "by_start_sequence", "opt_start_seq": start}

    async def _create(self, client: DirectClient, config: dict[str, Any]) -> dict[str, Any]:
        request = {"stream_name": self.stream, "config": config}
        return await ask(client, f"CONSUMER.DURABLE.CREATE.{self.stream}.{self.name}", request, self.timeout)


async def place(client: DirectClient, stream: str, name: str, timeout: float) -> Place | None:
    """Return where a durable consumer is. Raises nats-py's errors."""
    try:
        said = await ask(client, f"CONSUMER.INFO.{stream}.{name}", None, timeout)
    except NotFoundError:
        return None
    config = said["config"]
    return Place(
        filters=config.get("filter_subjects") or [config.get("filter_subject") or ">"],
        pending=said["num_pending"],
        in_flight=said["num_ack_pending"],
        redelivered=said["num_redelivered"],
        settled_to=said["ack_floor"]["stream_seq"],
        paused=said.get("paused", False),
    )


async def places(client: DirectClient, stream: str, timeout: float) -> list[str]:
    """Return the names of a stream's durable consumers. Raises nats-py's errors."""
    names: list[str] = []
    offset = 0
    while True:
        said = await ask(client, f"CONSUMER.LIST.{stream}", {"offset": offset}, timeout)
        listed = said.get("consumers") or []
        names += [each["config"]["durable_name"] for each in listed if each["config"].get("durable_name")]
        offset += len(listed)
        if not listed or offset >= said["total"]:
            return sorted(set(names))


async def pause(client: DirectClient, stream: str, name: str, until: float, timeout: float) -> None:
    """Pause a durable consumer until a moment. Raises nats-py's errors, and ``UNIMPLEMENTED`` for an older server."""
    if _version(client) < _PAUSES:
        raise MessagingError(Code.UNIMPLEMENTED, "NATS pauses consumers from 2.11 on; upgrade the server")
    moment = datetime.fromtimestamp(until, UTC).isoformat()
    await ask(client, f"CONSUMER.PAUSE.{stream}.{name}", {"pause_until": moment}, timeout)


def _version(client: DirectClient) -> tuple[int, int]:
    version = client.connected_server_version
    return version.major, version.minor
