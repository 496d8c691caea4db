"""A relay whose connection to NATS is cut in the middle of what it says, or of what it is told.

The stream forgets ids after a tenth of a second, so that it can't be what keeps a message from being stored twice.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from carrick.messaging.nats import NatsBroker
from carrick.outbox import Relay
from carrick.testing import NatsServer, settle
from tests.acceptance.relays import OPTIONS, audit, database_at, make_stream, write
from tests.older import NATS_SERVER

CUTS = 5
ACKNOWLEDGEMENT = re.compile(rb'\{"stream":"ORDERS", ?"seq":\d+').search
PUBLISHED = re.compile(rb"HPUB orders\.").search


class Cutter:
    """What is between a client and a server: it cuts the connection in some of the places that it is told of."""

    def __init__(self, url: str, moment: str) -> None:
        self._server = urlsplit(url)
        self._moment = moment
        self._seen = 0
        self._open: list[asyncio.StreamWriter] = []
        self.cuts = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Return where clients connect."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for writer in self._open:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._server.hostname, self._server.port)
        self._open += [writer, back]
        await asyncio.wait(
            [
                asyncio.ensure_future(self._pass_on(reader, back, told=False)),
                asyncio.ensure_future(self._pass_on(there, writer, told=True)),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for each in (writer, back):
            each.close()  # what was passed on arrives

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, told: bool) -> None:
        try:
            while data := await reader.read(65_536):
                length = self._until(data, told=told)
                writer.write(data[:length])
                await writer.drain()
                if length < len(data):
                    self.cuts += 1
                    return
        except ConnectionError:
            pass

    def _until(self, data: bytes, *, told: bool) -> int:
        """Return how much of what is said is passed on: all of it, or up to where the connection is cut."""
        found = (ACKNOWLEDGEMENT if told else PUBLISHED)(data)
        if found is None or told == (self._moment == "in what is published"):
            return len(data)
        self._seen += 1
        if self._seen % 3 or self.cuts == CUTS:
            return len(data)
        match self._moment:
            case "before an acknowledgement":
                return data.rindex(b"MSG ", 0, found.start())
            case "in an acknowledgement":
                return found.start() + 10
            case _:
                return (found.end() + len(data)) // 2


@pytest.mark.parametrize("kind", ["one by one", "in batches"])
@pytest.mark.parametrize("moment", ["in what is published", "before an acknowledgement", "in an acknowledgement"])
async def test_a_cut_connection_loses_and_doubles_nothing(tmp_path: Path, kind: str, moment: str) -> None:
    """The relay connects again, looks into the stream, and goes on behind what is there."""
    binary = None if kind == "in batches" else NATS_SERVER
    with NatsServer(tmp_path / "nats", binary=binary) as server:
        wire = Cutter(server.url, moment)
        async with (
            database_at(str(tmp_path / "outbox.db")) as database,
            NatsBroker(server.url, name="audit") as direct,
            wire.listening() as url,
            NatsBroker(url, name="relay", publish_timeout=0.6) as broker,
        ):
            await make_stream(server.url)
            async with Relay(database, broker, options=OPTIONS) as relay:
                written = 0
                while wire.cuts < CUTS:
                    await write(database, 60)
                    written += 60
                    await settle(relay, timeout=30)
            assert await audit(database, direct) == written
