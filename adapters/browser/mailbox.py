"""The worker's ear: a thread that reads what the daemon says, and frees the main thread from a call that blocks.

The main thread does everything else, for the browser dies with the *thread* that started it (PR_SET_PDEATHSIG).
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait

from adapters.browser.clocks import SLICE_S, now
from adapters.browser.letters import Close, Extend, Letter
from daemon.domain.session import EndReason


class Mailbox:
    """Holds the letters that wait. `wake` is readable when something has come."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._letters: deque[Letter] = deque()
        self._lock = threading.Lock()
        self._guard: tuple[Callable[[], None], float] | None = None
        self._watched: int | None = None
        self._extend: Callable[[float], None] | None = None
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.is_orphaned = False  # the daemon is gone
        self.is_late = False  # a guarded call took too long
        self.closing: EndReason | None = None

    @property
    def is_interrupted(self) -> bool:
        """Tell whether the session is to end."""
        return self.is_orphaned or self.is_late or self.closing is not None

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._listen, name="mailbox", daemon=True).start()

    def take(self) -> Letter | None:
        """Return the next letter, None where none waits."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        with contextlib.suppress(IndexError):
            return self._letters.popleft()
        return None

    def heed_extensions(self, extend: Callable[[float], None]) -> None:
        """Call this from the listening thread when the deadline is put off: behind a question it would be too late."""
        self._extend = extend

    @contextlib.contextmanager
    def guard(self, abort: Callable[[], None], until: float) -> Iterator[None]:
        """Call `abort` from the listening thread if the session is to end, or `until` comes, in the meantime."""
        with self._lock:
            self._guard = (abort, until)
            if self.is_interrupted:
                abort()
        os.eventfd_write(self._nudge, 1)
        try:
            yield
        finally:
            with self._lock:
                self._guard = None

    def watch(self, pidfd: int | None) -> None:
        """Abort a guarded call, too, when this process ends; None: watch no more."""
        with self._lock:
            self._watched = pidfd
        os.eventfd_write(self._nudge, 1)

    def _listen(self) -> None:
        while not self.is_orphaned:
            watched = self._watched
            ready = wait(
                [self._line, self._nudge, *(() if watched is None else (watched,))], self._patience()
            )
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._nudge)
            if self._line in ready:
                self._read()
            self._look(has_ended=watched is not None and watched in ready)
            if self._line in ready:
                os.eventfd_write(self.wake, 1)

    def _patience(self) -> float:
        with self._lock:
            return SLICE_S if self._guard is None else min(SLICE_S, max(0.0, self._guard[1] - now()))

    def _read(self) -> None:
        try:
            letter: Letter = self._line.recv()
        except (EOFError, OSError):
            self.is_orphaned = True
            return
        if isinstance(letter, Close):
            self.closing = self.closing or letter.reason
        elif isinstance(letter, Extend) and self._extend is not None:
            self._extend(letter.timeout_s)
        else:
            self._letters.append(letter)

    def _look(self, *, has_ended: bool) -> None:
        with self._lock:
            if has_ended:
                self._watched = None
            if self._guard is None:
                return
            abort, until = self._guard
            if now() >= until:
                self.is_late = True
            if self.is_interrupted or has_ended:
                self._guard = None
                abort()
