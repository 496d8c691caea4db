"""Idempotency records: a key is executed once, by whoever holds its claim when it commits."""

# ruff: noqa: PT012, S608  # what raises is the end of a block; its own words only

import asyncio
import contextvars
from contextlib import suppress

import pytest
import pytest_asyncio
from google.protobuf.wrappers_pb2 import StringValue

from carrick import status, store
from carrick.claim import Claim, Claimed, InFlight, Mismatch, Refusal, Replay
from carrick.context import Call, Context, enter
from carrick.errors import CarrickError, Code, StoreError
from carrick.method import MethodSpec
from carrick.options import IdempotencyOptions, KeyRule, MethodPolicy
from carrick.store import IdempotencyRecords, Sql
from carrick.testing.contracts.site import StoreDatabase, StoreSite
from carrick.testing.contracts.tables import FrameworkTables

__all__ = ["IdempotencyContract"]

PLACE_ORDER = MethodSpec(
    service="carrick.testing.v1.Orders",
    name="PlaceOrder",
    request=StringValue,
    response=StringValue,
    policy=MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.REQUIRED, expiry=86_400.0)),
)
OTHER = MethodSpec(
    service="carrick.testing.v1.Orders",
    name="PlaceOther",
    request=StringValue,
    response=StringValue,
    policy=MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.OPTIONAL)),
)
_LEFT = Sql.template("SELECT expires_at - {now} AS remaining FROM carrick_idempotency")
REFUSED = CarrickError(Code.FAILED_PRECONDITION, "sold out")
STATUS = status.encoded(REFUSED.code, REFUSED.message)


async def _claim(records: IdempotencyRecords, key: str = "k", fingerprint: bytes = b"f", lease: float = 30.0) -> Claim:
    outcome = await records.claim(PLACE_ORDER, key, fingerprint, lease)
    assert isinstance(outcome, Claimed), outcome
    return outcome.claim


async def _fulfil(database: StoreDatabase, claim: Claim | None, note: str) -> StringValue:
    """Do what a handler does: an effect and the reply in one transaction."""
    call = Call()
    call.claim = claim
    with enter(Context(PLACE_ORDER, call=call)):
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:note)", {"note": note})
            return await tx.reply(StringValue(value=note))


async def _effects(database: StoreDatabase) -> list[str]:
    async with database.read() as tx:
        return [row.note for row in (await tx.execute("SELECT note FROM effects")).all()]


async def _set(database: StoreDatabase, column: str, moment: str = "1.0") -> None:
    """Move a moment of every record, into the past unless told, as the passing of time would."""
    async with database.transaction() as tx:
        await tx.execute(f"UPDATE carrick_idempotency SET {column} = {moment}")


async def _refuse(database: StoreDatabase, claim: Claim | None, note: str, error: CarrickError = REFUSED) -> None:
    """Do what a handler does whose refusal has an effect."""
    call = Call()
    call.claim = claim
    with enter(Context(PLACE_ORDER, call=call)):
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:note)", {"note": note})
            await tx.refuse(error)


async def _left(database: StoreDatabase) -> float:
    """Return how long the one record is kept."""
    async with database.read() as tx:
        rows = await tx.execute(_LEFT.of(tx.dialect))
        return float(rows.scalar_one())


