"""``carrick consumer`` as users run it: what it prints, what it changes, and the status it ends with."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from carrick.messaging.nats import NatsBroker
from carrick.testing import NatsServer
from tests.unit.testing.letters import publish_orders
from tests.unit.testing.programs import program, until

APP = """
import asyncio, os

from carrick import store
from carrick.app import App
from carrick.errors import PermanentError
from carrick.messaging import Subscriber
from carrick.messaging.nats import NatsBroker
from carrick.store import Inbox
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import on_order_placed

database = SqliteDatabase("stock.db", migrations=[store.MIGRATIONS])
broker = NatsBroker(os.environ["CARRICK_NATS_URL"], name="stock")


def note(word, event):
    with open("effects", "a") as effects:
        effects.write(f"{word}{event.order_id}{event.total}\\n")


async def handle(event, ctx):
    if event.order_id == "broken":
        raise PermanentError("broken")
    await asyncio.sleep(float(os.environ.get("SLOW", "0")))
    async with database.transaction() as tx:
        await tx.handled()
    note("", event)


async def shadow(event, ctx):
    note("shadow ", event)


def app():
    stock = Subscriber("stock", broker, [on_order_placed(handle)], inbox=Inbox(database))
    other = Subscriber("other", broker, [on_order_placed(shadow)], inbox=None)
    return App("stock", database, broker, other, stock)
"""


class Site:
    """A service in a folder of its own, its broker, and the command on them."""

    def __init__(self, broker: NatsBroker, url: str, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.env = {"CARRICK_NATS_URL": url}

    async def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Run ``carrick consumer``; return what it prints, and on standard error."""
        done = await asyncio.to_thread(
            subprocess.run,
            [str(Path(sys.executable).parent / "carrick"), "consumer", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout, done.stderr

    async def replay(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Replay the service's consumer."""
        return await self.run("replay", "stock", "--consumer", "stock", *arguments, status=status)

    async def json(self, *arguments: str, status: int = 0) -> Any:
        """Run it with ``--json``."""
        return json.loads((await self.run(*arguments, "--json", status=status))[0])

    def effects(self) -> list[str]:
        """All effects, in their order."""
        path = self.folder / "effects"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
async def site(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Site]:
    """A service that has not run yet."""
    folder = tmp_path / "site"
    (folder / "stock").mkdir(parents=True)
    (folder / "stock" / "__init__.py").touch()
    (folder / "stock" / "app.py").write_text(APP)
    async with NatsBroker(nats_server.url, name="test") as broker:
        yield Site(broker, nats_server.url, folder)


async def test_replay(site: Site) -> None:
    """By the service's own handlers once, under another name once more, and by a shadow each time."""
    await publish_orders(site.broker, "a", "b", "a")
    text, _ = await site.replay("--from", "1", "--dry-run")
    assert text == "shop.orders.v1.OrderPlaced  3\n3 would be handled\n"
    assert site.effects() == []
    text, _ = await site.replay("--from", "2")
    assert text.endswith("2 are handled\n")
    text, _ = await site.replay("--from", "1h")
    assert text.endswith("1 are handled, 2 had their effect before\n")
    assert site.effects() == ["b1", "a2", "a0"]
    for handled in (3, 0):
        found = json.loads((await site.replay("--from", "1", "--as", "rebuilt", "--json"))[0])
        assert (sum(found["handled"].values()), found["passed_over"], found["finished"]) == (handled, 3 - handled, True)
    await site.replay("--from", "1", "--to", "2", "--shadow", "stock.app:shadow")
    assert site.effects()[6:] == ["shadow a0", "shadow b1"]
    assert await site.broker.place("ORDERS", "other-p00") is None


async def test_failures_of_a_replay(site: Site) -> None:
    """They are listed, and end it only where that is asked for: then it says how to go on."""
    await publish_orders(site.broker, "a", "broken", "c")
    text, told = await site.replay("--from", "1", "--stop-on-error", status=1)
    assert text.startswith("2: shop.orders.v1.OrderPlaced broken-1 of key broken: PermanentError: ")
    assert "ended at 2 of 3; go on with the same command and --from 3" in told
    text, told = await site.replay("--from", "1", status=1)
    assert text.endswith("1 are handled, 1 had their effect before, 1 failed\n")
    assert told == ""


async def test_a_replay_is_interrupted(site: Site) -> None:
    """The event under way is finished, and repeated it goes on where it was."""
    await publish_orders(site.broker, *"abcdefgh")
    command = ("-c", "from carrick.cli import main; main()", "consumer", "replay", "stock", "--consumer", "stock")
    slow = {**site.env, "SLOW": "0.3"}
    with program(*command, "--from", "1", "--as", "again", cwd=site.folder, env=slow) as process:
        await until(lambda: len(site.effects()) >= 2)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 20) == 1
        done = len(site.effects())
        assert process.stderr is not None
        assert f"ended at {done} of 8; go on with the same command and --from {done + 1}" in process.stderr.read()
    assert 2 <= done < 8
    await site.replay("--from", "1", "--as", "again")
    assert [effect[0] for effect in site.effects()] == list("abcdefgh")


async def test_errors_of_a_replay(site: Site) -> None:
    """One line that says what to do."""
    cases = {
        ("--consumer", "none", "--from", "1"): (
            2,
            "carrick: stock has no consumer none; it has: other (stream ORDERS)",
        ),
        ("--consumer", "stock", "--from", "soon"): (2, "carrick: --from is a duration like "),
        ("--consumer", "stock", "--from", "1"): (1, "carrick: "),  # there is no stream yet
        ("--consumer", "stock", "--from", "1", "--as", "stock"): (2, "carrick: 'stock' is no other name for stock"),
        ("--consumer", "stock", "--from", "1", "--shadow", "stock.app:app"): (
            2,
            "carrick: stock.app:app is no handler",
        ),
    }
    for arguments, (status, expected) in cases.items():
        _, told = await site.run("replay", "stock", *arguments, status=status)
        assert told.startswith(expected)
        assert told.count("\n") == 1


async def test_status_pause_and_resume(site: Site) -> None:
    """Where it is, who has it, what is parked; a pause is seen, and its end."""
    await publish_orders(site.broker, "a", "b", "broken")
    command = ("-c", "from carrick.cli import main; main()", "run", "stock")
    where = ("stock", "--stream", "ORDERS")

    async def settled() -> bool:
        found = await site.json("status", *where, "--database", "stock.db")
        return bool(found["unsettled"] == 0 and found["dead_letters"] == 1)

    with program(*command, cwd=site.folder, env=site.env) as process:
        await until(lambda: len(site.effects()) >= 4)
        await until(settled)
        found = await site.json("status", *where, "--database", "stock.db")
        assert [place["partition"] for place in found["places"]] == list(range(16))
        assert {place["holder"].rpartition(":")[2] for place in found["places"]} == {str(process.pid)}
        assert (await site.run("pause", *where, "--for", "30m"))[0].startswith("stock is paused until 2")
        assert all(place["paused"] for place in (await site.json("status", *where))["places"])
        await publish_orders(site.broker, "a", "b", "broken", "late")
        text, _ = await site.run("status", *where)
        assert text.endswith("1 unsettled; 1 dead letters\n")
        assert (await site.run("resume", *where))[0] == "stock goes on\n"
        await until(settled)
        assert "late3" in site.effects()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
    _, told = await site.run("status", "stok", "--stream", "ORDERS", status=1)
    assert told == "carrick: stream ORDERS has no consumer stok; it has: other, stock\n"
    assert "there is no stream NONE" in (await site.run("pause", "stock", "--stream", "NONE", status=1))[1]
