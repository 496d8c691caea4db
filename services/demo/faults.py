"""What is done to the shop while orders flow: each fault when the load has come far enough, each healed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.demo.load import Load
from services.demo.stage import Stage

__all__ = ["Faults"]


@dataclass(slots=True)
class Faults:
    """Runs the script; ``phase`` says in words what is going on."""

    stage: Stage
    load: Load
    phase: str = "orders flow"
    finished: bool = False

    async def play(self) -> None:
        """Return when every fault was made and healed."""
        script: tuple[tuple[float, Callable[[], Awaitable[None]]], ...] = (
            (0.12, self._kill_inventory),
            (0.28, self._kill_orders),
            (0.44, self._stop_nats),
            (0.60, self._slow_payments),
            (0.76, self._fail_payments),
        )
        try:
            for share, fault in script:
                while self.load.done < share:  # noqa: ASYNC110  # a share of many orders is no event
                    await asyncio.sleep(0.02)
                await fault()
                self.phase = "orders flow"
        finally:
            self.finished = True

    async def _kill_inventory(self) -> None:
        await self._kill("inventory", down=1.5)

    async def _kill_orders(self) -> None:
        await self._kill("orders", down=1.0)

    async def _kill(self, name: str, *, down: float) -> None:
        self.phase = f"kill -9 of {name}"
        service = self.stage.services[name]
        service.kill()
        await asyncio.sleep(down)
        self.phase = f"{name} starts again"
        await asyncio.to_thread(service.start)

    async def _stop_nats(self) -> None:
        self.phase = "NATS is stopped"
        await asyncio.to_thread(self.stage.nats.stop)
        await asyncio.sleep(5.0)
        self.phase = "NATS starts again"
        await asyncio.to_thread(self.stage.nats.start)

    async def _slow_payments(self) -> None:
        self.phase = "payments are slow"
        self.stage.set_bank(latency=1.2)
        await asyncio.sleep(4.0)
        self.stage.set_bank()

    async def _fail_payments(self) -> None:
        self.phase = "payments fail"
        self.stage.set_bank(failing=True)
        await asyncio.sleep(4.0)
        self.stage.set_bank()
