"""The real nats-server for tests: one's own, on a port that nobody was asked for, with its store."""

# ruff: noqa: PT012  # what raises is the end of a block, not one statement

import os
import signal
import socket
from pathlib import Path

import nats
import pytest

from carrick.testing import NatsServer


async def _count(server: NatsServer) -> int:
    """Publish one more message; return how many the stream holds."""
    client = await nats.connect(server.url)
    try:
        jetstream = client.jetstream()
        await jetstream.add_stream(name="S", subjects=["s.>"])
        await jetstream.publish("s.a", b"x")
        return (await jetstream.stream_info("S")).state.messages
    finally:
        await client.close()


async def test_restarts_keep_port_and_store(tmp_path: Path) -> None:
    """Stopped or killed and started again, it is the same server for its clients, with what it had stored."""
    with NatsServer(tmp_path) as server:
        port = server.port
        assert await _count(server) == 1
        states = [server.running]
        server.stop()
        states.append(server.running)
        server.start()
        assert (server.port, await _count(server)) == (port, 2)
        server.kill()
        states.append(server.running)
        server.start()
        assert (server.port, await _count(server)) == (port, 3)
    assert [*states, server.running] == [True, False, False, False]


def test_servers_do_not_meet(tmp_path: Path) -> None:
    """Two at the same time have ports of their own."""
    with NatsServer(tmp_path / "a") as first, NatsServer(tmp_path / "b") as second:
        assert first.port != second.port
        assert first.url == f"nats://127.0.0.1:{first.port}"


def test_a_frozen_server_answers_after_the_thaw(tmp_path: Path) -> None:
    """Frozen it takes connections and says nothing; thawed it goes on; frozen it can be stopped."""
    with NatsServer(tmp_path) as server:
        server.freeze()
        server.freeze()
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.2) as connection:
            with pytest.raises(TimeoutError):
                connection.recv(1)
            server.thaw()
            connection.settimeout(10)
            assert connection.recv(5) == b"INFO "
        server.freeze()
    assert not server.running


def test_the_process_is_gone_when_the_block_raises(tmp_path: Path) -> None:
    """Nothing is left running, whatever happens in the test."""
    pid = -1
    with pytest.raises(KeyError), NatsServer(tmp_path) as server:
        assert server._process is not None
        pid = server._process.pid
        raise KeyError
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_stopping_what_is_not_running_does_nothing(tmp_path: Path) -> None:
    """Every order of calls is fine in a test's clean-up."""
    server = NatsServer(tmp_path)
    server.stop()
    server.kill()
    server.freeze()
    server.thaw()
    assert not server.running


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The server's own log is in the error, and no process stays."""
    with NatsServer(tmp_path / "a") as first:
        second = NatsServer(tmp_path / "b")
        second.port = first.port
        with pytest.raises(RuntimeError, match=r"nats-server did not start:(.|\n)*address already in use"):
            second.start()
        assert not second.running
