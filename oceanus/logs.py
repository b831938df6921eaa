"""The diagnostic log of every process: lines for people, or JSON that Cloud Logging reads, on stderr.

Cloud Logging takes severity, time, labels and the place in the code out of a line of JSON by their names:
cloud.google.com/logging/docs/structured-logging#special-payload-fields
"""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from oceanus.settings import LogSettings, ignored
from oceanus.visible import escaped

log = logging.getLogger(__name__)

SERVER = "gunicorn.error"  # which has a handler and a form of its own, and says much that is no error


def start(process: str, settings: LogSettings) -> None:
    """Send the log to stderr in the format asked for, and name variables that mean nothing any more.

    In JSON also what ends the process or a thread by surprise: a traceback of thirty lines would be thirty entries.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(process) if settings.format == "json" else Text())
    logging.basicConfig(level=settings.level, handlers=[handler], force=True)
    logging.getLogger(SERVER).handlers.clear()
    logging.getLogger(SERVER).propagate = True
    if settings.format == "json":
        sys.excepthook = _tell_end
        threading.excepthook = _tell_thread
    names = ignored()
    if names:
        log.warning("set, but without meaning any more: %s", ", ".join(names))


class Text(logging.Formatter):
    """A line for people; only a traceback has more."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        record.message = escaped(record.message)
        return super().formatMessage(record)


class Json(logging.Formatter):
    """One JSON object a line, with the names that Cloud Logging reads; Python's levels are its severities."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "message": self._message(record),
            "logging.googleapis.com/labels": {
                "process": self._process,
                "logger": record.name,
                "pid": str(record.process),
            },
            "logging.googleapis.com/sourceLocation": {
                "file": record.pathname,
                "line": str(record.lineno),
                "function": record.funcName,
            },
        }
        return json.dumps(line, ensure_ascii=False)

    def _message(self, record: logging.LogRecord) -> str:
        told = escaped(record.getMessage())
        return f"{told}\n{self.formatException(record.exc_info)}" if record.exc_info else told


def _tell_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("ended by a surprise: %s", error, exc_info=(kind, error, trace))


def _tell_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        _tell_end(ended.exc_type, ended.exc_value, ended.exc_traceback)
