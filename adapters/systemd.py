"""systemd's side of the service: readiness, signs of life and status over $NOTIFY_SOCKET (sd_notify(3)), no library."""

import logging
import os
import socket
import time
from collections.abc import MutableMapping

LOG = logging.getLogger("tokd.systemd")

_MICRO = 1_000_000
_STATUS_MAX = 300
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Systemd:
    """What tells systemd how the daemon does (daemon.ports.ServiceManager). Without an address it says nothing.

    Nothing here raises or waits: a manager that does not listen is no trouble of the daemon's.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        """Take the address as $NOTIFY_SOCKET has it: a path, or a name in the abstract space behind an `@`."""
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self.watchdog_s = watchdog_s if self._address else None

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> "Systemd":
        """Take systemd's variables out of the environment, so that no child can speak in the daemon's name.

        The watchdog is ours only where $WATCHDOG_PID is absent or names this process.
        """
        address, period, owner = (environ.pop(name, "") for name in _VARIABLES)
        is_ours = owner in {"", str(os.getpid())}
        seconds = int(period) / _MICRO if is_ours and period.isdecimal() and int(period) else None
        return cls(address if address.startswith(("/", "@")) else None, seconds)

    @property
    def is_listening(self) -> bool:
        """Tell whether there is anybody to tell."""
        return self._socket is not None

    def starting(self, what: str, within_s: float) -> None:
        """Say what the start is at, and that it may take so many seconds from now."""
        self._send(f"STATUS={_line(f'starting: {what}')}", f"EXTEND_TIMEOUT_USEC={int(within_s * _MICRO)}")

    def ready(self, status: str) -> None:
        """Say that the daemon does its work, be it after the start or after a reload."""
        self._send("READY=1", f"STATUS={_line(status)}")

    def status(self, status: str) -> None:
        """Say in one line how things stand."""
        self._send(f"STATUS={_line(status)}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that the settings are read anew; `ready` ends it."""
        # systemd wants the time at which the reload began, so that an older READY=1 does not end it.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the daemon is on its way out."""
        self._send("STOPPING=1", "STATUS=stopping")

    def _send(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            LOG.debug("systemd does not listen: %s", error.strerror)


def _line(text: str) -> str:
    """Return one line: what follows a line break would be an assignment of its own."""
    return " ".join(text.split())[:_STATUS_MAX]
