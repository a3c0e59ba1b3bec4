"""Watches a request leave: whether a byte of it went out, whether all of it did, and whether time is up."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from daemon.domain.errors import OUT_OF_RESOURCES, Fault, PlatformError


class Flight:
    """One request under way. Its deadline holds whatever drips: at the end the socket is shut down.

    The deadline counts from the start, and for an upload from the last piece that left: each piece has the
    send timeout for itself. Real time, not the Clock port's: this guards a real socket.
    """

    def __init__(self, deadline_s: float, send_timeout_s: float, *, is_upload: bool) -> None:
        self.has_left = False  # the request began to leave: what became of it is no longer ours to know
        self.is_cut = False  # the peer stopped taking it before its end
        self.is_overdue = False
        self._deadline_s = deadline_s
        self._send_timeout_s = send_timeout_s
        self._is_upload = is_upload
        self._socket: socket.socket | None = None
        self._is_over = False
        self._due = 0.0
        self._change = threading.Condition()

    def __enter__(self) -> Self:
        """Begin to watch. Raises PlatformError (transient) where no thread can be had for it."""
        self._due = time.monotonic() + self._deadline_s
        if not self._has_watch():
            raise PlatformError(
                Fault.TRANSIENT,
                OUT_OF_RESOURCES,
                "nothing was sent: no thread can be had to watch the call",
                advice="Raise the limits of tokd (processes, memory), or let it do less at a time.",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._change:
            self._is_over = True
            self._socket = None
            self._change.notify()

    def board(self, connected: socket.socket) -> None:
        """Note that bytes are about to leave through this socket. Raises TimeoutError if time is up."""
        with self._change:
            if self.is_overdue:
                raise TimeoutError
            self._socket = connected
            self.has_left = True
            if self._is_upload:
                self._due = time.monotonic() + self._send_timeout_s + self._deadline_s
        # The driver leaves the connect timeout on the socket while it sends, and Python's timeout is for a
        # whole sendall: a slow uplink could not get 1 MiB through in 5 seconds.
        connected.settimeout(self._send_timeout_s)

    def land(self) -> None:
        """Note that a piece has left, or will not: what is awaited now is the answer."""
        with self._change:
            if self._is_upload:
                self._due = time.monotonic() + self._deadline_s
                self._change.notify()

    def _has_watch(self) -> bool:
        try:
            threading.Thread(target=self._watch, name="tiktok-deadline", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _watch(self) -> None:
        with self._change:
            while not self._is_over and (left := self._due - time.monotonic()) > 0:
                self._change.wait(left)
            if self._is_over:
                return
            self.is_overdue = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class _Watched(http.client.HTTPConnection):
    """Put before the driver's connection class: tells the flight when bytes leave."""

    flight_now: Callable[[], Flight | None]

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        flight = self.flight_now()
        if flight is None:
            super().send(data)
            return
        flight.board(self.sock)
        try:
            super().send(data)
        except OSError:
            # The driver goes on to read the answer only after a broken pipe. A server that refuses early
            # answers, then closes or stops reading, which TLS reports otherwise: its answer is wanted too.
            flight.is_cut = True
            raise BrokenPipeError from None
        finally:
            flight.land()


def watched(base: Any, flight_now: Callable[[], Flight | None]) -> Any:
    """Return `base`, a connection class of the driver's, as one that reports to the flight of the moment."""
    if issubclass(base, _Watched):
        return base
    return type(base.__name__, (_Watched, base), {"flight_now": staticmethod(flight_now)})
