"""The backlog fence: a message to ourselves, sent at each connect, which comes back after what had piled up.

It proves, too, that the broker lets us write and read: a SUBACK alone proves nothing (mqtt.md 3.1, 3.2).
"""

import re
import secrets

_LONGEST = 12  # patiences: no broker keeps as much as would take longer
_MARKER = re.compile(rb"[0-9a-f]{32}")


class Fence:
    """Used by the network thread only. Until the marker is back, commands of a kept session are backlog."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s  # after the last message; then the marker is not coming
        self._marker = b""
        self._has_backlog = False
        self._heard_at: float | None = None
        self._raised_at = 0.0
        self.is_proven = False  # our own message has come back on this connection

    def raise_(self, now: float, *, has_session: bool) -> bytes:
        """Begin on a new connection; return the marker to send."""
        self._marker = secrets.token_hex(16).encode()
        self._has_backlog = has_session
        self._heard_at = self._raised_at = now
        self.is_proven = False
        return self._marker

    def fall(self) -> None:
        """Note that the connection is over."""
        self._heard_at = None

    @property
    def gives_up_at(self) -> float | None:
        """Return the monotonic time at which `gave_up` has something to say."""
        return None if self._heard_at is None else self._heard_at + self._patience_s

    def gave_up(self, now: float) -> bool:
        """Tell, once, that the marker is not coming: what comes from now on counts as live."""
        if self._heard_at is None or now < self._heard_at + self._patience_s:
            return False
        self._heard_at = None
        self._has_backlog = False
        return True

    def passes(self, payload: bytes) -> bool:
        """Take a message on the fence's topic; tell whether it is a marker, ours of now or one of a lost connection."""
        if payload == self._marker:
            self._heard_at = None
            self._has_backlog = False
            self.is_proven = True
        return _MARKER.fullmatch(payload) is not None

    def is_backlog(self, now: float) -> bool:
        """Tell whether a command that comes now was sent while we were away."""
        # Not for ever: where the broker keeps the marker, steady commands would count as backlog until the end of days.
        if self._heard_at is not None and now < self._raised_at + self._patience_s * (_LONGEST - 1):
            self._heard_at = now
        return self._has_backlog