@pytest.mark.asyncio
class IdempotencyContract(FrameworkTables):
    """A key is executed once, by whoever holds its claim when it commits."""

    @pytest_asyncio.fixture
    async def records(self, database: StoreDatabase) -> IdempotencyRecords:
        """Records in a database that has a table of effects."""
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE effects (note TEXT)")
        return IdempotencyRecords(database)

    async def test_a_fulfilled_claim_is_replayed(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """The second call with a key gets the first one's reply, byte for byte."""
        claim = await _claim(records)
        before = claim.fulfilled
        reply = await _fulfil(database, claim, "one")
        assert (before, claim.fulfilled) == (False, True)
        assert await records.claim(PLACE_ORDER, "k", b"f", 30.0) == Replay(reply.SerializeToString())

    async def test_an_empty_reply_is_a_reply(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """A reply of no bytes is not taken for a missing one."""
        await _fulfil(database, await _claim(records), "")
        assert await records.claim(PLACE_ORDER, "k", b"f", 30.0) == Replay(b"")

    async def test_a_held_key_is_in_flight(self, records: IdempotencyRecords) -> None:
        """While somebody executes, others hear for how long at most."""
        await _claim(records, lease=30.0)
        outcome = await records.claim(PLACE_ORDER, "k", b"f", 30.0)
        assert isinstance(outcome, InFlight)
        assert 0 < outcome.remaining <= 30.0

    async def test_of_many_claims_at_once_one_wins(self, records: IdempotencyRecords) -> None:
        """However many ask at the same time, one executes."""
        outcomes = await asyncio.gather(*(records.claim(PLACE_ORDER, "k", b"f", 30.0) for _ in range(20)))
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Claimed"] + ["InFlight"] * 19

    async def test_another_request_under_the_key_is_a_mismatch(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """A key belongs to one request: while it is executed, after it, and when its execution was lost."""
        claim = await _claim(records)
        assert await records.claim(PLACE_ORDER, "k", b"other", 30.0) == Mismatch()
        await _set(database, "lease_until")
        assert await records.claim(PLACE_ORDER, "k", b"other", 30.0) == Mismatch()
        await _fulfil(database, claim, "one")
        assert await records.claim(PLACE_ORDER, "k", b"other", 30.0) == Mismatch()

    async def test_keys_of_different_methods_are_different(self, records: IdempotencyRecords) -> None:
        """The same key may be used for each method."""
        await _claim(records)
        assert isinstance(await records.claim(OTHER, "k", b"other", 30.0), Claimed)

    async def test_a_lapsed_claim_is_taken_over(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """A claim whose holder died is somebody else's after its lease, under another token."""
        old = await _claim(records)
        await _set(database, "lease_until")
        new = await _claim(records)
        assert new.token != old.token
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), InFlight)

    async def test_a_claim_from_before_the_clock_was_set_back_is_taken_over(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """Its holder may be dead, and nobody waits hours for it. A step shorter than its lease changes nothing."""
        old = await _claim(records)
        await _set(database, "lease_until", "lease_until + 20")
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 1.0), InFlight)
        await _set(database, "lease_until", "lease_until + 3600")
        assert (await _claim(records)).token != old.token
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), InFlight)

    async def test_the_old_holder_of_a_claim_is_aborted(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """Who was believed dead and comes back loses its transaction, whether or not the new holder is done."""
        old = await _claim(records)
        await _set(database, "lease_until")
        new = await _claim(records)
        with pytest.raises(CarrickError, match="PlaceOrder: the claim on the idempotency key was taken over") as caught:
            await _fulfil(database, old, "old, before")
        assert caught.value.code is Code.ABORTED
        await _fulfil(database, new, "new")
        with pytest.raises(CarrickError, match="taken over"):
            await _fulfil(database, old, "old, after")
        assert await _effects(database) == ["new"]
        assert not old.fulfilled
        assert new.fulfilled

    async def test_a_late_holder_that_nobody_replaced_is_still_heard(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """A lease that ended without a successor costs nothing."""
        claim = await _claim(records)
        await _set(database, "lease_until")
        await _fulfil(database, claim, "late")
        assert await _effects(database) == ["late"]
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), Replay)

    async def test_a_claim_is_fulfilled_once(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """A second transaction under the same claim is undone."""
        claim = await _claim(records)
        await _fulfil(database, claim, "one")
        with pytest.raises(CarrickError, match="taken over"):
            await _fulfil(database, claim, "two")
        assert await _effects(database) == ["one"]

    async def test_a_rolled_back_transaction_fulfils_nothing(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """A reply is recorded if and only if its transaction commits."""
        claim = await _claim(records)
        call = Call()
        call.claim = claim
        with enter(Context(PLACE_ORDER, call=call)), pytest.raises(KeyError):
            async with database.transaction() as tx:
                await tx.reply(StringValue(value="one"))
                raise KeyError
        assert not claim.fulfilled
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), InFlight)

    async def test_a_reply_without_a_claim_is_just_returned(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """A method without key, and a call outside of any context, may end with ``tx.reply`` too."""
        assert (await _fulfil(database, None, "one")).value == "one"
        async with database.transaction() as tx:
            assert (await tx.reply(StringValue(value="two"))).value == "two"
        assert await _effects(database) == ["one"]

    async def test_a_released_key_is_free_at_once_for_its_request(self, records: IdempotencyRecords) -> None:
        """After a failure the caller may try again without waiting for the lease, and only with the same request."""
        await records.release(await _claim(records))
        assert await records.claim(PLACE_ORDER, "k", b"other", 30.0) == Mismatch()
        await _claim(records)

    async def test_release_needs_the_token(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """An old holder's release touches neither its successor's claim nor a reply."""
        old = await _claim(records)
        await _set(database, "lease_until")
        new = await _claim(records)
        await records.release(old)
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), InFlight)
        await _fulfil(database, new, "new")
        await records.release(new)
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), Replay)

    async def test_an_expired_record_is_forgotten(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """After the contract's expiry the key is new, for any request."""
        await _fulfil(database, await _claim(records), "one")
        await _set(database, "expires_at")
        await _fulfil(database, await _claim(records, fingerprint=b"other"), "two")
        assert await _effects(database) == ["one", "two"]

    async def test_the_contract_says_how_long_a_reply_is_kept(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """``expiry`` counts from the claim, by the database's clock."""
        await _claim(records)
        assert await _left(database) == pytest.approx(86_400.0, abs=60.0)

    async def test_purge_removes_what_is_expired_a_few_at_a_time(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """Each purge removes at most as many as told, and never what is still to be replayed."""
        for number in range(5):
            await _fulfil(database, await _claim(records, key=f"old {number}"), f"old {number}")
        await _set(database, "expires_at")
        await _fulfil(database, await _claim(records, key="kept"), "kept")
        assert [await records.purge(most=2) for _ in range(4)] == [2, 2, 1, 0]
        assert isinstance(await records.claim(PLACE_ORDER, "kept", b"f", 30.0), Replay)

    async def test_claims_outlive_the_process(self, store_site: StoreSite, database: StoreDatabase) -> None:
        """A reply is found by the next process that opens the database."""
        records = IdempotencyRecords(database)
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE effects (note TEXT)")
        await _fulfil(database, await _claim(records), "one")
        async with store_site.database(migrations=[store.MIGRATIONS]) as again:
            assert isinstance(await IdempotencyRecords(again).claim(PLACE_ORDER, "k", b"f", 30.0), Replay)

    async def test_a_claim_that_is_cancelled_is_given_back(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """Wherever a cancellation hits a claim, the key is free for the next try of the same request."""
        for turns in range(30):
            claiming = asyncio.create_task(records.claim(PLACE_ORDER, f"k{turns}", b"f", 1000.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            claiming.cancel()
            with suppress(asyncio.CancelledError):
                outcome = await claiming
                assert isinstance(outcome, Claimed)
                await records.release(outcome.claim)
            assert isinstance(await records.claim(PLACE_ORDER, f"k{turns}", b"f", 1000.0), Claimed)

    async def test_who_never_had_a_turn_does_not_queue_to_release(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """A claim cancelled behind a slow writer ends at once: under overload it must not make more work."""
        async with database.transaction():
            claim = records.claim(PLACE_ORDER, "k", b"f", 1000.0)
            claiming = asyncio.create_task(claim, context=contextvars.Context())  # another caller's
            for _ in range(20):
                await asyncio.sleep(0)
            claiming.cancel()
            async with asyncio.timeout(2):
                with suppress(asyncio.CancelledError):
                    await claiming
        assert claiming.cancelled()

    async def test_an_error_is_recorded_and_repeated(self, records: IdempotencyRecords) -> None:
        """The second call with a key gets the first one's status, byte for byte; another request is refused."""
        claim = await _claim(records)
        assert await records.refuse(claim, STATUS)
        assert not claim.fulfilled
        assert await records.claim(PLACE_ORDER, "k", b"f", 30.0) == Refusal(STATUS)
        assert await records.claim(PLACE_ORDER, "k", b"other", 30.0) == Mismatch()

    async def test_an_error_needs_the_token(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """Neither a successor's claim nor an answer is touched by an old holder's error."""
        old = await _claim(records)
        await _set(database, "lease_until")
        new = await _claim(records)
        assert not await records.refuse(old, STATUS)
        reply = await _fulfil(database, new, "new")
        assert not await records.refuse(old, STATUS)
        assert not await records.refuse(new, STATUS)
        assert await records.claim(PLACE_ORDER, "k", b"f", 30.0) == Replay(reply.SerializeToString())

    async def test_a_recorded_error_is_an_answer_like_a_reply(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """After it nothing is executed, released or renewed, however long ago the lease ended."""
        claim = await _claim(records)
        await records.refuse(claim, STATUS)
        with pytest.raises(CarrickError, match="taken over"):
            await _fulfil(database, claim, "late")
        await records.release(claim)
        assert not await records.renew(claim, 30.0)
        await _set(database, "lease_until")
        assert await records.claim(PLACE_ORDER, "k", b"f", 30.0) == Refusal(STATUS)
        assert await _effects(database) == []

    async def test_a_recorded_error_is_forgotten_when_it_expires(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """The key is then new, and has no answer."""
        await records.refuse(await _claim(records), STATUS)
        await _set(database, "expires_at")
        await _claim(records)
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), InFlight)

    async def test_a_refusal_is_committed_with_its_effect(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """What is to stay of a refused call and the error are there together, and the claim knows."""
        claim = await _claim(records)
        await _refuse(database, claim, "audit")
        assert claim.fulfilled
        assert claim.refusal is REFUSED
        assert await _effects(database) == ["audit"]
        assert await records.claim(PLACE_ORDER, "k", b"f", 30.0) == Refusal(STATUS)

    async def test_a_refusal_under_a_lost_claim_is_undone(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """As a reply is."""
        old = await _claim(records)
        await _set(database, "lease_until")
        await _claim(records)
        with pytest.raises(CarrickError, match="taken over"):
            await _refuse(database, old, "old")
        assert await _effects(database) == []
        assert not old.fulfilled

    async def test_a_refusal_raised_inside_the_block_is_undone(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """The block rolls back as ever: no effect, no record."""
        claim, call = await _claim(records), Call()
        call.claim = claim
        with enter(Context(PLACE_ORDER, call=call)), pytest.raises(CarrickError, match="sold out"):
            async with database.transaction() as tx:
                await tx.execute("INSERT INTO effects VALUES ('audit')")
                await tx.refuse(REFUSED)
                raise REFUSED
        assert not claim.fulfilled
        assert claim.refusal is None
        assert await _effects(database) == []
        assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), InFlight)

    async def test_a_refusal_without_a_claim_is_just_committed(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """A method without key may refuse in the same way."""
        await _refuse(database, None, "audit")
        assert await _effects(database) == ["audit"]

    async def test_a_refusal_is_the_handlers_own(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """What is sent as INTERNAL would be repeated as something else: it is no refusal."""
        with pytest.raises(
            TypeError, match=r"tx\.refuse\(\) is for an error of the handler's own, not for a StoreError"
        ):
            await _refuse(database, await _claim(records), "audit", StoreError(Code.UNAVAILABLE, "locked"))
        assert await _effects(database) == []

    async def test_a_renewed_claim_is_held(self, records: IdempotencyRecords, database: StoreDatabase) -> None:
        """A lease that had ended, and that nobody took, is held again; one that somebody took is not."""
        claim = await _claim(records)
        await _set(database, "lease_until")
        assert await records.renew(claim, 30.0)
        outcome = await records.claim(PLACE_ORDER, "k", b"f", 30.0)
        assert isinstance(outcome, InFlight)
        assert 0 < outcome.remaining <= 30.0
        await _set(database, "lease_until")
        await _claim(records)
        assert not await records.renew(claim, 30.0)

    async def test_a_record_does_not_expire_under_its_claim(
        self, records: IdempotencyRecords, database: StoreDatabase
    ) -> None:
        """An expiry shorter than a handler's work neither lets another execution begin nor a purge remove it."""
        quick = MethodSpec(
            service="carrick.testing.v1.Orders",
            name="Quick",
            request=StringValue,
            response=StringValue,
            policy=MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.OPTIONAL, expiry=0.001)),
        )
        outcome = await records.claim(quick, "k", b"f", 30.0)
        assert isinstance(outcome, Claimed)
        assert await _left(database) == pytest.approx(30.0, abs=10.0)
        assert await records.renew(outcome.claim, 300.0)
        assert await _left(database) == pytest.approx(300.0, abs=10.0)
        assert await records.renew(outcome.claim, 1.0)
        assert await _left(database) == pytest.approx(300.0, abs=10.0)
