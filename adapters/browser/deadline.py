"""When a session that is open is to end. The listening thread may put it off while the main thread is busy."""

import threading

from adapters.browser.clocks import now


class Deadline:
    """The end of the person's time, and the moment of the warning before it. From any thread."""

    def __init__(self, warning_s: float) -> None:
        self._warning_s = warning_s
        self._lock = threading.Lock()
        self._at: float | None = None
        self._warn_at: float | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether the window has been handed over."""
        return self._at is not None

    def set(self, seconds: float) -> None:
        """Let it be so many seconds from now. Where that is less than the warning's, it is time for the warning now."""
        with self._lock:
            self._at = now() + seconds
            self._warn_at = self._at - self._warning_s if self._warning_s else None

    def has_come(self) -> bool:
        """Tell whether the time is over."""
        with self._lock:
            return self._at is not None and now() >= self._at

    def take_warning(self) -> float | None:
        """Return the seconds that are left when it is time to say so; once for each time that it is set."""
        with self._lock:
            if self._at is None or self._warn_at is None or now() < self._warn_at:
                return None
            self._warn_at = None
            return self._at - now()

    def seconds_to_next(self) -> float:
        """Return how long nothing is due."""
        with self._lock:
            due = [each for each in (self._at, self._warn_at) if each is not None]
            return max(0.0, min(due) - now()) if due else 0.0
