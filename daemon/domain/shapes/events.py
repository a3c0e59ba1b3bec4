"""What stands in the `data` of each event."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from daemon.domain import account, login, post, session, task, task_views
from daemon.domain.errors import Code
from daemon.domain.events import EventType
from daemon.domain.shapes.common import Bytes, ProblemShape, Time


class PostFact(TypedDict):
    """What every event about a post says. `reason` and `detail` stand together."""

    account: str
    post: str
    state: post.State
    attempt: int
    command_id: str
    reason: NotRequired[str]
    detail: NotRequired[str | None]


class PostTimed(PostFact):
    """A post with its time; a draft has none."""

    at: Time | None


class PostStarted(PostFact):
    """An attempt begins; `resumed` where an upload goes on after a restart."""

    resumed: NotRequired[Literal[True]]


class PostInitialised(PostFact):
    """The platform has taken the order."""

    publish_id: str


class PostProgress(PostFact):
    """So much of the file has arrived."""

    sent_bytes: int
    size: int


class PostDecided(PostFact):
    """Something has been decided about a post: by the platform's word, by a rule, or by a person."""

    publish_id: NotRequired[str]
    post_ids: NotRequired[list[str]]
    url: NotRequired[str]
    until: NotRequired[Time]
    problems: NotRequired[list[ProblemShape]]
    log_id: NotRequired[str]
    status: NotRequired[int]


class PostProcessing(PostDecided):
    """The platform has all of it."""

    size: NotRequired[int]


class PostResolved(PostFact):
    """A person has said what became of an uncertain post."""

    outcome: Literal["published", "not_published", "post_again"]
    by: str
    actor: str


class PostPublic(PostFact):
    """Moderation is over."""

    post_ids: list[str]
    url: str | None


class MediaFetch(TypedDict):
    """So much of a video at an address is here; `total` where the host says it."""

    host: str
    received: Bytes
    command_id: str
    total: NotRequired[Bytes]


class MediaRefused(TypedDict):
    """The video at an address was not fetched, or is not what the platform takes; `code` is that of the answer."""

    code: Code
    detail: str
    command_id: str


class TaskFact(TypedDict):
    """What every event about a task says."""

    task: str
    user: str
    instance_id: str
    status: task.TaskStatus


class TaskSubmitted(TaskFact):
    """A new task."""

    command_id: str


class TaskChanged(TaskFact):
    """Its sender has changed these parts."""

    changed: list[str]


class TaskFollowed(TaskFact):
    """Something has become of its post."""

    post: str
    tiktok_post_status: task_views.PostStatus
    state: post.State
    publish_id: NotRequired[str]
    url: NotRequired[str]
    reason: NotRequired[str]


class AccountFact(TypedDict):
    """What every event about an account says."""

    account: str
    login: account.Login
    enabled: bool


class AccountLinked(AccountFact):
    """It has tokens; how far its person has agreed stands there where the person was asked through tokd."""

    scopes: NotRequired[list[str]]
    missing: NotRequired[list[str]]
    warnings: NotRequired[list[str]]


class AccountLinkFailed(TypedDict):
    """The link has come to nothing; `code` is the platform's, or one of ours."""

    account: str
    code: str
    message: str


class AccountUnlinked(AccountFact):
    """Its tokens are forgotten; `revoked` tells whether the platform has taken them back."""

    revoked: bool
    detail: str


class AccountRefreshed(AccountFact):
    """It has new tokens."""

    access_expires_at: Time


class AccountTrouble(AccountFact):
    """A person must do something."""

    detail: str


class SessionFact(TypedDict):
    """What every event about a session says."""

    session: str
    profile: str
    kind: session.SessionKind
    command_id: str


class SessionRequested(SessionFact):
    """An order for a session has been taken."""

    timeout_s: int
    headless: bool
    actor: str


class SessionStarted(SessionFact):
    """The browser runs."""

    url: str
    browser: str
    sandbox: bool
    headless: bool
    warnings: list[str]


class SessionLogin(SessionFact):
    """The login state has been read."""

    state: login.Login
    method: str
    evidence: list[str]
    ms: int
    reason: NotRequired[login.Doubt]
    username: NotRequired[str]
    account: NotRequired[str]


class SessionTimed(SessionFact):
    """Until when the window is open."""

    ends_at: Time


class SessionEndingSoon(SessionFact):
    """The deadline is near."""

    seconds: int
    ends_at: NotRequired[Time]


