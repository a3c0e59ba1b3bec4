"""A browser session: its states, the one table of moves, and how it can end (browser-sessions.md)."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.errors import IllegalMove, Problem
from daemon.domain.ids import AccountName, Actor, NodeName, ProfileName, SessionId
from daemon.domain.login import Login, Verdict
from daemon.domain.times import iso


class SessionKind(StrEnum):
    """What a session is for. One lifecycle; the kind decides which of its steps are taken."""

    TIKTOK = "tiktok"  # a clone on TikTok: the login state is read first
    PLAIN = "plain"  # a clone on any page: nothing is read
    LOGIN = "login"  # the profile itself, in a plain browser, so that the person can log in


class SessionState(StrEnum):
    """Where a session stands."""

    REQUESTED = "requested"
    CLONING = "cloning"
    STARTING = "starting"
    DETECTING = "detecting"
    OPEN = "open"
    CLOSING = "closing"
    ENDED = "ended"


# Only what stands here can happen. Every state may end: a browser can die at any moment.
MOVES: dict[SessionState, frozenset[SessionState]] = {
    SessionState.REQUESTED: frozenset({SessionState.CLONING, SessionState.STARTING, SessionState.CLOSING}),
    SessionState.CLONING: frozenset({SessionState.STARTING, SessionState.CLOSING}),
    SessionState.STARTING: frozenset({SessionState.DETECTING, SessionState.OPEN, SessionState.CLOSING}),
    SessionState.DETECTING: frozenset({SessionState.OPEN, SessionState.CLOSING}),
    SessionState.OPEN: frozenset({SessionState.CLOSING}),
    SessionState.CLOSING: frozenset(),
    SessionState.ENDED: frozenset(),
}


class EndReason(StrEnum):
    """Why a session ended. Decided by what tokd did first; an exit code alone proves nothing."""

    CLOSED_BY_USER = "closed_by_user"
    TIMEOUT = "timeout"
    CLOSED_BY_COMMAND = "closed_by_command"
    LOGGED_OUT = "logged_out"
    UNCERTAIN = "uncertain"  # nobody could tell whether it is logged in, and the settings say to close then
    CRASHED = "crashed"
    DISPLAY_LOST = "display_lost"
    ORPHANED = "orphaned"  # tokd itself died while it was open; found and cleaned later
    SHUTDOWN = "shutdown"
    FAILED = "failed"  # it never opened; `error` says why


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOrder:
    """All that a browser needs to know to open a session."""

    session: SessionId
    kind: SessionKind
    profile: ProfileName
    url: str
    headless: bool
    require_login: bool
    timeout_s: float  # from the moment the window is handed over


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session, as the ledger keeps it. Times are aware, in UTC."""

    id: SessionId
    node: NodeName
    boot: str  # the daemon's start that owns it
    actor: Actor
    command_id: str  # of the order that waits for its answer
    kind: SessionKind
    profile: ProfileName
    url: str
    headless: bool
    require_login: bool
    timeout_s: int
    state: SessionState
    state_since: datetime
    created_at: datetime
    opened_at: datetime | None = None  # the window was handed over
    ends_at: datetime | None = None  # the deadline
    login: Login | None = None
    verdict: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    promote_to: ProfileName | None = None  # the profile that the clone replaces after a clean end
    ended_at: datetime | None = None
    reason: EndReason | None = None
    error: Problem | None = None
    exit_status: int | None = None
    version: int = 0

    @property
    def is_over(self) -> bool:
        """Tell whether nothing will happen any more."""
        return self.state is SessionState.ENDED

    @property
    def order(self) -> SessionOrder:
        """Return what a browser needs to know of it."""
        return SessionOrder(
            session=self.id, kind=self.kind, profile=self.profile, url=self.url, headless=self.headless,
            require_login=self.require_login, timeout_s=self.timeout_s,
        )  # fmt: skip


def move(session: Session, to: SessionState, now: datetime, **changes: Any) -> Session:
    """Return the session in its next state. Raises IllegalMove for a move that the table does not know."""
    if session.is_over or (to is not SessionState.ENDED and to not in MOVES[session.state]):
        raise IllegalMove(f"session {session.id} cannot go from {session.state} to {to}")
    return replace(session, state=to, state_since=now, version=session.version + 1, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """How the cookies of a profile are encrypted: v10 by a fixed key, v11 by one in the desktop's keyring."""

    v10: int = 0
    v11: int = 0

    @property
    def needs_keyring(self) -> bool:
        """Tell whether cookies can only be read with the keyring that wrote them."""
        return self.v11 > 0

    @property
    def label(self) -> str:
        """Return `v10`, `v11`, `mixed` or `none`."""
        if self.v10 and self.v11:
            return "mixed"
        return "v11" if self.v11 else "v10" if self.v10 else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where one session lives on disk.

    `locks` are descriptors of held flocks: of the session's folder, and for a login of the profile, too. They are
    handed to the session's worker process as well, so that a lock lives as long as either of the two.
    """

    session: SessionId
    folder: str  # holds everything of the session and is removed with it
    user_data_dir: str  # the clone, or the master itself for a login
    temp_dir: str  # short, because a Unix socket lives in it
    locks: tuple[int, ...] = field(default=(), repr=False)
    is_master: bool = False
    encryption: Encryption = field(default_factory=Encryption)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What stands in the folder of sessions: those nobody holds (they are locked now), and those somebody does."""

    orphans: tuple[Workplace, ...]
    held: frozenset[SessionId]


# -- what a running browser tells ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The browser runs and has shown its command line."""

    pid: int
    version: str
    is_sandboxed: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoginSeen:
    """The login state has been read. `token` names the question where somebody has asked."""

    verdict: Verdict
    token: str | None = None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The window is the person's from here on; `timeout_s` until it is closed."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class EndingSoon:
    """The deadline comes in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictured:
    """A picture of the page, asked for under `token`; or why there is none."""

    token: str
    image: bytes = field(default=b"", repr=False)
    media_type: str = "image/jpeg"
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """The browser has been told to close, for this reason."""

    reason: EndReason


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserEnded:
    """The browser is gone, and so is every process of it. The last news of a session."""

    reason: EndReason
    exit_status: int | None = None
    is_clean: bool = False  # it closed by itself and wrote down all it had
    error: Problem | None = None


SessionNews = Started | LoginSeen | HandedOver | EndingSoon | Pictured | Closing | BrowserEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The login state of a profile when it was last read, and the account that this tells about, if known."""

    login: Login
    method: str
    seen_at: datetime
    reason: str | None = None
    username: str | None = None
    account: AccountName | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        view = {
            "state": self.login.value, "method": self.method, "seen_at": iso(self.seen_at), "reason": self.reason,
            "username": self.username,
        }  # fmt: skip
        return {key: value for key, value in view.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFacts:
    """What can be said about a profile on disk."""

    name: ProfileName
    size: int  # bytes
    files: int
    used_at: datetime | None  # the youngest change of its cookies
    in_use_by: str | None  # a sentence, such as "chromium, pid 4711"
    encryption: Encryption = field(default_factory=Encryption)
