"""Dead letters: the message as it was, with the reason, stored once."""

import pytest

from carrick.errors import MessagingError
from carrick.messaging import DeadLetters, Delivery, Message
from carrick.testing import MemoryBroker


async def _delivery(broker: MemoryBroker, **headers: str) -> Delivery:
    await broker.ensure_stream("ORDERS", ["orders.>"])
    await broker.publish(Message(stream="ORDERS", subject="orders.a.p00", id="1", data=b"\x00\xff", headers=headers))
    consumer = await broker.consume("ORDERS", "c", ["orders.>"], ack_wait=30, max_in_flight=1)
    (delivery,) = await consumer.fetch(1, 1.0)
    return delivery


async def test_a_dead_letter_has_the_message_and_the_reason(memory_broker: MemoryBroker) -> None:
    """Bytes and headers are the message's; where it came from and why stands beside them; the broker's own go."""
    delivery = await _delivery(memory_broker, **{"X-Tenant": "acme", "Nats-Expected-Stream": "ORDERS"})
    await DeadLetters(memory_broker).put("stock", delivery, "no such\n  order")
    (dead,) = memory_broker.messages("DEADLETTERS")
    assert (dead.subject, dead.data) == ("deadletter.stock.orders.a.p00", b"\x00\xff")
    assert dead.headers == {
        "X-Tenant": "acme",
        "Carrick-Reason": "no such order",
        "Carrick-Consumer": "stock",
        "Carrick-Stream": "ORDERS",
        "Carrick-Sequence": "1",
        "Carrick-Subject": "orders.a.p00",
        "Carrick-Deliveries": "1",
        "Carrick-Attempts": "0",
    }


async def test_it_is_stored_once_for_each_consumer(memory_broker: MemoryBroker) -> None:
    """A repeat after a lost acknowledgement stores nothing; another consumer's dead letter is another."""
    delivery = await _delivery(memory_broker)
    for consumer in ("stock", "stock", "audit"):
        await DeadLetters(memory_broker).put(consumer, delivery, "reason")
    subjects = [dead.subject for dead in memory_broker.messages("DEADLETTERS")]
    assert subjects == ["deadletter.stock.orders.a.p00", "deadletter.audit.orders.a.p00"]


async def test_a_long_reason_is_cut(memory_broker: MemoryBroker) -> None:
    """Whatever an error says, the message fits."""
    await DeadLetters(memory_broker).put("stock", await _delivery(memory_broker), "x" * 100_000)
    assert memory_broker.messages("DEADLETTERS")[0].headers["Carrick-Reason"] == "x" * 1024


async def test_an_outage_raises(memory_broker: MemoryBroker) -> None:
    """Who could not put it aside must know, so as to keep the message."""
    delivery = await _delivery(memory_broker)
    memory_broker.available = False
    dead_letters = DeadLetters(memory_broker)
    with pytest.raises(MessagingError):
        await dead_letters.put("stock", delivery, "reason")
    memory_broker.available = True
    await dead_letters.put("stock", delivery, "reason")
    assert len(memory_broker.messages("DEADLETTERS")) == 1


async def test_a_stream_that_went_is_made_again(memory_broker: MemoryBroker) -> None:
    """A broker that lost the dead letters takes new ones after one failure."""
    delivery = await _delivery(memory_broker)
    dead_letters = DeadLetters(memory_broker)
    await dead_letters.put("stock", delivery, "reason")
    del memory_broker._streams["DEADLETTERS"]
    with pytest.raises(MessagingError):
        await dead_letters.put("stock", delivery, "reason")
    await dead_letters.put("stock", delivery, "reason")
    assert len(memory_broker.messages("DEADLETTERS")) == 1


async def test_names_that_are_no_header_names_are_mended(memory_broker: MemoryBroker) -> None:
    """What a foreign publisher may send and nats-py would not must not keep the message from being put aside."""
    delivery = await _delivery(memory_broker, **{"we(ird": "1", "sp ace": "2", "ü": "3"})
    await DeadLetters(memory_broker).put("stock", delivery, "reason")
    headers = memory_broker.messages("DEADLETTERS")[0].headers
    assert {name: headers[name] for name in ("we_ird", "sp_ace", "_")} == {"we_ird": "1", "sp_ace": "2", "_": "3"}
