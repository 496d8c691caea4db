"""A network that holds back what clients send, and delivers it when they may be long gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["Wire", "wire_to"]


class Wire:
    """Connections from ``url`` to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._delivering = set[asyncio.Task[None]]()
        self._ends = set[asyncio.StreamWriter]()
        self.url = ""

    def hold(self) -> None:
        """Deliver nothing that clients send from now on."""
        self._open.clear()

    async def deliver(self) -> None:
        """Deliver all of it; return when the connections of clients that are gone have been closed."""
        self._open.set()
        await asyncio.gather(*self._delivering)

    def cut(self) -> None:
        """End all connections, whatever is on its way."""
        for end in self._ends:
            end.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client with the server."""
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionError:  # there is no server
            writer.close()
            return
        self._ends |= {writer, to_server}
        answers = asyncio.create_task(self._pass_on(from_server, writer, held=False))
        delivering = asyncio.create_task(self._pass_on(reader, to_server, held=True))
        self._delivering.add(delivering)
        await asyncio.gather(answers, delivering)
        self._ends -= {writer, to_server}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if held:
                    await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    """Lead to a port, for one block; whoever is connected at its end is cut off."""
    wire = Wire(port)
    server = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
    async with server:
        wire.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield wire
