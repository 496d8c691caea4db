"""The demo, small: its five zeros hold, and each of its checks can fail."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carrick import Context
from carrick.ids import time_ordered_id
from carrick.messaging import Message, Subscriber
from carrick.messaging.memory import MemoryBroker
from carrick.rpc import Channel, Server
from carrick.store import IdempotencyRecords
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import settle
from services.demo.audit import Findings, audit, read_books
from services.demo.stage import SERVICES
from services.inventory.store import Shelves
from services.payments.bank import Bank
from services.payments.handlers import PaymentsHandlers
from services.payments.store import Ledger
from shop.orders.v1.orders_carrick import ORDER_PLACED, on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced
from shop.payments.v1.payments_carrick import PaymentsClient
from shop.payments.v1.payments_pb2 import ChargeRequest

ROOT = Path(__file__).resolve().parents[2]
ORDERS = 200


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Play the demo once, with all its faults, and keep its databases."""
    directory = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "services.demo", "--orders", str(ORDERS), "--keep", str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Nothing was lost." in done.stdout
    return directory


@pytest.fixture
def books(played: Path, tmp_path: Path) -> Path:
    """Copy the databases, for one test to spoil."""
    for name in ("orders", "inventory", "payments", "notifications"):
        shutil.copy(played / f"{name}.db", tmp_path / f"{name}.db")
    return tmp_path


def findings(directory: Path) -> Findings:
    """Audit the databases in a folder."""
    return audit(read_books(directory))


def only(found: Findings, name: str) -> int:
    """Return the count of a check, and see that the checks it does not touch are still 0."""
    assert {check.name for check in found.checks if check.count} == {name}, found
    return found[name]


async def spoil(database: Path, statement: str) -> None:
    """Change a database behind its service's back."""
    async with SqliteDatabase(database) as db, db.transaction() as tx:
        assert (await tx.execute(statement)).rowcount == 1


def placed_order(directory: Path) -> OrderPlaced:
    """Return the event of one placed order, from the books."""
    order = next(order for order in read_books(directory).orders if order.status == "PLACED")
    return OrderPlaced(order_id=order.id, customer_id="customer", total=order.total)


def test_nothing_is_lost_while_things_are_killed(played: Path) -> None:
    """After kills, outages and failures the books agree, and there was something to lose."""
    books = read_books(played)
    assert findings(played).clean
    assert len(books.orders) >= ORDERS
    assert len(books.events) > ORDERS / 2
    assert any(order.status == "REFUSED" for order in books.orders)


async def test_a_dropped_outbox_row_is_reported(books: Path) -> None:
    """An order without its event is a lost event."""
    await spoil(books / "orders.db", "DELETE FROM carrick_outbox WHERE seq = (SELECT min(seq) FROM carrick_outbox)")
    assert only(findings(books), "lost events") == 1


async def test_an_event_that_a_consumer_never_saw_is_reported(books: Path) -> None:
    """An event missing in an inbox is a lost event."""
    await spoil(
        books / "notifications.db",
        "DELETE FROM carrick_inbox WHERE event_id = (SELECT min(event_id) FROM carrick_inbox)",
    )
    assert only(findings(books), "lost events") == 1


async def test_a_replay_without_the_inbox_is_reported(books: Path) -> None:
    """Inventory's effect without `tx.handled()`, fed the same event again, ships twice: a duplicated effect."""
    event = placed_order(books)
    broker = MemoryBroker()
    async with SqliteDatabase(books / "inventory.db") as database:

        async def without_inbox(event: OrderPlaced, ctx: Context) -> None:
            async with database.transaction() as tx:
                await Shelves().ship(tx, event.order_id)

        subscriber = Subscriber("inventory", broker, [on_order_placed(without_inbox)], inbox=None)
        await broker.ensure_stream(ORDER_PLACED.stream, [ORDER_PLACED.stream_subjects])
        await broker.publish(
            Message(
                stream=ORDER_PLACED.stream,
                subject=ORDER_PLACED.subject_of(event.order_id),
                id=time_ordered_id(),
                data=event.SerializeToString(),
            )
        )
        async with subscriber:
            await settle(subscriber)
    assert only(findings(books), "duplicated effects") >= 1


async def test_a_charge_under_a_fresh_key_is_reported(books: Path) -> None:
    """The real payments service charges an order again when the key is another: a duplicated effect."""
    event = placed_order(books)
    async with SqliteDatabase(books / "payments.db") as database:
        handlers = PaymentsHandlers(database, Ledger(), Bank(None))
        async with Server(handlers, claims=IdempotencyRecords(database)) as server, Channel(server.address) as channel:
            request = ChargeRequest(order_id=event.order_id, customer_id="customer", amount=event.total)
            for key in ("fresh", "fresh"):  # the second is a repetition, and changes nothing
                await PaymentsClient(channel).charge(request, key=key)
    assert only(findings(books), "duplicated effects") == 1


@pytest.mark.parametrize(
    ("database", "statement", "check"),
    [
        (
            "payments",
            "INSERT INTO charges VALUES ('x', 'no such order', 'customer', 1, 'CAPTURED')",
            "money charged without an order",
        ),
        (
            "payments",
            "UPDATE charges SET status = 'REFUNDED' WHERE id = (SELECT min(id) FROM charges WHERE status = 'CAPTURED')",
            "orders without a charge",
        ),
        ("inventory", "UPDATE stock SET delivered = 0 WHERE sku = 'article-09'", "oversold stock"),
        (
            "notifications",
            "UPDATE notifications SET correlation_id = 'another' WHERE seq = 1",
            "correlation ids lost on the way",
        ),
        ("orders", "UPDATE carrick_outbox SET published_at = NULL WHERE seq = 1", "work left undone"),
    ],
)
async def test_each_check_can_fail(books: Path, database: str, statement: str, check: str) -> None:
    """Spoiling a book in one place is reported by the check for it, and by no other."""
    await spoil(books / f"{database}.db", statement)
    assert only(findings(books), check) >= 1


def test_ctrl_c_ends_every_process(tmp_path: Path) -> None:
    """An interrupt in the middle of the demo leaves no process behind, and says so."""
    directory = tmp_path / "interrupted"
    interruptible = (  # a shell's background jobs inherit that SIGINT is ignored
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('services.demo', run_name='__main__', alter_sys=True)"
    )
    demo = subprocess.Popen(
        [sys.executable, "-c", interruptible, "--orders", "100000", "--no-faults", "--keep", str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "orders flow" in line:
                break
        assert len(processes_of(directory)) == len(SERVICES)
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 130, rest
    assert "all processes are ended" in rest
    assert processes_of(directory) == []


def processes_of(directory: Path) -> list[int]:
    """Return the ids of the services whose environment names the demo's folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                environment = (process / "environ").read_bytes()
            except OSError:
                continue
            if b"_DATABASE=" + str(directory).encode() in environment:
                found.append(int(process.name))
    return found
