"""What is special to NATS: waiting for the server, outages, and what nats-py would do by itself."""

import asyncio
import logging
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext

from carrick.errors import Code, ConfigurationError, MessagingError
from carrick.ids import random_id
from carrick.messaging import DeadLetters, Holding, Message
from carrick.messaging.nats import NatsBroker
from carrick.testing import NatsServer
from tests.older import NATS_SERVER
from tests.unit.testing.programs import until


@asynccontextmanager
async def _jetstream(url: str) -> AsyncIterator[JetStreamContext]:
    """Speak to the server without Carrick."""
    client = await nats.connect(url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def _stored(url: str, stream: str) -> list[bytes]:
    async with _jetstream(url) as jetstream:
        state = (await jetstream.stream_info(stream)).state
        found = [await jetstream.get_msg(stream, number) for number in range(state.first_seq, state.last_seq + 1)]
    return [message.data or b"" for message in found]


def _message(number: int, *, stream: str = "ORDERS", headers: dict[str, str] | None = None) -> Message:
    return Message(
        stream=stream,
        subject=f"{stream.lower()}.a.p00",
        id=str(number),
        data=str(number).encode(),
        headers=headers or {},
    )


def _large(number: int) -> Message:
    return replace(_message(number), data=b"x" * 800_000)


async def _publish_when_back(broker: NatsBroker, message: Message) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await broker.publish(message)
            except MessagingError:
                await asyncio.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


async def test_a_server_that_does_not_come_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """After the start-up time the error names host and port and the time, and never the credentials."""
    port = _free_port()
    broker = NatsBroker(f"nats://user:secret@127.0.0.1:{port}", name="t", startup_timeout=0.4)
    with pytest.raises(MessagingError) as caught:
        await broker.open()
    assert str(caught.value) == f"UNAVAILABLE: no NATS server at 127.0.0.1:{port} within 0.4 s"
    assert f"waiting for NATS at 127.0.0.1:{port}" in caplog.text
    assert "secret" not in caplog.text


async def test_a_server_that_comes_late_is_waited_for(nats_server: NatsServer) -> None:
    """Services and broker may start in any order."""
    nats_server.stop()
    broker = NatsBroker(nats_server.url, name="t")
    opening = asyncio.create_task(broker.open())
    await asyncio.sleep(0.3)
    assert not opening.done()
    nats_server.start()
    await opening
    await broker.ensure_stream("ORDERS", ["orders.>"])
    await broker.close()


async def test_cancelling_the_wait_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """A stop during the start-up wait is no error and leaves nothing running."""
    before = asyncio.all_tasks()
    broker = NatsBroker(f"nats://127.0.0.1:{_free_port()}", name="t")
    opening = asyncio.create_task(broker.open())
    await until(lambda: "waiting for NATS" in caplog.text)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("url", ["", "127.0.0.1:4222", "http://127.0.0.1:4222", "nats://", "nats://user:secret@"])
def test_a_bad_url_is_refused(url: str) -> None:
    """A wrong URL is a wrong setting, told at construction without repeating what may be secret."""
    with pytest.raises(ConfigurationError, match=r"the NATS URL must look like nats://127\.0\.0\.1:4222") as caught:
        NatsBroker(url, name="t")
    assert "secret" not in str(caught.value)


async def test_a_broker_that_is_not_open_says_so() -> None:
    """Using it before opening or after closing is a mistake with an explanation."""
    broker = NatsBroker("nats://127.0.0.1:4222", name="t")
    with pytest.raises(MessagingError, match="the connection to NATS is not open") as caught:
        await broker.publish(_message(1))
    assert caught.value.code is Code.FAILED_PRECONDITION
    await broker.close()


async def test_a_failed_publish_is_not_stored_later(nats_server: NatsServer) -> None:
    """nats-py would keep what is published during an outage and send it afterwards, behind the caller's back."""
    async with NatsBroker(nats_server.url, name="t", publish_timeout=0.5) as broker:
        await broker.ensure_stream("ORDERS", ["orders.>"])
        await broker.publish(_message(1))
        nats_server.kill()
        for number in (2, 3, 4):
            with pytest.raises(MessagingError):
                await broker.publish(_message(number))
        nats_server.start()
        await _publish_when_back(broker, _message(5))
        await asyncio.sleep(0.1)
    assert await _stored(nats_server.url, "ORDERS") == [b"1", b"5"]


async def test_the_connection_comes_back_after_any_number_of_restarts(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One object serves on through outages; each is logged when it begins and when it ends."""
    async with NatsBroker(nats_server.url, name="t", publish_timeout=0.5) as broker:
        await broker.ensure_stream("ORDERS", ["orders.>"])
        for number in range(3):
            await _publish_when_back(broker, _message(number))
            nats_server.stop()
            nats_server.start()
        await _publish_when_back(broker, _message(3))
    assert await _stored(nats_server.url, "ORDERS") == [b"0", b"1", b"2", b"3"]
    assert caplog.text.count("is gone") >= 3
    assert caplog.text.count("is back") >= 3


async def test_a_frozen_server_is_a_timeout(nats_server: NatsServer) -> None:
    """A server that is there and does not answer raises after the publish timeout; a repeat is stored once."""
    async with NatsBroker(nats_server.url, name="t", publish_timeout=0.3) as broker:
        await broker.ensure_stream("ORDERS", ["orders.>"])
        nats_server.freeze()
        with pytest.raises(MessagingError, match=r"publish to orders\.a\.p00: TimeoutError"):
            await broker.publish(_message(1))
        nats_server.thaw()
        await _publish_when_back(broker, _message(1))
    assert await _stored(nats_server.url, "ORDERS") == [b"1"]


async def test_what_a_frozen_server_did_not_read_is_not_stored_later(nats_server: NatsServer) -> None:
    """More than a socket takes is left in nats-py, which would send it first when the server is back."""
    async with NatsBroker(nats_server.url, name="t", publish_timeout=0.3) as broker:
        await broker.ensure_stream("ORDERS", ["orders.>"])
        nats_server.freeze()
        for first in (0, 10, 20):
            with pytest.raises(MessagingError, match="TimeoutError"):
                await broker.append([_large(first + number) for number in range(10)], {"orders.a.p00": 0})
        nats_server.kill()
        await until(lambda: _is_away(broker))
        nats_server.start()
        await until(lambda: _is_back(broker))
        await asyncio.sleep(0.5)
        assert await broker.last("ORDERS", "orders.a.p00") == 0
        messages = [_message(number) for number in range(10)]
        assert await broker.append(messages, {"orders.a.p00": 0}) == {"orders.a.p00": 10}


async def test_tries_to_a_frozen_server_do_not_fill_the_memory(nats_server: NatsServer) -> None:
    """What nobody reads is not added to without end."""
    async with NatsBroker(nats_server.url, name="t", publish_timeout=0.1) as broker:
        await broker.ensure_stream("ORDERS", ["orders.>"])
        nats_server.freeze()
        said = set[str]()
        for first in range(0, 100, 10):
            with pytest.raises(MessagingError) as raised:
                await broker.append([_large(first + number) for number in range(10)], {"orders.a.p00": 0})
            said.add(raised.value.message)
        assert any("it reads no more" in each for each in said)
        assert broker._connection.client is not None
        assert broker._connection.client.pending_data_size < 45_000_000
        nats_server.thaw()


async def test_closing_is_quick_when_a_frozen_server_reads_no_more(nats_server: NatsServer) -> None:
    """nats-py would wait until it has sent everything."""
    broker = NatsBroker(nats_server.url, name="t", publish_timeout=0.3)
    await broker.open()
    await broker.ensure_stream("ORDERS", ["orders.>"])
    nats_server.freeze()
    for first in (0, 10):
        with pytest.raises(MessagingError, match="TimeoutError"):
            await broker.append([_large(first + number) for number in range(10)], {"orders.a.p00": 0})
    async with asyncio.timeout(10):
        await broker.close()
    nats_server.thaw()


async def test_closing_during_an_outage_is_quick_and_quiet(nats_server: NatsServer) -> None:
    """A service can be stopped while its broker is away."""
    broker = NatsBroker(nats_server.url, name="t")
    await broker.open()
    nats_server.kill()
    async with asyncio.timeout(10):
        await broker.close()
        await broker.close()
    with pytest.raises(MessagingError, match="not open"):
        await broker.publish(Message(stream="A", subject="a.b", id="1", data=b""))


async def test_streams_are_on_disk_and_remember_ids(nats_server: NatsServer) -> None:
    """What the framework creates has file storage, one copy unless told, and a window of two minutes."""
    async with NatsBroker(nats_server.url, name="t") as broker:
        await broker.ensure_stream("ORDERS", ["orders.>"])
    async with _jetstream(nats_server.url) as jetstream:
        config = (await jetstream.stream_info("ORDERS")).config
    assert (config.storage, config.num_replicas, config.duplicate_window) == ("file", 1, 120.0)


async def test_a_message_that_is_too_large_says_so(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """No repeat will help: the code is another one. Headers count; the connection that others use stays."""
    root = f"t{random_id()[:12]}"

    def message(size: int) -> Message:
        headers = {"ce-source": "ü" * 10}
        return Message(stream=root.upper(), subject=f"{root}.a.p00", id=str(size), data=b"x" * size, headers=headers)

    async with NatsBroker(nats_url, name="t") as broker:
        await broker.ensure_stream(root.upper(), [f"{root}.>"])
        for size in (2**21, 2**20, 2**20 - 100):
            with pytest.raises(MessagingError, match="larger than the server's max_payload") as caught:
                await broker.publish(message(size))
            assert caught.value.code is Code.INVALID_ARGUMENT
        await broker.publish(message(2**20 - 300))
    assert "is gone" not in caplog.text


async def test_a_consumer_takes_on_new_filters(nats_url: str) -> None:
    """A release that handles one more event gets it, from the stream's beginning, in the place it has."""
    root = f"t{random_id()[:12]}"
    async with NatsBroker(nats_url, name="t") as broker:
        await broker.ensure_stream(root.upper(), [f"{root}.>"])
        old = await broker.consume(root.upper(), "c", [f"{root}.a.*"], ack_wait=5, max_in_flight=1)
        await old.close()
        new = await broker.consume(root.upper(), "c", [f"{root}.a.*", f"{root}.b.*"], ack_wait=9, max_in_flight=1)
        await broker.publish(Message(stream=root.upper(), subject=f"{root}.b.p00", id="1", data=b"1"))
        assert [delivery.data for delivery in await new.fetch(1, 5.0)] == [b"1"]


async def test_headers_that_nats_py_would_not_send_are_put_aside_all_the_same(nats_url: str) -> None:
    """A dead letter of a message with header names that only others can write is stored, its good headers kept."""
    root = f"t{random_id()[:12]}"
    async with NatsBroker(nats_url, name="t") as broker:
        await broker.ensure_stream(root.upper(), [f"{root}.>"])
        await _raw_publish(nats_url, f"{root}.a.p00", b"we(ird: 1\r\ngood: 2\r\nvalue: \xff\x00\x1b\r\n", b"data")
        consumer = await broker.consume(root.upper(), root, [f"{root}.>"], ack_wait=5, max_in_flight=1)
        (delivery,) = await consumer.fetch(1, 5.0)
        await DeadLetters(broker).put(root, delivery, "no\r\nreason \x00 ü")
        dead = await broker.consume("DEADLETTERS", root, [f"deadletter.{root}.>"], ack_wait=5, max_in_flight=1)
        (letter,) = await dead.fetch(1, 5.0)
    assert letter.data == b"data"
    assert letter.headers["good"] == "2"
    assert letter.headers["Carrick-Reason"].startswith("no reason")
    assert letter.subject == f"deadletter.{root}.{root}.a.p00"


async def _raw_publish(url: str, subject: str, headers: bytes, data: bytes) -> None:
    """Publish with header lines that no client library would send."""
    host, _, port = url.removeprefix("nats://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    block = b"NATS/1.0\r\n" + headers + b"\r\n"
    writer.write(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
    writer.write(f"HPUB {subject} {len(block)} {len(block) + len(data)}\r\n".encode() + block + data + b"\r\nPING\r\n")
    async with asyncio.timeout(10):
        while not (await reader.readline()).startswith(b"PONG"):
            pass
    writer.close()
    await writer.wait_closed()


async def test_fetching_from_a_consumer_that_is_gone_raises(nats_url: str) -> None:
    """A consumer that somebody deleted is told apart from one without messages."""
    root = f"t{random_id()[:12]}"
    async with NatsBroker(nats_url, name="t") as broker, _jetstream(nats_url) as jetstream:
        await broker.ensure_stream(root.upper(), [f"{root}.>"])
        consumer = await broker.consume(root.upper(), "c", [f"{root}.>"], ack_wait=5, max_in_flight=1)
        await jetstream.delete_consumer(root.upper(), "c")
        with pytest.raises(MessagingError):
            await consumer.fetch(1, 0.5)


async def test_nothing_of_nats_py_is_logged_as_an_error(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Outages are warnings in our own words, without tracebacks."""
    async with NatsBroker(nats_server.url, name="t", publish_timeout=0.3) as broker:
        nats_server.kill()
        with pytest.raises(MessagingError):
            await broker.publish(_message(1))
    assert max(record.levelno for record in caplog.records) <= logging.WARNING
    assert "Traceback" not in caplog.text


async def test_a_server_without_its_store_is_filled_anew(nats_server: NatsServer, tmp_path: Path) -> None:
    """Streams are created again on a server that came back empty: asking for them is all it takes."""
    async with NatsBroker(nats_server.url, name="t", publish_timeout=0.5) as broker:
        await broker.ensure_stream("ORDERS", ["orders.>"])
        nats_server.kill()
        shutil.rmtree(tmp_path / "nats" / "jetstream")
        nats_server.start()
        with pytest.raises(MessagingError):
            await broker.publish(_message(1))
        async with asyncio.timeout(20):
            while True:
                try:
                    await broker.ensure_stream("ORDERS", ["orders.>"])
                    break
                except MessagingError:
                    await asyncio.sleep(0.02)
        await broker.publish(_message(1))
    assert await _stored(nats_server.url, "ORDERS") == [b"1"]


async def test_a_client_that_was_closed_for_good_is_replaced(nats_server: NatsServer) -> None:
    """Some errors of a server end nats-py's client: the broker opens another, one, however long it takes."""
    async with NatsBroker(nats_server.url, name="t", startup_timeout=0.3) as broker:
        await broker.ensure_stream("REOPENED", ["reopened.>"])
        ended = broker._connection.client
        assert ended is not None
        nats_server.stop()
        await ended.close()  # as nats-py does by itself after such an error
        await asyncio.sleep(1.0)  # several tries fail
        nats_server.start()
        async with asyncio.timeout(10):
            while broker._connection.client is ended:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.05)
        await broker.publish(Message(stream="REOPENED", subject="reopened.a", id="1", data=b""))
        tries = [task for task in asyncio.all_tasks() if "_reopen" in repr(task.get_coro())]
    assert tries == []


async def test_what_a_stream_removes_is_told(nats_url: str) -> None:
    """Limits of age and number, and retention by interest, each in the framework's words."""
    name = f"L{random_id()[:12]}"
    async with _jetstream(nats_url) as jetstream, NatsBroker(nats_url, name="test") as broker:
        kinds: dict[str, tuple[dict[str, Any], Holding]] = {
            "AGE": ({"max_age": 60.0}, Holding(messages=0, max_age=60.0, limited=True)),
            "NUMBER": ({"max_msgs": 5}, Holding(messages=0, limited=True)),
            "SUBJECT": ({"max_msgs_per_subject": 5}, Holding(messages=0, limited=True)),
            "FULL": ({"max_msgs": 5, "discard": "new"}, Holding(messages=0)),
            "QUEUE": ({"retention": "workqueue"}, Holding(messages=0, consuming=True)),
        }
        for kind, (config, expected) in kinds.items():
            await jetstream.add_stream(name=f"{name}{kind}", subjects=[f"{name}{kind}.>"], **config)
            assert await broker.holding(f"{name}{kind}") == expected
        for _ in range(7):
            await jetstream.publish(f"{name}NUMBER.a", b"")
        assert await broker.holding(f"{name}NUMBER") == Holding(messages=5, limited=True, removed=True)


async def test_reading_ids_leaves_no_consumers(nats_url: str) -> None:
    """A consumer that reads many at once is removed; where none may be made, messages are asked for one by one."""
    name = f"C{random_id()[:12]}"
    async with _jetstream(nats_url) as jetstream, NatsBroker(nats_url, name="test") as broker:
        await jetstream.add_stream(name=name, subjects=[f"{name}.>"], max_consumers=1)
        for number in range(30):
            await jetstream.publish(f"{name}.a", b"x", headers={"Nats-Msg-Id": str(number)})
        expected = [str(number) for number in range(30)]
        assert [each.id for each in await broker.stored_after(name, f"{name}.a", 0, 100)] == expected
        assert await jetstream.consumers_info(name) == []
        await broker.consume(name, "other", [f"{name}.>"], ack_wait=1.0, max_in_flight=1)
        assert [each.id for each in await broker.stored_after(name, f"{name}.a", 0, 100)] == expected


@pytest.mark.parametrize("count", [1, 60])
async def test_a_subject_that_the_user_must_not_publish_to_is_refused(tmp_path: Path, count: int) -> None:
    """At once and for good; the server only says so on the connection. Others can be published to."""
    denied = (
        'authorization { users: [ {user: a, password: b, permissions: { publish: { deny: "orders.secret.>" } } } ] }'
    )
    with NatsServer(tmp_path, config=denied) as server:
        url = server.url.replace("nats://", "nats://a:b@")
        async with NatsBroker(url, name="t", publish_timeout=30.0) as broker:
            await broker.ensure_stream("ORDERS", ["orders.>"])
            for branch in ("secret", "open"):
                subject = f"orders.{branch}.p00"
                messages = [
                    Message(stream="ORDERS", subject=subject, id=f"{branch}{each}", data=b"") for each in range(count)
                ]
                if branch == "secret":
                    with pytest.raises(MessagingError, match="does not let this user publish") as raised:
                        await broker.append(messages, {subject: 0})
                    assert raised.value.code is Code.PERMISSION_DENIED
                else:
                    assert await broker.append(messages, {subject: 0}) == {subject: count}


async def test_a_batch_is_not_sent_to_a_server_that_became_an_older_one(
    nats_server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would take each message of a batch for one by itself, and refuse a late one's first message only."""
    messages = [_message(number) for number in range(10)]
    subject = messages[0].subject
    async with NatsBroker(nats_server.url, name="t", publish_timeout=0.5) as broker:
        await broker.ensure_stream("ORDERS", ["orders.>"])
        assert await broker.append(messages, {subject: 0}) == {subject: 10}
        assert "no atomic batches" not in caplog.text
        nats_server.kill()
        older = NatsServer(tmp_path / "older", binary=NATS_SERVER)
        older.port = nats_server.port
        with older:
            await until(lambda: _is_back(broker))
            async with _jetstream(older.url) as jetstream:
                await jetstream.add_stream(name="ORDERS", subjects=["orders.>"])
            assert await broker.append(messages, {subject: 0}) == {subject: 10}
            assert "no atomic batches" in caplog.text
            with pytest.raises(MessagingError, match="wrong last sequence"):
                await broker.append([_message(number) for number in range(100, 110)], {subject: 0})
            assert await _stored(older.url, "ORDERS") == [b"%d" % number for number in range(10)]


async def _is_away(broker: NatsBroker) -> bool:
    return not await _is_back(broker)


async def _is_back(broker: NatsBroker) -> bool:
    try:
        await broker.holding("ORDERS")
    except MessagingError:
        return False
    return True


@pytest.mark.parametrize("count", [1, 10])
async def test_headers_that_can_not_be_sent_are_refused_for_good(nats_url: str, count: int) -> None:
    """A relay puts such an event aside, and does not try for ever."""
    stream = f"T{random_id()[:12]}".upper()
    messages = [_message(number, stream=stream, headers={"a b": "1"}) for number in range(count)]
    async with NatsBroker(nats_url, name="t") as broker:
        await broker.ensure_stream(stream, [f"{stream.lower()}.>"])
        with pytest.raises(MessagingError) as raised:
            await broker.append(messages, {messages[0].subject: 0})
        assert raised.value.code is Code.INVALID_ARGUMENT
        assert await broker.last(stream, messages[0].subject) == 0
