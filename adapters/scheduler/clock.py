"""The machine's clock, and names that nobody can guess."""

import secrets
import string
import time
from datetime import UTC, datetime

from daemon.domain.ids import PostId, SessionId, TaskId

_LETTERS = string.ascii_letters + string.digits


def _word(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


class SystemClock:
    """The machine's clock (daemon.ports.Clock)."""

    def now(self) -> datetime:
        """Return the instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class RandomIds:
    """Names from the system's source of chance (daemon.ports.Ids): 71 bits for a post."""

    def post(self) -> PostId:
        """Return a new post id, `p_` and twelve letters or digits."""
        return PostId(f"p_{_word(12)}")

    def task(self) -> TaskId:
        """Return a new task id, `t_` and twelve letters or digits."""
        return TaskId(f"t_{_word(12)}")

    def session(self) -> SessionId:
        """Return a new session id."""
        return SessionId(secrets.token_hex(8))

    def token(self) -> str:
        """Return a new token id, `t_` and 16 hexadecimal digits."""
        return f"k_{secrets.token_hex(8)}"

    def boot(self) -> str:
        """Return a short random word for this start."""
        return _word(8)
