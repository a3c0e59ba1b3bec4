"""Logging: structlog and the standard library through one handler, every line redacted at the very end."""

import logging
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from config.journal import SOCKET, JournalHandler, is_journal
from config.redaction import REDACTED, Redactor

__all__ = ["REDACTED", "Redactor", "configure", "get_logger", "set_level"]

LogFormat = Literal["auto", "console", "json", "journal"]

# At DEBUG or INFO they print addresses with their queries, request bodies or a line per tick.
_CHATTY = ("urllib3", "apscheduler", "alembic", "sqlalchemy", "selenium", "undetected_chromedriver")

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)
_OURS: tuple[Processor, ...] = (
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
)


def configure(
    level: str,
    format: LogFormat,  # noqa: A002 - named like the setting
    redactor: Redactor,
    stream: TextIO | None = None,
    journal: Path = SOCKET,
) -> None:
    """Send every record at `level` or above to `stream` (stderr), one line each, without secrets.

    Replaces all handlers of the root logger, catches warnings and uncaught exceptions of all threads,
    and keeps chatty libraries at WARNING. Calling it again starts over.
    """
    stream = sys.stderr if stream is None else stream
    as_json = format == "json" or (format == "auto" and not stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    handler: logging.Handler = logging.StreamHandler(stream)
    handler.setFormatter(_RedactingFormatter(redactor, as_json=as_json))
    if format == "journal" or (format == "auto" and is_journal(stream, journal)):
        handler = JournalHandler(redactor, handler, journal)
    handler.addFilter(_Level(number))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # else a record that cannot be formatted is printed raw, secrets included
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=list(_OURS),
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


class _Level(logging.Filter):
    """The usual level, and for a while perhaps another one. No thread waits for its end: the next record sees it."""

    def __init__(self, usual: int) -> None:
        super().__init__()
        self._usual = self._now = usual
        self._until: float | None = None

    def set(self, level: int, for_s: float | None) -> None:
        if for_s is None:
            self._usual = level
        self._now, self._until = level, None if for_s is None else time.monotonic() + for_s
        logging.getLogger().setLevel(level)

    def filter(self, record: logging.LogRecord) -> bool:
        if self._until is not None and time.monotonic() >= self._until:
            self._until, self._now = None, self._usual
            logging.getLogger().setLevel(self._usual)
        return record.levelno >= self._now


def set_level(level: str, for_s: float | None = None) -> None:
    """Log from `level` on, for so many seconds or for good. Chatty libraries stay at WARNING. From any thread."""
    number = logging.getLevelNamesMapping()[level.upper()]
    levels = [
        found
        for handler in logging.getLogger().handlers
        for found in handler.filters
        if isinstance(found, _Level)
    ]
    for found in levels:
        found.set(number, for_s)
    if not levels:  # nobody has called `configure`
        logging.getLogger().setLevel(number)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger called `name`; it can be made before `configure`, at import."""
    # Bound to the standard library directly: structlog's default prints to stdout, unredacted.
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=list(_OURS),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return cast("structlog.stdlib.BoundLogger", logger)


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats a record, exception and stack included, and redacts the finished text."""

    def __init__(self, redactor: Redactor, *, as_json: bool) -> None:
        render: Processor = structlog.processors.JSONRenderer() if as_json else _render_line
        super().__init__(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                render,
            ],
        )
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        try:
            text = super().format(record)
        except Exception as error:  # noqa: BLE001 - a broken record must not vanish, nor stop its caller
            text = f"unreadable log record of {record.name}, line {record.lineno}: {type(error).__name__}"
        return self._redactor.clean(text)


def _render_line(_logger: Any, _method: str, event: EventDict) -> str:
    """Write one readable line, and the traceback, if any, below it."""
    head = f"{event.pop('timestamp', '')} {event.pop('level', ''):<8} {_one_line(event.pop('event', ''))}"
    below = [str(event.pop(part)) for part in ("stack", "exception") if event.get(part)]
    fields = [f"{_one_line(name)}={_quoted(value)}" for name, value in event.items()]
    return "\n".join(["  ".join([head, " ".join(fields)]).rstrip(), *below])


def _one_line(value: object) -> str:
    # What comes from outside must not be able to fake a line of its own.
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if text.isprintable() and text and not set(text) & set(" \"'=") else repr(text)


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("tokd").critical("uncaught exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "unknown"
    details = (args.exc_type, args.exc_value, args.exc_traceback)
    logging.getLogger("tokd").critical("uncaught exception in thread %s", name, exc_info=details)


def _log_unraisable(args: Any) -> None:  # sys.UnraisableHookArgs exists for type checkers only
    error = args.exc_value or args.exc_type()
    details = (type(error), error, args.exc_traceback)
    logging.getLogger("tokd").error("%s", args.err_msg or "exception ignored", exc_info=details)
