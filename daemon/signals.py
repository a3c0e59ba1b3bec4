"""Signals only set flags; the main loop looks at them and acts."""

import contextlib
import faulthandler
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

FORCED_EXIT = 70
SAME_WISH_S = 1.0


class Bell:
    """Wakes the main thread, for a signal or for another thread.

    An event alone does not do: a signal that comes just before the main thread goes to sleep is noticed when it
    wakes up again, an hour later. What the C handler writes to this bell is there whenever the thread looks.
    """

    def __init__(self) -> None:
        self._ear, self._rope = socket.socketpair()
        self._ear.setblocking(False)
        self._rope.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor that a signal is to be written to."""
        return self._rope.fileno()

    def ring(self) -> None:
        """Wake the main thread. Safe from any thread, and after close."""
        with contextlib.suppress(OSError):  # full: it rings already; closed: nobody sleeps any more
            self._rope.send(b"\0")

    def wait(self, within_s: float | None = None) -> None:
        """Sleep until it rings, or until so many seconds are over."""
        select.select([self._ear], [], [], within_s)
        with contextlib.suppress(BlockingIOError):
            self._ear.recv(4096)

    def close(self) -> None:
        """Let go of the descriptors."""
        self._ear.close()
        self._rope.close()


@contextmanager
def stop_on_signals(stopping: threading.Event, reloading: threading.Event | None = None) -> Iterator[Bell]:
    """Set `stopping` on SIGTERM and SIGINT, end at once on the second one; SIGUSR1 prints every thread's stack.

    SIGQUIT, which is what the watchdog of our units sends, prints them, too, and ends the process by that signal.
    SIGHUP sets `reloading`; on a terminal it means that the terminal is gone, and stops; where it is ignored
    (nohup), it stays so. Each of them rings the bell. Restores the former handlers.
    """
    bell = Bell()
    first_at: list[float] = []

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        # Some senders signal the process and then its group: that is one wish, not two.
        if first_at and now - first_at[0] > SAME_WISH_S:
            os._exit(FORCED_EXIT)
        first_at.append(now)
        stopping.set()

    def on_hangup(_number: int, _frame: FrameType | None) -> None:
        if reloading is not None:
            reloading.set()

    def on_question(_number: int, _frame: FrameType | None) -> None:
        # Here and not in faulthandler's own handler: that one reads the frames of threads that go on meanwhile, and
        # now and then follows one that is gone. This one runs in the main thread, while all the others stand still.
        faulthandler.dump_traceback(all_threads=True)

    def on_quit(number: int, _frame: FrameType | None) -> None:
        faulthandler.dump_traceback(all_threads=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    handlers = {
        signal.SIGTERM: on_signal, signal.SIGINT: on_signal, signal.SIGUSR1: on_question, signal.SIGQUIT: on_quit,
    }  # fmt: skip
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = on_signal if reloading is None or _has_terminal() else on_hangup
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    former_fd = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    try:
        yield bell
    finally:
        signal.set_wakeup_fd(former_fd)
        for number, handler in former.items():
            signal.signal(number, handler)
        bell.close()


def print_stacks_later(within_s: float) -> None:
    """Print every thread's stack in so many seconds, unless this is called again; a later call takes its place.

    It needs nothing of the interpreter, and is for the hang in which no handler of a signal runs any more.
    """
    faulthandler.dump_traceback_later(within_s)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
