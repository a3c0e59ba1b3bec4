"""What workers and the clock report to the bus: facts about work under way. Every one names its attempt's fence."""

from dataclasses import dataclass, field
from datetime import datetime

from daemon.domain.account import Account, Creator
from daemon.domain.errors import PlatformError, Problem, Rejected
from daemon.domain.hints import Hint
from daemon.domain.ids import AccountName, NodeName, PostId
from daemon.domain.media import MediaFacts
from daemon.domain.platform import Plan, StatusAnswer
from daemon.domain.post import Attempt, Post
from daemon.domain.wire import Request


@dataclass(frozen=True, slots=True)
class ClockTicked:
    """The timer fired, or something wants the due rows to be read again."""


@dataclass(frozen=True, slots=True)
class SweepDue:
    """The interval for housekeeping is over."""


@dataclass(frozen=True, slots=True)
class DaemonStarted:
    """The bus runs: recover what a crash left behind."""


@dataclass(frozen=True, slots=True)
class DaemonStopping:
    """The daemon is about to stop: tell it while the outbox can still be flushed."""


@dataclass(frozen=True, slots=True)
class BrokerJoined:
    """A broker connection is up. Without a kept session the retained set must be published again."""

    has_session: bool


@dataclass(frozen=True, slots=True)
class RetainedSetDue:
    """The next page of retained post states must be published again."""

    after: PostId | None


@dataclass(frozen=True, slots=True)
class RetentionDue:
    """The next page of what is old must be forgotten."""


@dataclass(frozen=True, slots=True)
class CommandUndone:
    """A command was refused after its transaction had begun, which was rolled back and the audit trail with it."""

    request: Request
    refusal: Rejected


@dataclass(frozen=True, slots=True)
class StatesTouched:
    """What these accounts' retained states tell, or the daemon's, has changed some moments ago."""

    accounts: frozenset[AccountName]
    daemon: bool


@dataclass(frozen=True, slots=True)
class NeighbourCame:
    """Another system has come to the broker and knows nothing of us yet."""


@dataclass(frozen=True, slots=True)
class IntroductionDue:
    """What other systems are told of tokd may have changed."""


@dataclass(frozen=True, slots=True)
class WorkDied:
    """A worker ended a delivery by an error that is nobody's decision; the post is treated as after a crash."""

    post: PostId
    fence: int
    detail: str


@dataclass(frozen=True, slots=True)
class MessagesSent:
    """The broker has acknowledged these outbox rows."""

    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MediaInspected:
    """The intake check of a scheduled post is over: facts, or why it is refused. `url`: where it was fetched from."""

    command: int
    facts: MediaFacts | None
    refusal: Rejected | None
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FetchProgressed:
    """So many bytes of a video have been fetched, of how many; `is_done`: it is in the media store."""

    command: int
    host: str
    received: int
    total: int | None
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A worker has taken the claimed post."""

    post: PostId
    fence: int


@dataclass(frozen=True, slots=True)
class CreatorRead:
    """The platform said what this account may do right now."""

    account: AccountName
    creator: Creator


@dataclass(frozen=True, slots=True)
class ValidationFailed:
    """The file, or what the creator may do, forbids this post: final."""

    post: PostId
    fence: int
    code: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class InitIntended:
    """The init call is about to leave (rule R2)."""

    post: PostId
    fence: int
    body_hash: str
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class InitAnswered:
    """The platform gave a publish id (rule R3). `upload_url` is sealed."""

    post: PostId
    fence: int
    publish_id: str
    upload_url: str | None = field(repr=False)
    upload_url_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class UploadResumed:
    """A worker goes on with an upload that a crash interrupted; the platform has this many bytes."""

    post: PostId
    fence: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class ChunkStored:
    """The upload host has these bytes."""

    post: PostId
    fence: int
    stored_bytes: int
    tell: bool  # publish a progress event


@dataclass(frozen=True, slots=True)
class CommitIntended:
    """The last chunk is about to leave: the point of no return (rule R4)."""

    post: PostId
    fence: int


@dataclass(frozen=True, slots=True)
class UploadFinished:
    """The upload host has all of it."""

    post: PostId
    fence: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The attempt ended without a verdict of the platform."""

    post: PostId
    fence: int
    error: PlatformError
    url_is_dead: bool = False  # this upload can never be finished any more


@dataclass(frozen=True, slots=True)
class StatusRead:
    """A status read came back. `error` where it did not."""

    post: PostId
    fence: int
    answer: StatusAnswer | None
    error: PlatformError | None = None


@dataclass(frozen=True, slots=True)
class HintReceived:
    """A platform's webhook, its signature checked. The answer is a HintOutcome."""

    hint: Hint


@dataclass(frozen=True, slots=True)
class HealthWanted:
    """The service manager's status line is due. The answer is what system/health answers."""


@dataclass(frozen=True, slots=True)
class FiguresWanted:
    """Somebody wants the numbers that the ledger knows. The answer is a Standing."""

    with_successes: bool = False  # when each account has last got a post out, too


@dataclass(frozen=True, slots=True)
class WithdrawalAnswered:
    """The platform was asked to stop a post that it is still fetching."""

    command: int
    post: PostId
    error: PlatformError | None


@dataclass(frozen=True, slots=True)
class RefreshIntended:
    """A worker wants to be the only one that refreshes this account's tokens."""

    account: AccountName
    node: NodeName
    token_version: int


@dataclass(frozen=True, slots=True)
class TokensRefreshed:
    """A new token pair, sealed. On disk before anybody uses it."""

    account: AccountName
    token_version: int
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    access_seconds: int = 86400
    refresh_seconds: int = 31536000
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """The refresh did not work. `is_final`: the person must link the account again."""

    account: AccountName
    token_version: int
    is_final: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeExchanged:
    """The platform gave tokens for a code; sealed, and nobody's until the core has looked whose they are."""

    request: Request
    account: AccountName
    state_hash: str
    open_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    access_expires_at: datetime
    refresh_expires_at: datetime
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExchangeFailed:
    """There are no tokens for a code, or nobody can know; the link is over either way."""

    request: Request
    account: AccountName
    error: PlatformError


@dataclass(frozen=True, slots=True)
class UnlinkIntended:
    """A worker wants to tell the platform that an account's tokens are over: as its turn, or to go on with that one.

    The turn is named by the token version that its beginning has given the account; None asks for a new one.
    """

    account: AccountName
    node: NodeName
    token_version: int | None = None


@dataclass(frozen=True, slots=True)
class TokensGivenBack:
    """An account's tokens are over: told to the platform, or tried long enough (`error`).

    `command` is 0 where another node's order was taken over; `token_version` names the turn, None where none was had.
    """

    command: int
    account: AccountName
    error: str | None
    token_version: int | None = None


@dataclass(frozen=True, slots=True)
class AccountInspected:
    """The platform was asked about an account, for the caller of `request`."""

    request: Request
    account: AccountName
    creator: Creator | None
    error: PlatformError | None
    linked_at: datetime | None = None  # of the link that was asked about


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to AttemptStarted: what the worker goes on with."""

    post: Post
    account: Account
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class RefreshTurn:
    """The answer to RefreshIntended: the account as it stands, and whether this worker may refresh it now."""

    account: Account | None
    may_refresh: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a question that changes nothing: `body` as in a reply."""

    request: Request
    body: dict[str, object] = field(hash=False)