class SessionEnded(SessionFact):
    """All of it is gone. `seconds` counts from when the window was handed over.

    `backup` is where the old profile is, `kept_clone` where a clone is that could not be made the profile.
    """

    reason: session.EndReason
    seconds: float
    login: NotRequired[login.Login]
    error: NotRequired[ProblemShape]
    exit_status: NotRequired[int]
    promoted_to: NotRequired[str]
    backup: NotRequired[str]
    promotion_error: NotRequired[str]
    kept_clone: NotRequired[str]
    left_behind: NotRequired[Literal[True]]


class StrayEnded(TypedDict):
    """A session's folder was found and removed that the ledger knows nothing of."""

    session: str
    reason: Literal["orphaned"]


class TokenFact(TypedDict):
    """Which token, whose."""

    token: str
    user: str


class TokenIssued(TokenFact):
    """Until when it holds."""

    expires_at: Time


class DaemonStarted(TypedDict):
    """A new start; `after_clean_stop` is false after a crash."""

    boot: str
    version: str
    after_clean_stop: bool


class DaemonPaused(TypedDict):
    """Due posts are held from now on."""

    reason: str | None
    actor: str


class DaemonResumed(TypedDict):
    """So many held posts go on."""

    released: int
    actor: str


class DaemonStopped(TypedDict):
    """The last word of a start."""

    boot: str


class DaemonBackedUp(TypedDict):
    """A backup of the ledger was made."""

    taken_at: Time
    bytes: Bytes
    sha256: str


class DaemonRestored(TypedDict):
    """The ledger is that of a backup. Event numbers go on further up, so that none is given twice."""

    taken_at: Time
    restored_at: Time
    version: str


class PausedByRestore(TypedDict):
    """Posting waits for a person: so many posts may have gone out after the backup was taken."""

    reason: Literal["restored"]
    taken_at: Time
    restored_at: Time
    uncertain: int


class DaemonInSafeMode(TypedDict):
    """Nothing is posted and no order taken until a person has looked."""

    boot: str
    version: str
    reason: str


_E = EventType

DATA: dict[EventType, Any] = {
    _E.POST_DRAFTED: PostTimed,
    _E.POST_SCHEDULED: PostTimed,
    _E.POST_RESCHEDULED: PostTimed,
    _E.POST_STARTED: PostStarted,
    _E.POST_INITIALISED: PostInitialised,
    _E.POST_PROGRESS: PostProgress,
    _E.POST_PROCESSING: PostProcessing,
    _E.POST_RETRYING: PostDecided,
    _E.POST_HELD: PostDecided,
    _E.POST_RELEASED: PostDecided,
    _E.POST_UNCERTAIN: PostDecided,
    _E.POST_RESOLVED: PostResolved,
    _E.POST_PUBLISHED: PostDecided,
    _E.POST_PUBLIC: PostPublic,
    _E.POST_SENT_TO_INBOX: PostDecided,
    _E.POST_FAILED: PostDecided,
    _E.POST_CANCELLED: PostDecided,
    _E.MEDIA_FETCHING: MediaFetch,
    _E.MEDIA_FETCHED: MediaFetch,
    _E.MEDIA_REFUSED: MediaRefused,
    _E.TASK_SUBMITTED: TaskSubmitted,
    _E.TASK_UPDATED: TaskChanged | TaskFollowed,
    _E.TASK_POSTED: TaskFollowed,
    _E.ACCOUNT_LINKED: AccountLinked,
    _E.ACCOUNT_LINK_FAILED: AccountLinkFailed,
    _E.ACCOUNT_UNLINKED: AccountUnlinked,
    _E.ACCOUNT_REFRESHED: AccountRefreshed,
    _E.ACCOUNT_NEEDS_LOGIN: AccountTrouble,
    _E.ACCOUNT_DISABLED: AccountTrouble,
    _E.ACCOUNT_ENABLED: AccountFact,
    _E.SESSION_REQUESTED: SessionRequested,
    _E.SESSION_STARTED: SessionStarted,
    _E.SESSION_LOGIN_STATE: SessionLogin,
    _E.SESSION_OPENED: SessionTimed,
    _E.SESSION_EXTENDED: SessionTimed,
    _E.SESSION_ENDING_SOON: SessionEndingSoon,
    _E.SESSION_ENDED: SessionEnded | StrayEnded,
    _E.TOKEN_ISSUED: TokenIssued,
    _E.TOKEN_REVOKED: TokenFact,
    _E.DAEMON_STARTED: DaemonStarted,
    _E.DAEMON_PAUSED: DaemonPaused | PausedByRestore,
    _E.DAEMON_RESUMED: DaemonResumed,
    _E.DAEMON_STOPPED: DaemonStopped,
    _E.DAEMON_BACKED_UP: DaemonBackedUp,
    _E.DAEMON_RESTORED: DaemonRestored,
    _E.DAEMON_SAFE_MODE: DaemonInSafeMode,
}
