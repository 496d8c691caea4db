"""The audit: what the services' books say when they are laid side by side."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.demo.load import Reply

__all__ = ["Books", "Charge", "Finding", "Findings", "Letter", "Order", "audit", "read_books"]

CONSUMERS = ("inventory", "notifications")


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the orders service; ``items`` are pieces by article."""

    id: str
    key: str
    status: str
    total: int
    correlation_id: str
    items: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge of the payments service."""

    order_id: str
    amount: int
    captured: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification."""

    order_id: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that the four services have written down."""

    orders: Sequence[Order]
    events: Sequence[tuple[str, str]]
    """Id and order id of each event in the outbox."""
    unpublished: int
    open_compensations: int
    handled: Mapping[str, frozenset[str]]
    """Ids of the events in each consumer's inbox."""
    delivered: Mapping[str, int]
    """Pieces of each article that came in, ..."""
    available: Mapping[str, int]
    shipped: Mapping[str, int]
    held: Mapping[str, Mapping[str, int]]
    """Pieces by article that each order holds, reserved or shipped."""
    charges: Sequence[Charge]
    letters: Sequence[Letter]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: how often it was violated, and the first few cases."""

    name: str
    count: int
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """All checks, the five that the demo is about first."""

    checks: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether every count is 0."""
        return all(check.count == 0 for check in self.checks)

    def __getitem__(self, name: str) -> int:
        """Return the count of a check."""
        return next(check.count for check in self.checks if check.name == name)


def audit(books: Books, replies: Iterable[Reply] = ()) -> Findings:
    """Lay the books side by side. ``replies`` are what customers were told."""
    checks: tuple[tuple[str, Callable[[], list[str]]], ...] = (
        ("lost events", lambda: _lost(books)),
        ("duplicated effects", lambda: _duplicated(books)),
        ("oversold stock", lambda: _oversold(books)),
        ("money charged without an order", lambda: _money_without_order(books)),
        ("orders without a charge", lambda: _orders_without_charge(books)),
        ("replies that the books contradict", lambda: _contradicted(books, replies)),
        ("correlation ids lost on the way", lambda: _uncorrelated(books)),
        ("work left undone", lambda: _undone(books)),
    )
    return Findings(tuple(_finding(name, check()) for name, check in checks))


def read_books(directory: Path) -> Books:
    """Read the four databases in ``directory``."""
    orders, inventory, payments, notifications = (
        _connect(directory / f"{name}.db") for name in ("orders", "inventory", "payments", "notifications")
    )
    try:
        stock = inventory.execute("SELECT sku, delivered, available, shipped FROM stock").fetchall()
        return Books(
            orders=_read_orders(orders),
            events=orders.execute("SELECT id, key FROM carrick_outbox").fetchall(),
            unpublished=_count(orders, "SELECT count(*) FROM carrick_outbox WHERE published_at IS NULL"),
            open_compensations=_count(orders, "SELECT count(*) FROM compensations WHERE done = 0"),
            handled={"inventory": _inbox(inventory), "notifications": _inbox(notifications)},
            delivered={sku: delivered for sku, delivered, _, _ in stock},
            available={sku: available for sku, _, available, _ in stock},
            shipped={sku: shipped for sku, _, _, shipped in stock},
            held=_pieces(
                inventory,
                "SELECT order_id, sku, quantity FROM reservation_items JOIN reservations USING (order_id) "
                "WHERE status <> 'RELEASED'",
            ),
            charges=[
                Charge(order_id, amount, status == "CAPTURED")
                for order_id, amount, status in payments.execute("SELECT order_id, amount, status FROM charges")
            ],
            letters=[
                Letter(order_id, correlation_id)
                for order_id, correlation_id in notifications.execute(
                    "SELECT order_id, correlation_id FROM notifications"
                )
            ],
        )
    finally:
        for connection in (orders, inventory, payments, notifications):
            connection.close()


def _lost(books: Books) -> list[str]:
    """Events that were never written, never handled, or handled without effect."""
    written = {order_id for _, order_id in books.events}
    told = {letter.order_id for letter in books.letters}
    cases = [f"order {order.id} has no event" for order in _placed(books) if order.id not in written]
    for consumer in CONSUMERS:
        cases += [
            f"event {event_id} did not reach {consumer}"
            for event_id, _ in books.events
            if event_id not in books.handled[consumer]
        ]
    cases += [f"the customer of order {order.id} was not told" for order in _placed(books) if order.id not in told]
    expected = _sum(order.items for order in _placed(books))
    cases += [
        f"{expected[sku] - books.shipped.get(sku, 0)} pieces of {sku} were not shipped"
        for sku in expected
        if books.shipped.get(sku, 0) < expected[sku]
    ]
    return cases


