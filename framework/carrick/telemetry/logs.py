"""Log lines with the correlation id of what is being handled, for people or for machines."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from carrick.context import current

__all__ = ["JsonFormatter", "WithCorrelation", "configure_logs"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "correlation_id",
    "trace_id",
    "service",
}


class WithCorrelation(logging.Filter):
    """Puts ``correlation_id``, ``trace_id`` and ``service`` on each record, whichever library wrote it."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, with the ids."""
        ctx = current()
        record.service = self._service
        record.correlation_id = ctx.correlation_id if ctx else "-"
        record.trace_id = ctx.trace.trace_id if ctx and ctx.trace else "-"
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, service, logger, message, ids, and what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. What JSON does not know is written as text."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": getattr(record, "service", "-"),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("correlation_id", "trace_id"):
            if (value := getattr(record, name, "-")) != "-":
                line[name] = value
        line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return json.dumps(line, default=str, allow_nan=False)
        except (TypeError, ValueError):  # a key that is no text, a circle, NaN
            return json.dumps({name: str(value) for name, value in line.items()})


_TEXT = "%(asctime)s %(levelname)-7s %(service)s %(name)s [%(correlation_id)s] %(message)s"


def configure_logs(service: str, *, level: str = "INFO", form: Literal["json", "text"] = "json") -> None:
    """Send all logs of this process to standard error, in one of two forms. Replaces what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(WithCorrelation(service))
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
