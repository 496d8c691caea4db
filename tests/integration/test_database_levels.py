"""Two services on one PostgreSQL, with the roles of ``carrick db roles``: neither gets at what is the other's."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import asyncpg
import pytest

from carrick import outbox, store
from carrick.claim import Claimed
from carrick.context import Call, Context, enter
from carrick.errors import ConfigurationError, StoreError
from carrick.outbox import Outbox, Relay, RelayOptions, table
from carrick.store import IdempotencyRecords, Migrations
from carrick.store.postgres import PostgresDatabase
from carrick.store.postgres_signal import PostgresSignal
from carrick.store.roles import Level
from carrick.testing import MemoryBroker, PostgresServer, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED, PLACE_ORDER
from shop.orders.v1.orders_pb2 import OrderPlaced, PlaceOrderResponse
from tests.unit.testing.programs import until

LEVELS = get_args(Level)
FRAMEWORK = (
    "carrick_schema",
    "carrick_idempotency",
    "carrick_inbox",
    "carrick_partition",
    "carrick_parked",
    "carrick_outbox",
    "carrick_outbox_lease",
    "carrick_outbox_relay",
    "carrick_outbox_position",
)


@dataclass(frozen=True)
class Service:
    """A service as its settings have it: a role's URL, and at one level a schema."""

    name: str
    level: Level
    url: str
    folder: Path
    owner: str | None = None

    @property
    def schema(self) -> str | None:
        """What is given as ``schema=``."""
        return self.name if self.level == "schema" else None

    @property
    def place(self) -> str:
        """Where carrick's tables are."""
        return "public" if self.level == "database" else self.name

    @property
    def rows(self) -> str:
        """The service's own table, by its full name."""
        return f"{'public' if self.level == 'tables' else self.place}.{self.name}_rows"

    @property
    def tables(self) -> list[str]:
        """All that belongs to the service."""
        return [self.rows, *(f"{self.place}.{table}" for table in FRAMEWORK)]

    def database(self, **options: Any) -> PostgresDatabase:
        """Return its database, to be opened: it migrates store, outbox, and its own table."""
        own = Migrations(self.name, self.folder)
        return PostgresDatabase(
            self.url, schema=self.schema, migrations=[store.MIGRATIONS, outbox.MIGRATIONS, own], **options
        )


