"""A socket on a free port, for servers that do not tell which port they took."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """Give a listening socket and its ``host:port``.

    It says that it is TCP: asyncio sends small answers at once only where it knows that.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        host, port = sock.getsockname()
        yield sock, f"{host}:{port}"
