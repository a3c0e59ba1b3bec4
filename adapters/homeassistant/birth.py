"""Home Assistant's birth message: when to say everything again (mqtt.md section 2.2)."""

import random
from collections.abc import Callable

ONLINE = b"online"
ROUND_EVERY_S = 10.0


class Birth:
    """Implements ports.Neighbour. A random delay spares the broker; several births in a row are one round."""

    def __init__(
        self,
        topic: str,
        delay_s: tuple[float, float],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.topic = topic
        self._delay_s = delay_s
        self._uniform = uniform
        self._due_at: float | None = None
        self._last: float | None = None

    def joined(self, now: float) -> None:
        """Note that a connection begins: everything is said on it anyway."""
        self._due_at = None
        self._last = now

    def heard(self, payload: bytes, now: float, *, is_replay: bool) -> None:
        """Plan a round for a birth. One that the broker had kept is from before our own round of this connection."""
        if payload != ONLINE or is_replay or self._due_at is not None:
            return
        at = now + self._uniform(*self._delay_s)
        self._due_at = at if self._last is None else max(at, self._last + ROUND_EVERY_S)

    @property
    def due_at(self) -> float | None:
        """Return when everything must be said again, None: not at all."""
        return self._due_at

    def is_due(self, now: float) -> bool:
        """Tell, once, that the time has come."""
        if self._due_at is None or now < self._due_at:
            return False
        self._due_at = None
        self._last = now
        return True