def _script(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from carrick.cli import main; main()", "db", "roles", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


Make = Callable[..., Service]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this module's own: roles belong to a whole server."""
    with PostgresServer(fsync=False) as started:
        yield started


@pytest.fixture
def make(server: PostgresServer, tmp_path: Path) -> Iterator[Make]:
    """Do what an administrator does for a service: run the script, and give passwords."""
    shared = server.create_database()
    made: list[tuple[str, str | None, Level]] = []

    def service(name: str, level: Level, owner: str | None = None) -> Service:
        arguments = ["--service", name, "--level", level, *(["--owner", owner] if owner else [])]
        server.script(_script(*arguments), url=shared)
        made.append((name, owner, level))
        for role in filter(None, (name, owner)):
            server.sql(f"ALTER ROLE {role} PASSWORD 'secret of {role}'")
        folder = tmp_path / name
        folder.mkdir()
        database = name if level == "database" else shared.rpartition("/")[2]
        url = f"postgresql://{name}:secret%20of%20{name}@127.0.0.1:{server.port}/{database}"
        done = Service(name, level, url, folder, owner)
        (folder / "0001_rows.sql").write_text(f"CREATE TABLE {done.rows} (id INTEGER PRIMARY KEY);")
        return done

    yield service
    server.drop_database(shared)
    for name, owner, level in made:
        if level == "database":
            server.drop_database(server.url_of(name))
        for role in filter(None, (name, owner)):
            server.sql(f"DROP ROLE {role}")


@asynccontextmanager
async def _two(make: Make, level: Level) -> AsyncIterator[list[tuple[Service, PostgresDatabase]]]:
    services = [make("orders", level), make("payments", level)]
    async with services[0].database() as first, services[1].database() as second:
        yield list(zip(services, (first, second), strict=True))


async def _work(service: Service, database: PostgresDatabase, number: int) -> None:
    """Do what a handler does: a business row, an event, an idempotency record, in one transaction."""
    outcome = await IdempotencyRecords(database).claim(PLACE_ORDER, f"k{number}", b"f", 30.0)
    assert isinstance(outcome, Claimed)
    call = Call()
    call.claim = outcome.claim
    with enter(Context(PLACE_ORDER, call=call)):
        async with database.transaction() as tx:
            await tx.execute(f"INSERT INTO {service.rows.rpartition('.')[2]} VALUES (:id)", {"id": number})
            event = OrderPlaced(order_id=f"{service.name}-{number}")
            await Outbox(service.name).write(tx, ORDER_PLACED, event)
            await tx.reply(PlaceOrderResponse(order_id="1"))


async def _denied(database: PostgresDatabase, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for"):
        async with database.transaction() as tx:
            await tx.execute(statement)


@pytest.mark.parametrize("level", ["tables", "schema"])
async def test_the_other_services_tables_are_denied(make: Make, level: Level) -> None:
    """Each works on its own; reading, writing, locking, changing or dropping what is the other's is refused."""
    async with _two(make, level) as both:
        for service, database in both:
            await _work(service, database, 1)
        for (_, database), (other, _) in (both, both[::-1]):
            for name in other.tables:
                await _denied(database, f"SELECT * FROM {name}")
                await _denied(database, f"DELETE FROM {name}")
                await _denied(database, f"LOCK TABLE {name}")
            await _denied(database, f"INSERT INTO {other.rows} VALUES (2)")
            await _denied(database, f"UPDATE {other.place}.carrick_outbox_lease SET owner = 'me'")
            await _denied(database, f"CREATE TABLE {other.place}.mine (id INTEGER)")
            await _denied(database, f"GRANT USAGE ON SCHEMA {other.place} TO PUBLIC")
            await _denied(database, "CREATE SCHEMA more")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"must be owner|permission denied"):
                async with database.transaction() as tx:
                    await tx.execute(f"DROP TABLE {other.rows}")
        for service, database in both:
            async with database.read() as tx:
                assert (await tx.execute(f"SELECT count(*) FROM {service.rows}")).scalar_one() == 1
                assert (await tx.execute("SELECT count(*) FROM carrick_outbox")).scalar_one() == 1


async def test_tables_that_another_has_in_the_shared_schema_are_not_taken_for_own(
    make: Make, server: PostgresServer
) -> None:
    """A service that lives in the shared schema itself, as one application did, keeps its tables to itself too."""
    orders = make("orders", "tables")
    old = PostgresDatabase(
        server.url_of(orders.url.rpartition("/")[2]), migrations=[store.MIGRATIONS, outbox.MIGRATIONS]
    )
    async with old as whole, orders.database() as database:
        await _work(orders, database, 1)
        async with database.read() as tx:
            found = await tx.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'carrick_outbox' ORDER BY 1")
            assert [row.schemaname for row in found.all()] == ["orders", "public"]
        async with whole.read() as tx:
            assert (await tx.execute("SELECT count(*) FROM carrick_outbox")).scalar_one() == 0
        await _denied(database, "SELECT * FROM public.carrick_outbox")


async def test_a_service_cannot_open_its_schema_to_another(make: Make) -> None:
    """The schema is the administrator's: a grant on a table leads nowhere without one on the schema."""
    async with _two(make, "schema") as ((orders, mine), (_, theirs)):
        async with mine.transaction() as tx:
            await tx.execute(f"GRANT SELECT ON {orders.rows} TO payments")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for schema orders"):
            async with theirs.read() as tx:
                await tx.execute(f"SELECT * FROM {orders.rows}")


async def test_a_database_of_its_own_lets_nobody_else_in(make: Make) -> None:
    """The other service's role can't even connect, and says so."""
    async with _two(make, "database") as both:
        for service, database in both:
            await _work(service, database, 1)
        for (service, _), (other, _) in (both, both[::-1]):
            stranger = replace(service, url=f"{service.url.rpartition('/')[0]}/{other.name}")
            with pytest.raises(StoreError, match=f'permission denied for database "{other.name}"'):
                async with stranger.database(startup_timeout=0.1):
                    pytest.fail("opened")


@pytest.mark.parametrize("level", LEVELS)
async def test_relays_take_and_publish_their_own_only(make: Make, level: Level) -> None:
    """Each has all sixteen partitions of its own service, and publishes its service's events."""
    async with _two(make, level) as both:
        brokers = [MemoryBroker(), MemoryBroker()]
        options = RelayOptions(poll=0.02)
        relays = [Relay(db, broker, options=options) for (_, db), broker in zip(both, brokers, strict=True)]
        async with relays[0], relays[1]:
            for number in range(5):
                for service, database in both:
                    await _work(service, database, number)
            await settle(*relays)
            for (service, database), broker in zip(both, brokers, strict=True):
                published = {OrderPlaced.FromString(each.data).order_id for each in broker.messages("ORDERS")}
                assert published == {f"{service.name}-{number}" for number in range(5)}
                async with database.read() as tx:
                    lease = "SELECT count(*) FROM carrick_outbox_lease WHERE owner <> ''"
                    assert (await tx.execute(lease)).scalar_one() == 16
        (_, orders), (_, payments) = both
        async with orders.transaction() as tx:
            assert len(await table.take(tx, owner="one", ttl=60.0, most=16)) == 16
        async with payments.transaction() as tx:
            assert await table.renew(tx, owner="one", ttl=60.0) == set()
            assert len(await table.take(tx, owner="two", ttl=60.0, most=16)) == 16


@pytest.mark.parametrize("level", LEVELS)
async def test_signals_are_heard_by_the_service_itself_only(make: Make, level: Level) -> None:
    """Another process of the service is called; the other service is not."""
    async with _two(make, level) as ((orders, _), (payments, _)):
        counts = {"here": 0, "there": 0, "other": 0}

        def count(name: str) -> Callable[[], None]:
            return lambda: counts.__setitem__(name, counts[name] + 1)

        async with (
            PostgresSignal(orders.url, schema=orders.schema) as here,
            PostgresSignal(orders.url, schema=orders.schema) as there,
            PostgresSignal(payments.url, schema=payments.schema) as other,
        ):
            for name, signal in (("here", here), ("there", there), ("other", other)):
                signal.listen(count(name))
            await until(lambda: all(counts.values()))
            before = dict(counts)
            here.send()
            await until(lambda: counts["there"] > before["there"])
            await asyncio.sleep(0.1)
            assert counts["other"] == before["other"]


@pytest.mark.parametrize("level", LEVELS)
async def test_locks_are_held_against_the_service_itself_only(make: Make, level: Level) -> None:
    """Neither a key that is being written nor a migration under way keeps the other service waiting."""
    async with _two(make, level) as ((_, mine), (payments, theirs)):
        async with mine.transaction() as tx:
            await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="same"))
            async with asyncio.timeout(10), theirs.transaction() as other:
                await Outbox("payments").write(other, ORDER_PLACED, OrderPlaced(order_id="same"))
        async with mine._migrating(), asyncio.timeout(10), payments.database(lock_timeout=1.0):
            pass


