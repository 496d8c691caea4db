"""The processes of the demo: a NATS server and the four services, each on its own port with its own database."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from carrick.testing import NatsServer

__all__ = ["SERVICES", "ServiceProcess", "Stage"]

SERVICES = ("payments", "inventory", "orders", "notifications")
_READY_TIMEOUT = 40.0
_STOP_TIMEOUT = 30.0


class ServiceProcess:
    """One service, started with ``carrick run``; its log lines go to a file."""

    def __init__(self, name: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return once the service says that it is ready."""
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                [str(Path(sys.executable).parent / "carrick"), "run", f"services.{self.name}"],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the demo, which then stops its services in order
            )
        deadline = time.monotonic() + _READY_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            if '"message": "ready"' in self._log_from(before):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not start:\n{self._log_from(before)[-2000:]}")

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int | None:
        """Wait for its end after :meth:`ask_to_stop`; return its exit status, None when it had to be killed."""
        process, self._process = self._process, None
        if process is None:
            return 0
        try:
            return process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    def _log_from(self, offset: int) -> str:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")


class Stage:
    """All processes of a demo in one directory. Leaving its block ends every one of them, whatever happened."""

    def __init__(self, directory: Path, stock: Mapping[str, int]) -> None:
        self.directory = directory
        self.bank = directory / "bank.json"
        self.nats = NatsServer(directory / "nats")
        self.services: dict[str, ServiceProcess] = {}
        self._stock = dict(stock)
        self._ports = {name: _free_port() for name in SERVICES}

    @property
    def orders_address(self) -> str:
        """Where the orders service listens."""
        return f"127.0.0.1:{self._ports['orders']}"

    def database(self, name: str) -> Path:
        """Return the file of a service's database."""
        return self.directory / f"{name}.db"

    def set_bank(self, *, latency: float = 0.002, failing: bool = False) -> None:
        """Tell the simulated bank how to behave."""
        fresh = self.bank.with_suffix(".new")
        fresh.write_text(json.dumps({"latency": latency, "failing": failing}))
        fresh.replace(self.bank)

    def start(self) -> None:
        """Start NATS, then the services, each once the one before is ready."""
        self.set_bank()
        self.nats.start()
        for name in SERVICES:
            self.services[name] = ServiceProcess(name, self.directory, self._environment(name))
            self.services[name].start()

    def stop(self) -> dict[str, int | None]:
        """Stop the services gently, then NATS; return the services' exit statuses."""
        for service in self.services.values():
            service.ask_to_stop()
        statuses = {name: service.wait() for name, service in self.services.items()}
        self.nats.stop()
        return statuses

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for service in self.services.values():
            service.kill()
        self.nats.stop()

    def _environment(self, name: str) -> dict[str, str]:
        prefix = name.upper()
        environment = {
            f"{prefix}_PORT": str(self._ports[name]),
            f"{prefix}_DATABASE": str(self.database(name)),
            f"{prefix}_NATS_URL": self.nats.url,
        }
        if name == "orders":
            environment["ORDERS_INVENTORY"] = f"127.0.0.1:{self._ports['inventory']}"
            environment["ORDERS_PAYMENTS"] = f"127.0.0.1:{self._ports['payments']}"
        if name == "inventory":
            environment["INVENTORY_STOCK"] = json.dumps(self._stock)
        if name == "payments":
            environment["PAYMENTS_BANK"] = str(self.bank)
        if name == "notifications":
            environment["NOTIFICATIONS_ORDERS"] = self.orders_address
        return environment


def _free_port() -> int:
    """Return a port that is free now. A service that finds it taken later says so and the demo fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
