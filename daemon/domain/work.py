"""Orders to the workers: long work that the bus starts after its commit."""

from dataclasses import dataclass, field
from enum import StrEnum

from daemon.domain.ids import AccountName, PostId, ProfileName, SessionId
from daemon.domain.session import EndReason
from daemon.domain.wire import Request


@dataclass(frozen=True, slots=True)
class InspectMedia:
    """Check a file at intake, for the stored command `command`."""

    command: int
    name: str
    platform: str


@dataclass(frozen=True, slots=True)
class FetchMedia:
    """Fetch a video from this address and check it, for the stored command `command`."""

    command: int
    url: str = field(repr=False)  # its query may be a password


@dataclass(frozen=True, slots=True)
class SweepMedia:
    """Clean up in the media store."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Drive a claimed post to the platform; `resume` where an upload was interrupted."""

    post: PostId
    fence: int
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """Read the status of a post once."""

    post: PostId
    fence: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Ask the platform to stop a post that it is still fetching, for the stored command `command`."""

    command: int
    post: PostId


@dataclass(frozen=True, slots=True)
class RefreshAccount:
    """Renew the tokens ahead of time, and read what the creator may do.

    `is_doubted`: try the access token whatever the account may do, to learn whether it still works.
    """

    account: AccountName
    is_doubted: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeCode:
    """Turn a code into tokens, for the pending link with this state and the caller of `request`, who sent it."""

    account: AccountName
    state_hash: str
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Give back an access token (sealed) that was not stored: it is nobody's here."""

    account: AccountName
    platform: str
    access_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnlinkTokens:
    """Tell the platform that an account's tokens are over, for the stored command `command`.

    0 where the command is that of a node which has not been heard of for too long.
    """

    command: int
    account: AccountName


@dataclass(frozen=True, slots=True)
class InspectAccount:
    """Ask the platform about an account now, for the caller of `request`."""

    account: AccountName
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Browse:
    """Open a session's browser and stay with it until it has ended, for the stored command `command`."""

    command: int
    session: SessionId


@dataclass(frozen=True, slots=True)
class EndSession:
    """Ask a running session to close; `promote_to` keeps its clone as that profile."""

    session: SessionId
    reason: EndReason
    promote_to: ProfileName | None = None


@dataclass(frozen=True, slots=True)
class ProlongSession:
    """Let a running session's deadline be so many seconds from now."""

    session: SessionId
    timeout_s: float


class Question(StrEnum):
    """What an open session can be asked."""

    CHECK = "check"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class AskSession:
    """Ask an open session something, for the caller of `request`."""

    session: SessionId
    question: Question
    request: Request | None = None
    inline: bool = False


@dataclass(frozen=True, slots=True)
class SurveyProfiles:
    """Read what the disk says of the profiles, for the caller of `request`."""

    request: Request | None = None


@dataclass(frozen=True, slots=True)
class SweepSessions:
    """Clean up after sessions whose owner is dead."""


AccountWork = RefreshAccount | ExchangeCode | GiveBack | UnlinkTokens | InspectAccount
SessionWork = Browse | EndSession | ProlongSession | AskSession | SurveyProfiles | SweepSessions
MediaWork = InspectMedia | FetchMedia | SweepMedia
Work = MediaWork | Deliver | Follow | Withdraw | AccountWork | SessionWork