@pytest.mark.parametrize("level", LEVELS)
async def test_the_owner_migrates_and_the_service_works(make: Make, level: Level) -> None:
    """With two roles the service's own can do its work and change no table; what is due is told to who may not."""
    service = make("orders", level, owner="orders_owner")
    owner = replace(service, url=service.url.replace("orders:", "orders_owner:").replace("orders@", "orders_owner@"))
    with pytest.raises(
        ConfigurationError, match=r"may not apply: permission denied for schema .* `carrick db migrate`"
    ):
        async with service.database():
            pytest.fail("opened")
    async with owner.database():
        pass
    async with service.database() as database:
        await _work(service, database, 1)
        async with Relay(database, MemoryBroker()) as relay:
            await settle(relay)
        await _denied(database, f"CREATE TABLE {service.place}.more (id INTEGER)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="must be owner"):
            async with database.transaction() as tx:
                await tx.execute("ALTER TABLE carrick_outbox ADD COLUMN more TEXT")


def test_an_administrator_need_not_be_a_superuser(postgres_server: PostgresServer) -> None:
    """As in hosted PostgreSQL: who may make roles, and owns the database or may make one, can run the scripts."""
    postgres_server.sql("CREATE ROLE hosted LOGIN PASSWORD 'h' CREATEROLE CREATEDB")
    postgres_server.sql("CREATE DATABASE shop OWNER hosted")
    admin = f"postgresql://hosted:h@127.0.0.1:{postgres_server.port}/shop"
    for level in LEVELS:
        script = _script("--service", f"s_{level}", "--level", level, "--owner", f"o_{level}")
        postgres_server.script(script, url=admin)
    members = "SELECT count(*) FROM pg_auth_members WHERE member = CAST('hosted' AS regrole)"
    assert postgres_server.sql(f"{members} AND (inherit_option OR set_option)") == ["0"]
    assert postgres_server.sql("SELECT count(*) FROM pg_roles WHERE rolname ~ '^[so]_'") == ["6"]
