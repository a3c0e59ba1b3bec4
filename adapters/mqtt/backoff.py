"""How long to wait for a lost broker, and how often to say so."""

from collections.abc import Callable

FIRST_S = 0.2
LONGEST_S = 30.0
LONGEST_AFTER_REFUSAL_S = 60.0
STABLE_AFTER_S = 10.0  # a connection that ends sooner has not mended anything


class Backoff:
    """Full jitter: a random share of a limit that doubles, so that many clients do not come back at once."""

    def __init__(self, share: Callable[[], float]) -> None:
        self._share = share
        self._failures = 0

    def next_wait(self, *, was_refused: bool) -> float:
        """Return the seconds to wait after one more failure."""
        longest = LONGEST_AFTER_REFUSAL_S if was_refused else LONGEST_S
        limit = min(longest, FIRST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return limit * self._share()

    def connection_lasted(self, seconds: float) -> None:
        """Begin anew after a connection that was worth its name: two clients with one id kick each other."""
        if seconds >= STABLE_AFTER_S:
            self._failures = 0


class OncePer:
    """Lets the same cause through once per interval."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: dict[str, float] = {}

    def allows(self, cause: str, now: float) -> bool:
        """Tell whether this cause may be told again."""
        last = self._last.get(cause)
        if last is not None and now - last < self._seconds:
            return False
        self._last[cause] = now
        return True
