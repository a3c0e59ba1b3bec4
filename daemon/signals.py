"""Signals only set flags; the main loop looks at them and acts."""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

FORCED_EXIT = 70
SAME_WISH_S = 1.0


@contextmanager
def stop_on_signals(stopping: threading.Event) -> Iterator[None]:
    """Set `stopping` on SIGTERM and SIGINT, end at once on the second one; SIGUSR1 prints every thread's stack.

    Restores the former handlers.
    """
    first_at: list[float] = []

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        # Some senders signal the process and then its group: that is one wish, not two.
        if first_at and now - first_at[0] > SAME_WISH_S:
            os._exit(FORCED_EXIT)
        first_at.append(now)
        stopping.set()

    former = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR1)
        for number, handler in former.items():
            signal.signal(number, handler)
