"""The inbox: an event has its effect once."""

# ruff: noqa: PT012  # what raises is the end of a block; its own words only

import asyncio

import pytest
import pytest_asyncio

from carrick.claim import Receipt, Tenure
from carrick.context import Call, Context, enter
from carrick.errors import Code, ConfigurationError, DuplicateEventError, StoreError
from carrick.store import Inbox, Parking
from carrick.testing.contracts.site import StoreDatabase
from carrick.testing.contracts.tables import FrameworkTables

__all__ = ["InboxContract"]


async def _handle(
    database: StoreDatabase, event_id: str, note: str, consumer: str = "c", tenure: Tenure | None = None
) -> Receipt:
    """Do what an event's handler does: an effect and the receipt in one transaction."""
    call = Call()
    call.receipt = Receipt(consumer, event_id, tenure)
    with enter(Context(None, call=call)):
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:note)", {"note": note})
            await tx.handled()
    return call.receipt


async def _effects(database: StoreDatabase) -> list[str]:
    async with database.read() as tx:
        return [row.note for row in (await tx.execute("SELECT note FROM effects")).all()]


@pytest.mark.asyncio
class InboxContract(FrameworkTables):
    """An event has its effect once, however often it is delivered."""

    @pytest_asyncio.fixture
    async def inbox(self, database: StoreDatabase) -> Inbox:
        """An inbox in a database that has a table of effects."""
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE effects (note TEXT)")
        return Inbox(database, retention=3600.0)

    async def test_a_handled_event_is_held(self, inbox: Inbox, database: StoreDatabase) -> None:
        """The inbox holds what was committed, and the receipt knows of it."""
        assert not await inbox.holds("c", "1")
        receipt = await _handle(database, "1", "one")
        assert receipt.fulfilled
        assert await inbox.holds("c", "1")
        assert not await inbox.holds("c", "2")
        assert not await inbox.holds("d", "1")

    async def test_a_second_delivery_is_rolled_back(self, inbox: Inbox, database: StoreDatabase) -> None:
        """The duplicate raises and takes its effect with it."""
        await _handle(database, "1", "one")
        with pytest.raises(DuplicateEventError, match="c has handled event 1 before") as caught:
            await _handle(database, "1", "again")
        assert caught.value.code is Code.ALREADY_EXISTS
        assert await _effects(database) == ["one"]

    async def test_concurrent_deliveries_have_one_effect(self, inbox: Inbox, database: StoreDatabase) -> None:
        """Of deliveries to several at the same time one commits."""
        outcomes = await asyncio.gather(*(_handle(database, "1", "x") for _ in range(10)), return_exceptions=True)
        assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, DuplicateEventError) for outcome in outcomes) == 9
        assert await _effects(database) == ["x"]

    async def test_each_consumer_has_its_own(self, inbox: Inbox, database: StoreDatabase) -> None:
        """Two consumers in one database both handle the event."""
        await _handle(database, "1", "of c", consumer="c")
        await _handle(database, "1", "of d", consumer="d")
        assert await _effects(database) == ["of c", "of d"]

    async def test_a_rolled_back_handler_leaves_no_receipt(self, inbox: Inbox, database: StoreDatabase) -> None:
        """A handler that fails after ``handled`` handles the event again."""
        call = Call()
        call.receipt = Receipt("c", "1")
        with enter(Context(None, call=call)), pytest.raises(KeyError):
            async with database.transaction() as tx:
                await tx.handled()
                raise KeyError
        assert not call.receipt.fulfilled
        assert not await inbox.holds("c", "1")

    async def test_handled_outside_of_a_handler_says_where_it_belongs(self, database: StoreDatabase) -> None:
        """Without an event being handled there is nothing to record: a mistake, told at once."""
        with pytest.raises(
            ConfigurationError, match=r"tx\.handled\(\) is for handlers of events whose subscriber has an"
        ):
            async with database.transaction() as tx:
                await tx.handled()

    async def test_purge_removes_what_is_older_than_the_retention(self, inbox: Inbox, database: StoreDatabase) -> None:
        """Old rows go a few at a time, the oldest first; what is younger than the retention stays."""
        for number in range(6):
            await _handle(database, str(number), "x")
        async with database.transaction() as tx:
            await tx.execute(
                "UPDATE carrick_inbox SET handled_at = handled_at - 3700 - CAST(event_id AS INTEGER) "
                "WHERE event_id < '4'"
            )
            await tx.execute("UPDATE carrick_inbox SET handled_at = handled_at - 3500 WHERE event_id = '4'")
        assert await inbox.purge(most=3) == 3
        assert [number for number in range(6) if await inbox.holds("c", str(number))] == [0, 4, 5]
        assert [await inbox.purge(most=3) for _ in range(2)] == [1, 0]
        assert [number for number in range(6) if await inbox.holds("c", str(number))] == [4, 5]

    async def test_many_are_received_at_once(self, inbox: Inbox, database: StoreDatabase) -> None:
        """Those that had no effect before are told; what is rolled back was not received."""
        await _handle(database, "2", "two")
        async with database.transaction() as tx:
            assert await inbox.receive(tx, "c", ["3", "1", "2", "é"]) == {"1", "3", "é"}
            assert await inbox.receive(tx, "c", ["1"]) == frozenset()
            assert await inbox.receive(tx, "d", ["1"]) == {"1"}
        assert await inbox.holds("c", "1")
        with pytest.raises(KeyError):
            async with database.transaction() as tx:
                assert await inbox.receive(tx, "c", ["4"]) == {"4"}
                raise KeyError
        assert not await inbox.holds("c", "4")

    async def test_who_consumes_no_longer_has_no_effect(self, inbox: Inbox, database: StoreDatabase) -> None:
        """Once another process has a partition, its former owner commits nothing that had no effect before."""
        parking = Parking(database)
        old, _ = await parking.begin("c", "S", 3)
        await _handle(database, "1", "one", tenure=old)
        await parking.begin("c", "S", 3)
        await parking.begin("d", "S", 3)
        with pytest.raises(DuplicateEventError):
            await _handle(database, "1", "again", tenure=old)
        with pytest.raises(StoreError, match="consumed by another process now") as raised:
            await _handle(database, "2", "two", tenure=old)
        assert raised.value.code is Code.ABORTED
        with pytest.raises(StoreError, match="consumed by another process now"):
            async with database.transaction() as tx:
                await inbox.receive(tx, "c", ["3"], [old])
        async with database.transaction() as tx:
            assert await inbox.receive(tx, "c", ["1"], [old]) == frozenset()
        assert await _effects(database) == ["one"]
        assert not await inbox.holds("c", "3")
        new, _ = await parking.begin("c", "S", 3)
        await _handle(database, "2", "two", tenure=new)
        async with database.transaction() as tx:
            assert await inbox.receive(tx, "c", ["3"], [new]) == {"3"}
