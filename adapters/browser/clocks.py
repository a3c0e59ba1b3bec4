"""Time that goes on while the machine sleeps, so that a suspended session does not overstay; and short pauses."""

import threading
import time

SLICE_S = 15.0  # a wait in the kernel does not count sleep: wake now and then and look at this clock


def now() -> float:
    """Return seconds since the machine was started, sleep included. The same in all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def pause(seconds: float) -> None:
    """Wait where there is nothing to wait on."""
    threading.Event().wait(seconds)
