"""What stands in the `result` of each verb's reply."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from daemon.domain import account, linking, post, task, task_views
from daemon.domain.errors import Code
from daemon.domain.shapes import operations, views
from daemon.domain.shapes.common import Bytes, CloudEvent, Effect, OnlyTried, Time, VerdictShape


class Scheduled(TypedDict):
    """The post is written down."""

    post: str
    state: post.State
    account: str
    at: NotRequired[Time]
    at_local: NotRequired[Time]
    zone: NotRequired[str]
    warnings: NotRequired[list[str]]


class WouldPost(OnlyTried):
    """The exact request that the platform would get."""

    endpoint: str
    init: str
    warnings: list[str]


class TaskScheduled(Scheduled):
    """The task's post is written down."""

    task: str
    status: task_views.PostStatus
    publish_id: str | None


class TaskWouldPost(WouldPost):
    """The exact request that the platform would get."""

    task: str


class Rescheduled(Effect):
    """The post's new time."""

    post: str
    state: post.State
    at: Time
    at_local: Time


class PublishedNow(Effect):
    """The post is due."""

    post: str
    state: post.State
    at: Time
    warnings: NotRequired[list[str]]


class Cancelled(Effect):
    """The post as it is now; `note` where the platform has the last word."""

    post: str
    state: post.State
    note: NotRequired[str]


class Resolved(Effect):
    """What was said, and by whom."""

    post: str
    state: post.State
    outcome: Literal["published", "not_published", "post_again"]
    by: str


class PostPage(TypedDict):
    """Posts, and the cursor that continues the list."""

    posts: list[views.PostView]
    cursor: NotRequired[str]


class Submitted(Effect):
    """The task is written down."""

    task: str
    status: task.TaskStatus
    instance_id: str
    user: str


class Updated(Effect):
    """Which parts of the task are new."""

    task: str
    status: task.TaskStatus
    changed: list[str]
    rev: int


class TaskPage(TypedDict):
    """Tasks, and the cursor that continues the list."""

    tasks: list[views.TaskView]
    cursor: NotRequired[str]


class Accounts(TypedDict):
    """The accounts."""

    accounts: list[views.AccountView]


class Imported(views.AccountView, Effect):
    """The linked account."""


class LinkBegun(TypedDict):
    """Where a person agrees in a browser, and until when. Keep `state` to yourself."""

    account: str
    expires_at: Time
    redirect_uri: str
    flow: linking.Flow
    scopes: list[str]
    auth_url: str
    state: str


class WouldLink(OnlyTried):
    """What a person would be asked."""

    account: str
    expires_at: Time
    redirect_uri: str
    flow: linking.Flow
    scopes: list[str]


class Linked(views.AccountView):
    """The linked account; `missing` are the scopes that were asked for and not granted."""

    missing: list[str]
    warnings: list[str]


class WouldFinish(OnlyTried):
    """The account whose link waits for this answer."""

    account: str


class Unlinked(Effect):
    """The tokens are forgotten; `revoked` tells whether the platform has taken them back."""

    account: str
    login: account.Login
    revoked: bool
    detail: str


class Switched(views.AccountView, Effect):
    """The account as it is now."""


class AccountChecked(views.AccountView):
    """The account as it is now; `checked` tells whether the platform has answered, `problem` why not."""

    checked: bool
    problem: NotRequired[str]


class Closing(Effect):
    """The session is being closed, or over already."""

    session: str
    state: Literal["closing", "ended"]
    reason: NotRequired[str | None]


class AllClosing(Effect):
    """The sessions that are being closed."""

    closing: list[str]


class Sessions(TypedDict):
    """Sessions, newest first."""

    sessions: list[views.SessionView]


class Extended(Effect):
    """Until when the window is open."""

    session: str
    ends_at: Time


class Picture(TypedDict):
    """Where the picture lies on tokd's machine; `image` is base64, where it was asked for."""

    session: str
    path: str
    bytes: Bytes
    media_type: str
    image: NotRequired[str]


class Checked(TypedDict):
    """The login state as it was read just now."""

    session: str
    login: VerdictShape


class Profiles(TypedDict):
    """The browser profiles on disk."""

    profiles: list[views.ProfileView]


