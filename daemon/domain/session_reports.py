"""What the sessions' workers report to the bus: a window opened, read, pictured, closed, cleaned up."""

from dataclasses import dataclass, field

from daemon.domain.ids import SessionId
from daemon.domain.login import Verdict
from daemon.domain.session import BrowserEnded, ProfileFacts, SessionState
from daemon.domain.wire import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMoved:
    """A session has come to this state, with what there is to say about it."""

    session: SessionId
    state: SessionState
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted:
    """A session's browser runs."""

    session: SessionId
    pid: int
    version: str
    is_sandboxed: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoginRead:
    """The login state of a session has been read; `request` asked for it, if somebody did."""

    session: SessionId
    verdict: Verdict
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A session's window was handed to the person, for so many seconds."""

    session: SessionId
    timeout_s: float


@dataclass(frozen=True, slots=True)
class SessionEndingSoon:
    """A session's deadline comes in so many seconds."""

    session: SessionId
    seconds: float


@dataclass(frozen=True, slots=True)
class PictureTaken:
    """A picture of a session's page, in base64, for those who watch it on the broker."""

    session: SessionId
    image: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded:
    """A session is over and cleaned up; `promoted_to` and `backup` where its clone was kept as a profile.

    `kept_clone` is where a clone is that was to become one, and did not for the reason in `promotion_error`.
    """

    session: SessionId
    end: BrowserEnded
    promoted_to: str | None = None
    backup: str | None = None
    promotion_error: str | None = None
    kept_clone: str | None = None
    is_clean: bool = True  # nothing of it is left on the disk


@dataclass(frozen=True, slots=True)
class SessionsSwept:
    """These sessions' remains are gone; those in `held` are somebody's still."""

    removed: frozenset[SessionId]
    held: frozenset[SessionId]


@dataclass(frozen=True, slots=True)
class ProfilesRead:
    """What the disk says of the profiles, for the caller of `request`."""

    request: Request
    profiles: tuple[ProfileFacts, ...]