def _duplicated(books: Books) -> list[str]:
    """Anything that happened to an order more than once."""
    cases = [f"{times} events for order {order_id}" for order_id, times in _repeated(key for _, key in books.events)]
    cases += [
        f"order {order_id} was told {times} times"
        for order_id, times in _repeated(letter.order_id for letter in books.letters)
    ]
    cases += [
        f"order {order_id} was charged {times} times"
        for order_id, times in _repeated(charge.order_id for charge in books.charges if charge.captured)
    ]
    cases += [f"{times} orders for key {key}" for key, times in _repeated(order.key for order in books.orders)]
    expected = _sum(order.items for order in _placed(books))
    cases += [
        f"{pieces - expected[sku]} pieces of {sku} were shipped too many"
        for sku, pieces in books.shipped.items()
        if pieces > expected[sku]
    ]
    return cases


def _oversold(books: Books) -> list[str]:
    """Articles of which more was promised than came in, or whose count is off."""
    promised = _sum(books.held.values())
    cases = [
        f"{promised[sku]} of {delivered} pieces of {sku} are promised"
        for sku, delivered in books.delivered.items()
        if promised[sku] > delivered
    ]
    cases += [
        f"{books.available[sku]} pieces of {sku} are said to be available, and {delivered - promised[sku]} are"
        for sku, delivered in books.delivered.items()
        if books.available[sku] != delivered - promised[sku]
    ]
    placed = {order.id for order in _placed(books)}
    return cases + [
        f"stock is held for order {order_id}, not placed" for order_id in books.held if order_id not in placed
    ]


def _money_without_order(books: Books) -> list[str]:
    placed = {order.id: order for order in _placed(books)}
    return [
        f"{charge.amount} cents for order {charge.order_id}"
        for charge in books.charges
        if charge.captured and (charge.order_id not in placed or placed[charge.order_id].total != charge.amount)
    ]


def _orders_without_charge(books: Books) -> list[str]:
    charged = {charge.order_id for charge in books.charges if charge.captured}
    return [order.id for order in _placed(books) if order.id not in charged]


def _contradicted(books: Books, replies: Iterable[Reply]) -> list[str]:
    by_key = {order.key: order for order in books.orders}
    cases = []
    for reply in replies:
        order = by_key.get(reply.key)
        if order is None or order.id != reply.order_id or (order.status == "PLACED") != reply.placed:
            cases.append(f"{reply} against {order}")
    return cases


def _uncorrelated(books: Books) -> list[str]:
    ids = {order.id: order.correlation_id for order in books.orders}
    return [letter.order_id for letter in books.letters if letter.correlation_id != ids.get(letter.order_id)]


def _undone(books: Books) -> list[str]:
    return (
        [f"order {order.id} is pending" for order in books.orders if order.status == "PENDING"]
        + ["an event is not published"] * books.unpublished
        + ["a compensation is open"] * books.open_compensations
    )


def _placed(books: Books) -> list[Order]:
    return [order for order in books.orders if order.status == "PLACED"]


def _sum(parts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def _repeated(ids: Iterable[str]) -> list[tuple[str, int]]:
    return [(each, times) for each, times in Counter(ids).items() if times > 1]


def _finding(name: str, cases: list[str]) -> Finding:
    return Finding(name, len(cases), tuple(cases[:5]))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)


def _count(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _inbox(connection: sqlite3.Connection) -> frozenset[str]:
    return frozenset(event_id for (event_id,) in connection.execute("SELECT event_id FROM carrick_inbox"))


def _pieces(connection: sqlite3.Connection, query: str) -> dict[str, Counter[str]]:
    """Return pieces by article, by order."""
    pieces: dict[str, Counter[str]] = defaultdict(Counter)
    for order_id, sku, quantity in connection.execute(query):
        pieces[order_id][sku] += quantity
    return dict(pieces)


def _read_orders(connection: sqlite3.Connection) -> list[Order]:
    items = _pieces(connection, "SELECT order_id, sku, quantity FROM order_lines")
    return [
        Order(order_id, key, status, total, correlation_id, items.get(order_id, {}))
        for order_id, key, status, total, correlation_id in connection.execute(
            "SELECT id, key, status, total, correlation_id FROM orders"
        )
    ]
