"""The daemon's hold on one session: reads its worker's news, and writes to it."""

import contextlib
import pickle
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from adapters.browser.letters import Check, Close, Extend, Letter, Picture
from daemon.domain.errors import Code, Problem
from daemon.domain.session import BrowserEnded, EndReason, SessionNews

_EXIT_WITHIN_S = 5.0


class WorkerHandle:
    """Implements ports.OpenBrowser."""

    def __init__(self, line: Connection, pid: int, clean_up: Callable[[], None]) -> None:
        self._line = line
        self._clean_up = clean_up
        self._writing = threading.Lock()
        self._is_over = False
        self.pid = pid

    def news(self) -> Iterator[SessionNews]:
        """Yield what happens until the end, which comes whatever dies."""
        ended: BrowserEnded | None = None
        try:
            while ended is None and (found := self._next()) is not None:
                if isinstance(found, BrowserEnded):
                    ended = found
                else:
                    yield found
            if ended is None:
                self._clean_up()
            elif self._line.poll(_EXIT_WITHIN_S):  # the worker's exit, which lets go of the locks
                self._next()
        finally:
            with self._writing:
                self._is_over = True
                self._line.close()
        yield ended or BrowserEnded(
            reason=EndReason.CRASHED,
            error=Problem(Code.BROWSER_FAILED.value, "the session's worker process ended"),
        )

    def close(self, reason: EndReason) -> None:
        """Ask for a clean end; the first reason stands."""
        self._write(Close(reason))

    def extend(self, timeout_s: float) -> None:
        """Let the deadline be so many seconds from now."""
        self._write(Extend(timeout_s))

    def check(self, token: str) -> None:
        """Read the login state again."""
        self._write(Check(token))

    def picture(self, token: str) -> None:
        """Take a picture of the page."""
        self._write(Picture(token))

    def _next(self) -> SessionNews | None:
        try:
            found: SessionNews = self._line.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        return found

    def _write(self, letter: Letter) -> None:
        with self._writing, contextlib.suppress(OSError):
            if not self._is_over:
                self._line.send(letter)
