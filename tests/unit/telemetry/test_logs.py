"""Log lines: whichever library writes them, they carry the ids of what is being handled."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from carrick import Context, Trace
from carrick.context import enter
from carrick.telemetry.logs import JsonFormatter, configure_logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(form: Literal["json", "text"], write: logging.Logger) -> str:
    """Configure logs, write one line as a library would, and return it."""
    configure_logs("orders", form=form)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(output := io.StringIO())
    write.info("paid %s", "in full", extra={"cents": 350})
    return output.getvalue()


def test_a_json_line_has_the_ids_and_the_extras() -> None:
    """A third party's logger, inside a call: correlation id, trace id, service, message, extra fields."""
    trace = Trace("a" * 32, "b" * 16, sampled=True)
    with enter(Context(None, correlation_id="find-me", trace=trace)):
        line = json.loads(logged("json", logging.getLogger("somebody.elses")))
    assert line["correlation_id"] == "find-me"
    assert line["trace_id"] == "a" * 32
    assert line["service"] == "orders"
    assert line["logger"] == "somebody.elses"
    assert line["message"] == "paid in full"
    assert line["cents"] == 350


def test_a_json_line_outside_of_a_call_has_no_ids() -> None:
    """What belongs to no call claims none."""
    line = json.loads(logged("json", logging.getLogger("a")))
    assert "correlation_id" not in line
    assert "trace_id" not in line


def test_a_text_line_has_the_correlation_id() -> None:
    """The form for people has it too."""
    with enter(Context(None, correlation_id="find-me")):
        line = logged("text", logging.getLogger("a"))
    assert "[find-me] paid in full" in line


def test_an_exception_is_in_the_json_line() -> None:
    """A traceback is a field, not lines of its own."""
    configure_logs("orders")
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(output := io.StringIO())
    try:
        raise ValueError("swordfish")
    except ValueError:
        logging.getLogger("a").exception("failed")
    assert output.getvalue().count("\n") == 1
    assert "swordfish" in json.loads(output.getvalue())["exception"]


def _circle() -> dict[str, object]:
    circle: dict[str, object] = {}
    circle["self"] = circle
    return circle


@pytest.mark.parametrize("value", [float("nan"), {(1, 2): 3}, {"deep": [float("inf")]}, _circle(), b"bytes", object()])
def test_every_json_line_is_valid_json(value: object) -> None:
    """What JSON has no form for is written as text: no line is lost and none can't be read."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    record = logging.makeLogRecord({"msg": "paid", "name": "a", "levelname": "INFO", "what": value})
    line = json.loads(JsonFormatter().format(record), parse_constant=refuse)

    assert line["message"] == "paid"
    assert "what" in line


def test_a_message_of_several_lines_is_one_json_line() -> None:
    """Nobody can forge a log line by putting a newline into a name."""
    record = logging.makeLogRecord({"msg": 'one\n{"level": "ERROR"}\u2028two'})

    assert len(JsonFormatter().format(record).splitlines()) == 1
