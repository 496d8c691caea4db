"""``carrick outbox`` as users run it: what it prints, what it changes, and the status it ends with."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest

from carrick import outbox
from carrick.outbox import Outbox, table
from carrick.testing import NatsServer
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.store.places import AnyDatabase, Place
from tests.unit.testing.collector import Collector, collecting
from tests.unit.testing.programs import program, until

SUBJECT = ORDER_PLACED.subject_of("k")


class Site:
    """A database, and the command on it."""

    def __init__(self, database: AnyDatabase, url: str) -> None:
        self.database = database
        self.url = url

    async def run(self, *arguments: str, status: int = 0, **env: str) -> str:
        """Run ``carrick outbox``; return what it prints, on standard error where it fails."""
        command = [str(Path(sys.executable).parent / "carrick"), "outbox", *arguments]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            env={**os.environ, "CARRICK_DATABASE_URL": self.url, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status in (0, 3) else done.stderr

    async def json(self, *arguments: str, status: int = 0) -> Any:
        """Run it with ``--json``."""
        return json.loads(await self.run(*arguments, "--json", status=status))

    async def write(self, *keys: str) -> list[str]:
        """Write events; return their ids."""
        async with self.database.transaction() as tx:
            return [await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id=key)) for key in keys]

    async def refuse(self, *ids: str, reason: str = "larger than max_payload") -> None:
        """Have events refused."""
        async with self.database.transaction() as tx:
            found = await tx.execute("SELECT seq, id FROM carrick_outbox")
            for row in found.all():
                if row.id in ids:
                    await table.quarantine(tx, row.seq, reason)

    async def published(self) -> bool:
        """Say whether all is published."""
        async with self.database.read() as tx:
            return await table.unpublished(tx) == 0


@pytest.fixture(params=["sqlite", "postgresql"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """Each database in turn."""
    path = tmp_path / "test.db"
    url = f"sqlite:{path}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    place = Place(path if request.param == "sqlite" else url)
    async with place.database(migrations=[outbox.MIGRATIONS]) as database:
        yield Site(database, url)


async def test_status(site: Site) -> None:
    """For people and for programs, the same numbers."""
    first, _, _ = await site.write("k", "k", "j")
    await site.refuse(first)
    text = await site.run("status")
    assert "pending              2   the oldest for " in text
    assert "blocked              1" in text
    assert "relays: none" in text
    found = await site.json("status")
    assert (found["pending"], found["blocked"], found["quarantined"]) == (2, 1, 1)
    assert len(found["partitions"]) == 16
    assert found["oldest_pending_seconds"] >= 0


async def test_quarantine_list_and_show(site: Site) -> None:
    """A payload is shown only when it is asked for."""
    first, second = await site.write("k", "k")
    assert await site.run("quarantine", "list") == "0 quarantined\n"
    await site.refuse(first)
    text = await site.run("quarantine", "list")
    assert f"{first}  {SUBJECT}  key k  1 behind it  larger than max_payload" in text
    assert text.endswith("1 quarantined\n")
    (event,) = await site.json("quarantine", "list", "--reason", "payload", "--subject", "orders.placed.v1")
    assert event["id"] == first
    text = await site.run("quarantine", "show", first)
    assert f"ce-id: {first}" in text
    assert "payload " not in text
    shown = await site.json("quarantine", "show", first, "--payload")
    assert shown["payload"] == "CgFr"
    assert "see: carrick outbox quarantine list" in await site.run("quarantine", "show", second, status=1)


async def test_quarantine_retry_and_drop(site: Site) -> None:
    """Counts are what was done; without a word on which events nothing is."""
    first, second, third, fourth = await site.write("k", "k", "k", "k")
    await site.refuse(first, second, third)
    for command in ("retry", "drop"):
        assert "--all, alone" in await site.run("quarantine", command, status=2)
        assert "--all, alone" in await site.run("quarantine", command, "--all", first, status=2)
        assert "nothing was changed" in await site.run("quarantine", command, first, fourth, status=1)
    assert "3 would be published by a relay" in await site.run("quarantine", "retry", "--all", "--dry-run")
    assert (await site.json("status"))["quarantined"] == 3
    assert await site.run("quarantine", "drop", first) == f"{SUBJECT}  1\n1 are given up\n"
    assert await site.run("quarantine", "retry", "--reason", "MAX") == f"{SUBJECT}  2\n2 are published by a relay\n"
    assert await site.json("quarantine", "drop", "--all") == {"events": 0, "subjects": {}, "dry_run": False}
    found = await site.json("status")
    assert (found["quarantined"], found["pending"], found["given_up"], found["published"]) == (0, 3, 1, 0)


async def test_quarantine_filters(site: Site) -> None:
    """The same as those of dead letters, one narrowing the other; a rate changes nothing but the time it takes."""
    first, second, *others = await site.write("k", "j", "l", "l", "l")
    await site.refuse(first, second, *others)

    async def listed(*arguments: str) -> list[str]:
        return [event["id"] for event in await site.json("quarantine", "list", *arguments)]

    every = [first, second, *others]
    assert await listed("--key", "k", "--type", ORDER_PLACED.full_name) == [first]
    assert await listed("--type", "OrderPlaced") == []
    assert await listed("--subject", "orders.*.v1", "--since", "1h", "--limit", "9") == every
    assert await listed("--subject", "orders.>", "--until", "1h") == []
    assert await listed("--subject", "invoices.>") == []
    assert (await site.json("quarantine", "retry", "--key", "l", "--dry-run"))["events"] == 3
    began = asyncio.get_running_loop().time()
    assert (await site.json("quarantine", "retry", "--key", "l", "--rate", "2"))["events"] == 3
    assert asyncio.get_running_loop().time() - began >= 1.0
    assert "nothing was changed" in await site.run("quarantine", "drop", first, others[0], "--rate", "5", status=1)
    assert await listed() == [first, second]


def _epochs(collector: Collector) -> dict[str, int]:
    if "carrick.outbox.lease.epoch" not in {metric.name for _, metric in collector.metrics}:
        return {}
    points = collector.metric("outbox-relay", "carrick.outbox.lease.epoch").gauge.data_points
    return {point.attributes[0].value.string_value: point.as_int for point in points}


async def test_a_relay_of_its_own_exports_metrics(site: Site, nats_url: str) -> None:
    """Where the standard variables say so: while it runs, and the last values when it ends."""
    command = ("-c", "from carrick.cli import main; main()", "outbox", "relay", "--poll", "0.05")
    await site.write("k0", "k1", "k1")
    async with collecting() as collector:
        env = {
            "CARRICK_DATABASE_URL": site.url,
            "CARRICK_NATS_URL": nats_url,
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://{collector.address}",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }
        with program(*command, env=env) as process:
            await until(site.published)
            await until(lambda: _epochs(collector) == {f"p{partition:02d}": 1 for partition in range(16)})
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0
    (published,) = collector.metric("outbox-relay", "carrick.outbox.published").sum.data_points
    assert published.as_int == 3
    (lag,) = collector.metric("outbox-relay", "carrick.outbox.lag").histogram.data_points
    assert lag.count == 3
    assert collector.spans == []


async def test_relay_and_reconcile(site: Site, nats_server: NatsServer) -> None:
    """A relay of its own publishes, and again what the broker lost; it ends cleanly, its partitions given back."""
    command = ("-c", "from carrick.cli import main; main()", "outbox", "relay", "--name", "one", "--poll", "0.05")
    addresses = {"CARRICK_DATABASE_URL": site.url, "CARRICK_NATS_URL": nats_server.url}
    nats_url = ("--nats", nats_server.url)
    ids = await site.write(*(f"k{number % 5}" for number in range(30)))
    with program(*command, env=addresses) as process:
        await until(site.published)
        (relay,) = (await site.json("status"))["relays"]
        assert (relay["name"], relay["partitions"]) == ("one", 16)
        assert (await site.run("reconcile", *nats_url)).endswith(
            "0 missing\n0 are published again, as soon as a relay runs\n"
        )
        client = await nats.connect(nats_server.url)
        await client.jetstream().delete_stream("ORDERS")
        report = await site.run("reconcile", *nats_url, "--dry-run", status=3)
        assert report.startswith("stream ORDERS: is gone\n")
        assert report.endswith("30 missing\n")
        found = await site.json("reconcile", *nats_url)
        assert (found["missing"], found["restored"]) == (30, 30)
        await until(site.published)
        assert (await client.jetstream().stream_info("ORDERS")).state.messages == 30
        await client.close()
        assert (await site.json("reconcile", *nats_url, "--dry-run"))["missing"] == 0
        assert (await site.json("status"))["published"] == len(ids)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert process.stderr is not None
        log = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert {line["service"] for line in log} == {"outbox-relay"}
    assert log[-1]["message"] == "stopped"
    assert (await site.json("status"))["relays"] == []


async def test_errors_are_one_line(site: Site, tmp_path: Path) -> None:
    """They say what to do, and show no password."""
    away = "postgresql://me:secret@127.0.0.1:1/shop"
    cases = {
        ("status", "--database", "mysql://me:secret@db/shop"): (
            2,
            "carrick: give the database as sqlite:///orders.db, ",
        ),
        ("status", "--database", "sqlite:///none.db"): (2, "carrick: there is no file none.db; an absolute path "),
        ("status", "--database", f"sqlite:{tmp_path}/none.db"): (2, f"carrick: there is no file {tmp_path}/none.db"),
        ("status", "--database", "sqlite://host/none.db"): (2, "carrick: give the database as "),
        ("status", "--database", away): (1, "carrick: postgresql://127.0.0.1:1/shop: "),
        ("reconcile", "--nats", "nats://me:secret@127.0.0.1:1"): (1, "carrick: no NATS server at 127.0.0.1:1 within"),
        ("reconcile", "--nats", "127.0.0.1"): (2, "carrick: the NATS URL must look like nats://"),
        ("reconcile", "--nats", "nats://127.0.0.1:1", "--since", "0"): (2, "carrick: --since must be above 0"),
        ("relay", "--nats", "nats://127.0.0.1:1", "--batch", "2000"): (2, "carrick: batch must be 1000 at most"),
    }
    answers = await asyncio.gather(*(site.run(*arguments, status=status) for arguments, (status, _) in cases.items()))
    for answer, (_, expected) in zip(answers, cases.values(), strict=True):
        assert answer.startswith(expected)
        assert answer.count("\n") == 1
        assert "secret" not in answer
    assert not (tmp_path / "none.db").exists()


async def test_another_database_is_told(tmp_path: Path) -> None:
    """A file that is no outbox is left as it is."""
    (tmp_path / "empty.db").touch()
    site = Site(None, f"sqlite:{tmp_path / 'empty.db'}")  # type: ignore[arg-type]
    assert "there is no outbox in this database" in await site.run("status", status=1)
