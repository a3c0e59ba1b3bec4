"""Waiting for a condition with a deadline: the tests' only way to wait."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    look: Callable[[], T], within_s: float = 10.0, every_s: float = 0.02, what: str | Callable[[], str] = ""
) -> T:
    """Return the first true value of `look`; fail after the deadline with what was seen last."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {within_s} s: {told or look}; last seen: {found!r}")
        pause.wait(every_s)