class Promoting(Effect):
    """The session is being closed; `session.ended` tells whether the profile was replaced."""

    session: str
    state: Literal["closing"]
    profile: str


class NewToken(views.TokenView):
    """A new token, with its text this once."""

    text: str


class WouldIssue(OnlyTried):
    """What would be issued."""

    user: str
    expires_at: Time


class TokenRevoked(views.TokenView, Effect):
    """The token that was taken back."""


class Tokens(TypedDict):
    """The tokens that were issued here."""

    tokens: list[views.TokenView]


class EventPage(TypedDict):
    """Events in order, the number to ask after next, and the number of the latest one."""

    events: list[CloudEvent]
    next_after: int
    latest: int
    more: bool


class Pong(TypedDict):
    """Who answers, and when."""

    clock: Time
    boot: str
    protocol: str
    version: str
    up_s: int


class VerbRow(TypedDict):
    """A verb and the JSON schema of its arguments."""

    verb: str
    summary: str
    id_required: bool
    durable: bool
    local_only: bool
    args: dict[str, Any]


class SwitchRow(TypedDict):
    """The two verbs of a switch: what `{"on": true}` means, and what `false` does."""

    on: str
    off: str


class Description(TypedDict):
    """The protocol as data. `schema` is the SHA-256 of the AsyncAPI document, which `asyncapi` asks for."""

    protocol: str
    version: str
    verbs: list[VerbRow]
    switches: dict[str, SwitchRow]
    events: list[str]
    error_codes: list[str]
    limits: views.Limits
    schema: str
    asyncapi: NotRequired[dict[str, Any]]


class AuditEntry(TypedDict):
    """One order and one word about it. `digest` is over itself and the digest before it.

    `cut` is that digest where the entry before was removed for its age (audit.keep_days).
    """

    cut: NotRequired[str]
    number: int
    time: Time
    transport: str
    actor: str
    command: str
    id: str | None
    body_hash: str
    status: Literal["accepted", "done", "rejected", "failed", "expired"]
    code: Code | None
    digest: str


class AuditPage(TypedDict):
    """Entries in order, the number to ask after next, and the number and digest of the latest one."""

    entries: list[AuditEntry]
    next_after: int
    latest: int
    digest: str
    more: bool


class Paused(Effect):
    """Posting is paused."""

    paused: Literal[True]


class Resumed(Effect):
    """Posting goes on, with so many held posts."""

    paused: Literal[False]
    released: int


RESULTS: dict[str, Any] = {
    "post/schedule": Scheduled | WouldPost,
    "post/reschedule": Rescheduled,
    "post/cancel": Cancelled | OnlyTried,
    "post/publish_now": PublishedNow,
    "post/resolve": Resolved,
    "post/status": views.FullPostView,
    "post/list": PostPage,
    "task/submit": Submitted,
    "task/update": Updated,
    "task/post": TaskScheduled | TaskWouldPost,
    "task/status": views.TaskDetail,
    "task/list": TaskPage,
    "account/list": Accounts,
    "account/import": Imported,
    "account/link": LinkBegun | WouldLink,
    "account/finish_link": Linked | WouldFinish,
    "account/unlink": Unlinked | OnlyTried,
    "account/enable": Switched,
    "account/disable": Switched,
    "account/check": AccountChecked,
    "session/open": views.SessionView | OnlyTried,
    "session/close": Closing | AllClosing,
    "session/list": Sessions,
    "session/show": views.SessionView,
    "session/extend": Extended,
    "session/screenshot": Picture,
    "session/check": Checked,
    "profiles/list": Profiles,
    "profiles/login": views.SessionView | OnlyTried,
    "profiles/promote": Promoting,
    "token/issue": NewToken | WouldIssue,
    "token/revoke": TokenRevoked,
    "token/list": Tokens,
    "events/replay": EventPage,
    "system/ping": Pong,
    "system/describe": Description,
    "system/health": views.DaemonView,
    "system/audit": AuditPage,
    "system/pause": Paused,
    "system/resume": Resumed,
    "system/backed_up": operations.BackupNoted,
    "system/log_level": operations.LevelSet,
    "keys/reseal": operations.Resealed,
}
