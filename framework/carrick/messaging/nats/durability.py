"""Whether a stream keeps what it has acknowledged, as far as that can be seen.

JetStream acknowledges before it syncs to disk, unless ``sync_interval`` is ``always``: a power failure can lose what
was acknowledged in the two minutes before. Three replicas help, unless all of them fail together.
"""

import asyncio
import json
from collections.abc import Iterator
from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import urlopen

from nats.js.api import StorageType, StreamConfig

from carrick.errors import ConfigurationError

__all__ = ["check_monitoring_url", "complaints", "syncs_always"]

_ENOUGH_REPLICAS = 3
_PATIENCE = 2.0
_MOST = 1_000_000


def check_monitoring_url(url: str | None) -> None:
    """Raise ``ConfigurationError`` for what is no address of a server's monitoring."""
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ConfigurationError("monitoring_url must look like http://127.0.0.1:8222")


async def syncs_always(monitoring_url: str | None) -> bool | None:
    """Ask a server's monitoring whether it syncs before it acknowledges; None when nobody says."""
    if monitoring_url is None:
        return None
    try:
        return await asyncio.to_thread(_asked, f"{monitoring_url.rstrip('/')}/varz")
    except (OSError, ValueError, HTTPException):
        return None


def _asked(url: str) -> bool:
    with urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310  # http or https, see check_monitoring_url
        said = json.loads(answer.read(_MOST))
    return bool(said.get("jetstream", {}).get("config", {}).get("sync_always", False))


def complaints(config: StreamConfig, *, replicas: int, window: float, synced: bool | None) -> Iterator[str]:
    """Say what makes a stream less than what was asked for, or safe."""
    has = config.num_replicas or 1
    if config.storage not in (StorageType.FILE, None):
        yield "it is kept in memory, and gone when its servers restart; make it anew on file storage"
    if has < replicas:
        yield f"it has {has} replicas instead of {replicas}: nats stream edit {config.name} --replicas {replicas}"
    if config.duplicate_window < window:
        yield (
            f"it remembers ids for {config.duplicate_window:g} s instead of {window:g}, so what others than relays "
            f"publish may be stored twice: nats stream edit {config.name} --dupe-window {window:g}s"
        )
    if has < _ENOUGH_REPLICAS and synced is False:
        yield (
            "its server acknowledges before it has synced, so a power failure loses events that were marked as "
            "published; set jetstream { sync_interval: always }, or keep three replicas. `carrick outbox reconcile` "
            "publishes again what is missing"
        )
