"""Signals only set flags; the main loop looks at them and acts."""

import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

FORCED_EXIT = 70


@contextmanager
def stop_on_signals(stopping: threading.Event) -> Iterator[None]:
    """Set `stopping` on SIGTERM and SIGINT, end at once on the second one; SIGUSR1 prints every thread's stack.

    Restores the former handlers.
    """

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(FORCED_EXIT)
        stopping.set()

    former = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR1)
        for number, handler in former.items():
            signal.signal(number, handler)
