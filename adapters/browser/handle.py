"""The daemon's hold on one session: reads its worker's news, writes to it, and ends it where it hangs."""

import contextlib
import os
import pickle
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from adapters.browser.clocks import SLICE_S, now
from adapters.browser.letters import Check, Close, Extend, Letter, Picture
from adapters.browser.processes import wait_fd
from daemon.domain.errors import Code, Problem
from daemon.domain.session import BrowserEnded, Closing, EndReason, HandedOver, SessionNews

SLACK_S = 10.0  # a worker on a loaded machine is late, and does not hang
_EXIT_WITHIN_S = 5.0
_WRITE_WITHIN_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a worker may take: until the window is handed over, and to close; and how late it may be."""

    start_s: float
    close_s: float
    slack_s: float = SLACK_S


class WorkerHandle:
    """Implements ports.OpenBrowser.

    The worker keeps all deadlines. One that is stopped, or hangs, keeps none: so here, too, it is known by when there
    must be news, at the start, at the end of the session's time, and once it is to close.
    """

    def __init__(self, line: Connection, pid: int, clean_up: Callable[[], None], patience: Patience) -> None:
        self._line = line
        self._clean_up = clean_up
        self._patience = patience
        self._lock = threading.Lock()
        self._is_over = False
        self._is_hung = False
        self._asked: EndReason | None = None
        self._due = now() + patience.start_s
        self.pid = pid
        self._pidfd: int | None = None
        with contextlib.suppress(OSError):  # it has ended already
            self._pidfd = os.pidfd_open(pid)
        _bound(line, patience.slack_s)

    def news(self) -> Iterator[SessionNews]:
        """Yield what happens until the end, which comes whatever dies or hangs."""
        ended: BrowserEnded | None = None
        try:
            while ended is None and (found := self._next()) is not None:
                if isinstance(found, BrowserEnded):
                    ended = found
                else:
                    self._note(found)
                    yield found
            ended = self._see_off(ended)
        finally:
            with self._lock:
                self._is_over = True
                self._line.close()
                if self._pidfd is not None:
                    os.close(self._pidfd)
        yield ended

    def close(self, reason: EndReason) -> None:
        """Ask for a clean end; the first reason stands."""
        self._write(Close(reason))
        self._expect_end(reason)

    def extend(self, timeout_s: float) -> None:
        """Let the deadline be so many seconds from now."""
        self._write(Extend(timeout_s))
        with self._lock:
            if self._asked is None:
                self._due = now() + timeout_s

    def check(self, token: str) -> None:
        """Read the login state again."""
        self._write(Check(token))

    def picture(self, token: str) -> None:
        """Take a picture of the page."""
        self._write(Picture(token))

    # -- the worker --------------------------------------------------------------------------------------

    def _next(self) -> SessionNews | None:
        """Return the next news; None where the worker has ended, or is overdue."""
        try:
            if self._wait():
                found: SessionNews = self._line.recv()
                return found
            self._is_hung = True
        except BlockingIOError:  # half a message
            self._is_hung = True
        except (EOFError, OSError, pickle.UnpicklingError):
            pass
        return None

    def _wait(self) -> bool:
        """Wait for news; tell whether there is any. Raises OSError."""
        while True:
            if self._line.poll(max(0.0, min(self._due - now(), SLICE_S))):
                return True
            # The slack is waited for, not reckoned: a machine that has slept wakes to find everything overdue.
            if now() >= self._due and self._line.poll(self._patience.slack_s):
                return True
            if now() >= self._due:
                return False

    def _note(self, news: SessionNews) -> None:
        if isinstance(news, HandedOver):
            with self._lock:
                if self._asked is None:
                    self._due = now() + news.timeout_s
        elif isinstance(news, Closing):
            self._expect_end(news.reason)

    def _expect_end(self, reason: EndReason) -> None:
        with self._lock:
            if self._asked is None:
                self._asked = reason
                self._due = now() + self._patience.close_s

    def _see_off(self, ended: BrowserEnded | None) -> BrowserEnded:
        """Make sure that the worker is gone, which lets go of the locks, and return how the session has ended."""
        if self._is_hung or not self._is_gone(_EXIT_WITHIN_S):
            self._kill()
        if ended is not None:
            return ended
        self._clean_up()
        how = "hung" if self._is_hung else "ended"
        return BrowserEnded(
            reason=(self._asked if self._is_hung else None) or EndReason.CRASHED,
            error=Problem(Code.BROWSER_FAILED.value, f"the session's worker process {how}"),
        )

    def _is_gone(self, within_s: float) -> bool:
        return self._pidfd is None or wait_fd(self._pidfd, within_s)

    def _kill(self) -> None:
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            wait_fd(self._pidfd, _EXIT_WITHIN_S)

    def _write(self, letter: Letter) -> None:
        """Send it; a worker that has long not read gets it not. Letters are small: whole, or not at all."""
        with self._lock, contextlib.suppress(OSError):
            if not self._is_over:
                self._line.send(letter)


def _bound(line: Connection, read_s: float) -> None:
    """Let no reading of half a message, and no writing to a full line, wait for ever."""
    with socket.socket(fileno=os.dup(line.fileno())) as sock:
        for option, seconds in ((socket.SO_RCVTIMEO, read_s), (socket.SO_SNDTIMEO, _WRITE_WITHIN_S)):
            timeval = struct.pack("ll", int(seconds), round(seconds % 1 * 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, option, timeval)
