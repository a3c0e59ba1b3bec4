"""Logging to systemd's journal in its own protocol: one entry for each record, with fields to search by.

Source of the protocol: systemd's documentation, "Native Journal Protocol". `journalctl TOKD_POST=p_7Q2` finds
everything about a post.
"""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from config.redaction import Redactor

SOCKET = Path("/run/systemd/journal/socket")
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_LONGEST = 48 * 1024  # of a field: what a datagram surely holds
# What every record has: only what was added to it is a field of its own.
_USUAL = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}


def is_journal(stream: TextIO, path: Path = SOCKET) -> bool:
    """Tell whether systemd has connected this stream to the journal ($JOURNAL_STREAM names device and inode)."""
    try:
        device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
        found = os.fstat(stream.fileno())
        return (found.st_dev, found.st_ino) == (int(device), int(inode)) and path.exists()
    except (OSError, ValueError):
        return False


class JournalHandler(logging.Handler):
    """Sends records to the journal; where that fails, `otherwise` has them. Every field is redacted. Never raises."""

    def __init__(self, redactor: Redactor, otherwise: logging.Handler, path: Path = SOCKET) -> None:
        super().__init__()
        self._redactor = redactor
        self._otherwise = otherwise
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            self._socket.sendto(b"".join(self._lines(record)), self._path)
        except Exception:  # noqa: BLE001 - logging must not stop its caller; the record goes another way
            self._otherwise.handle(record)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()

    def _lines(self, record: logging.LogRecord) -> Iterator[bytes]:
        told = record.msg if isinstance(record.msg, Mapping) else None  # structlog's
        text = str(told.get("event", "")) if told is not None else record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        yield self._field("MESSAGE", text)
        yield self._field("PRIORITY", next((n for least, n in _PRIORITIES if record.levelno >= least), 7))
        yield self._field("SYSLOG_IDENTIFIER", "tokd")
        yield self._field("TOKD_LOGGER", record.name)
        more: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in _USUAL}
        more |= {str(name): value for name, value in (told or {}).items() if name != "event"}
        for name, value in more.items():
            plain = "".join(letter if letter.isalnum() else "_" for letter in name.upper())
            if plain.isascii() and not name.startswith("_") and value is not None:
                yield self._field(f"TOKD_{plain}"[:64], value)

    def _field(self, name: str, value: object) -> bytes:
        data = self._redactor.clean(str(value)).encode("utf-8", "replace")[:_LONGEST]
        if b"\n" not in data:
            return name.encode() + b"=" + data + b"\n"
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
