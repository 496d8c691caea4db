"""``carrick dlq`` as users run it: what it prints, what it changes, and the status it ends with."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrick.context import Context
from carrick.errors import PermanentError
from carrick.messaging import Message, Subscriber
from carrick.messaging.nats import NatsBroker
from carrick.options import HandlingOptions
from carrick.testing import NatsServer, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED, on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.letters import publish_orders, put_letters
from tests.unit.testing.programs import until


class Site:
    """A broker of the test's own, and the command on it."""

    def __init__(self, broker: NatsBroker, url: str) -> None:
        self.broker = broker
        self.url = url

    async def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Run ``carrick dlq``; return what it prints, and on standard error."""
        done = await asyncio.to_thread(
            subprocess.run,
            [str(Path(sys.executable).parent / "carrick"), "dlq", *arguments],
            env={**os.environ, "CARRICK_NATS_URL": self.url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout, done.stderr

    async def json(self, *arguments: str, status: int = 0) -> Any:
        """Run it with ``--json``."""
        return json.loads((await self.run(*arguments, "--json", status=status))[0])

    async def numbers(self, *arguments: str) -> list[int]:
        """Return the numbers that it lists."""
        return [letter["number"] for letter in await self.json("list", *arguments)]


@pytest.fixture
async def site(nats_server: NatsServer) -> AsyncIterator[Site]:
    """A broker without anything."""
    async with NatsBroker(nats_server.url, name="test") as broker:
        yield Site(broker, nats_server.url)


async def test_list_and_show(site: Site) -> None:
    """Filters narrow each other; an event's bytes are shown only when they are asked for."""
    assert (await site.run("list"))[0] == "0 dead letters\n"
    await put_letters(site.broker, "tea", "salt")
    await put_letters(site.broker, "tea", consumer="post", reason="\x1b[31mtimeout")
    text, _ = await site.run("list")
    lines = text.splitlines()
    assert lines[0].split() == ["number", "dead", "since", "consumer", "event", "key", "tries", "reason"]
    assert lines[1].split()[2:] == ["stock", ORDER_PLACED.full_name, "tea", "3", "no", "such", "article"]
    assert lines[3].endswith(r"\x1b[31mtimeout")
    assert lines[4] == "3 dead letters"
    assert (await site.run("list", "--limit", "1"))[0].endswith("3 dead letters, 1 shown\n")
    assert await site.numbers("--consumer", "stock") == [1, 2]
    assert await site.numbers("--key", "tea", "--reason", "ARTICLE") == [1]
    assert await site.numbers("--subject", "orders.placed.v1", "--type", ORDER_PLACED.full_name) == [1, 2, 3]
    assert await site.numbers("--subject", ORDER_PLACED.subject_of("salt"), "--since", "1h") == [2]
    assert await site.numbers("--until", "1h") == []
    assert await site.numbers("2", "3", "--until", "2999-01-01") == [2, 3]
    text, _ = await site.run("show", "1")
    assert "reason      no such article" in text
    assert "stack       a.py:1 in f: g()\nstack       b.py:2 in g: h()" in text
    assert "header      ce-id: id-tea" in text
    assert "data_bytes  5" in text
    assert "data        " not in text
    assert "data        0a 03 74 65 61" in (await site.run("show", "1", "--data"))[0]
    assert (await site.json("show", "1", "--data"))["data"] == "CgN0ZWE="
    assert "see: carrick dlq list" in (await site.run("show", "4", status=1))[1]


async def test_redrive_and_drop(site: Site) -> None:
    """Counts are what was done; what fails for one is told, and the others go on."""
    await put_letters(site.broker, "a", "b", "c", "d")
    await site.broker.publish(Message(stream="DEADLETTERS", subject="deadletter.x.y", id="odd", data=b"odd"))
    for command in ("redrive", "drop"):
        assert "--all, alone" in (await site.run(command, status=2))[1]
        assert "--all, alone" in (await site.run(command, "--all", "1", status=2))[1]
        assert (await site.run(command, "--consumer", "none"))[0].startswith("0 are ")
    assert (await site.run("redrive", "--all", "--dry-run"))[0].endswith("5 would be sent again\n")
    assert len(await site.numbers()) == 5
    text, told = await site.run("redrive", "1", "5", "9", status=1)
    assert text == "stock  1\n1 are sent again, 2 failed\n"
    assert "5: 5 is no dead letter of carrick's" in told
    assert "9: is no dead letter" in told
    assert await site.numbers() == [2, 3, 4, 5]
    assert "say --yes" in (await site.run("drop", "2", "3", status=2))[1]
    assert (await site.run("drop", "2"))[0] == "stock  1\n1 are dropped\n"
    found = await site.json("drop", "--consumer", "stock", "--limit", "1", "--yes", "--rate", "0")
    assert found == {"letters": 1, "consumers": {"stock": 1}, "failed": {}, "dry_run": False}
    assert await site.numbers() == [4, 5]


async def test_the_rate_is_kept(site: Site) -> None:
    """So many a second, so that a consumer is not overrun."""
    await put_letters(site.broker, *"abcdefgh")
    began = asyncio.get_running_loop().time()
    await site.run("redrive", "--all", "--rate", "5")
    assert asyncio.get_running_loop().time() - began >= 1.4
    assert await site.numbers() == []


async def test_what_is_sent_again_is_handled(site: Site) -> None:
    """From the handler's fault to its effect, by the command."""
    seen: list[str] = []
    broken = True

    async def handle(event: OrderPlaced, ctx: Context) -> None:
        if broken:
            raise PermanentError("broken")
        seen.append(event.order_id)

    route = replace(on_order_placed(handle), handling=HandlingOptions(max_attempts=1))
    await publish_orders(site.broker, "a", "b")
    async with Subscriber("stock", site.broker, [route], inbox=None) as subscriber:
        await settle(subscriber)
        (first, _) = await site.json("list", "--consumer", "stock")
        assert "broken" in first["reason"]
        broken = False
        assert (await site.run("redrive", "--consumer", "stock"))[0].endswith("2 are sent again\n")
        await until(lambda: sorted(seen) == ["a", "b"])
    assert await site.numbers() == []


async def test_errors_are_one_line(site: Site) -> None:
    """They say what to do, and show no password."""
    cases = {
        ("list", "--since", "soon"): (2, "carrick: --since is a duration like 30m, 2h or 7d, or a moment like "),
        ("list", "--nats", "nats://me:secret@127.0.0.1:1"): (1, "carrick: no NATS server at 127.0.0.1:1 within"),
    }
    for arguments, (status, expected) in cases.items():
        _, told = await site.run(*arguments, status=status)
        assert told.startswith(expected)
        assert told.count("\n") == 1
        assert "secret" not in told
