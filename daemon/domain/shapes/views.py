"""Posts, tasks, accounts, sessions, profiles and the daemon, as `views.py` and `task_views.py` show them."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from daemon.domain import account, login, post, session, task, task_views
from daemon.domain.shapes.common import Bytes, Lateness, ProblemShape, Time, VerdictShape


class PostView(TypedDict):
    """A post as everybody may see it. What is not known yet is left out."""

    post: str
    account: str
    platform: str
    state: post.State
    mode: post.Mode
    kind: post.Kind
    media: list[str]
    zone: str
    if_late: Lateness
    attempt: int
    sent_bytes: Bytes
    created_at: Time
    state_since: Time
    command_id: str
    rev: int
    task: NotRequired[str]
    title: NotRequired[str]
    privacy: NotRequired[str]
    at: NotRequired[Time]
    at_local: NotRequired[Time]
    reason: NotRequired[str]
    detail: NotRequired[str]
    publish_id: NotRequired[str]
    post_ids: NotRequired[list[str]]
    url: NotRequired[str]
    size: NotRequired[Bytes]
    next_look_at: NotRequired[Time]
    finished_at: NotRequired[Time]


class ConsentView(TypedDict):
    """Who asked for the post, when and through what."""

    who: str
    actor: str
    at: Time
    through: str


class AttemptView(TypedDict):
    """One attempt to bring a post to its platform."""

    number: int
    started_at: Time
    init_sent_at: NotRequired[Time]
    publish_id: NotRequired[str]
    size: NotRequired[Bytes]
    chunks: NotRequired[int]
    stored_bytes: NotRequired[Bytes]
    commit_sent_at: NotRequired[Time]
    ended_at: NotRequired[Time]
    outcome: NotRequired[str]
    error: NotRequired[str]


class FileView(TypedDict):
    """What was read from a media file. Sizes in bytes and pixels, durations in seconds."""

    name: str
    size: Bytes
    sha256: str
    container: str
    mime_type: str
    video_codec: str
    audio_codec: str | None
    width: int
    height: int
    duration_s: float
    fps: float
    fps_max: float
    pixel_format: str


class FullPostView(PostView):
    """A post with its consent, its file and its attempts."""

    consent: ConsentView
    attempts: list[AttemptView]
    file: NotRequired[FileView]


class CreatorView(TypedDict):
    """What the platform lets an account do."""

    username: str
    nickname: str
    privacy_options: list[str]
    comment_disabled: bool
    duet_disabled: bool
    stitch_disabled: bool
    duration_max_s: int


class SightingView(TypedDict):
    """The login state of a browser profile when it was last read."""

    state: login.Login
    method: str
    seen_at: Time
    reason: NotRequired[str]
    username: NotRequired[str]


class LastResult(TypedDict):
    """How the account's last post ended."""

    state: post.State
    post: str
    at: Time
    url: str | None


class LastError(TypedDict):
    """The account's last trouble: a post that failed, is held, or is uncertain."""

    code: str
    message: str | None
    post: str
    at: Time


class AccountView(TypedDict):
    """An account; its tokens stay in the database. One that is unlinked has no times of theirs.

    `session` is the state of the session on its profile, or `none`; `queued` counts the posts that wait.
    """

    account: str
    profile: str
    session: session.SessionState | Literal["none"]
    session_id: str | None
    session_ends_at: Time | None
    queued: int
    next_post_at: Time | None
    last_result: LastResult | None
    last_error: LastError | None
    problems: list[Literal["needs_login", "disabled", "browser_logged_out"]]
    platform: str
    open_id: str
    login: account.Login
    enabled: bool
    scopes: list[str]
    linked_at: Time
    access_expires_at: NotRequired[Time]
    refresh_expires_at: NotRequired[Time]
    token_days_left: NotRequired[int]
    detail: NotRequired[str]
    browser_login: NotRequired[SightingView]
    creator: NotRequired[CreatorView]


class LoginAlert(TypedDict):
    """The account's tokens do not work any more: `todo` is the command that helps."""

    alert: Literal["needs_login"]
    account: str
    message: str
    todo: str


class SafeModeAlert(TypedDict):
    """tokd does nothing but answer: `message` says why, `todo` what a person is to do."""

    alert: Literal["safe_mode"]
    message: str
    todo: str


class SessionView(TypedDict):
    """A browser session as everybody may see it."""

    session: str
    kind: session.SessionKind
    profile: str
    url: str
    state: session.SessionState
    state_since: Time
    headless: bool
    created_at: Time
    command_id: str
    opened_at: NotRequired[Time]
    ends_at: NotRequired[Time]
    login: NotRequired[VerdictShape]
    warnings: NotRequired[list[str]]
    ended_at: NotRequired[Time]
    reason: NotRequired[session.EndReason]
    error: NotRequired[ProblemShape]


class ProfileView(TypedDict):
    """A browser profile. What the disk says of it is in the list only.

    `used_at` is when a session last opened it or a clone of it, or its cookies last changed.
    """

    profile: str
    login: NotRequired[SightingView]
    account: NotRequired[str]
    size: NotRequired[Bytes]
    files: NotRequired[int]
    used_at: NotRequired[Time]
    in_use_by: NotRequired[str]
    encryption: NotRequired[Literal["v10", "v11", "mixed", "none"]]


class OutputView(TypedDict):
    """What the other service has made."""

    video_url: str | None
    video_path: str | None
    caption: str | None


class TaskView(TypedDict):
    """A task as it stands in lists; `post` is its last one."""

    task: str
    user: str
    instance_id: str
    description: str
    status: task.TaskStatus
    output_data: OutputView
    can_post_to_tiktok: bool
    post: str | None
    tiktok_post_status: task_views.PostStatus | None
    tiktok_publish_id: str | None
    tiktok_post_url: str | None
    scheduled_post_time: Time | None
    created_at: Time
    updated_at: Time
    rev: int


class StepView(TypedDict):
    """One step of a plan or of its execution."""

    id: str
    title: str
    description: str
    status: str


class LogLineView(TypedDict):
    """What somebody did for the task."""

    timestamp: Time
    agent_name: str
    action: str
    status: task.LogStatus
    message: str
    details: dict[str, Any] | None


class PostStatusView(TypedDict):
    """How far a task's post is."""

    post: str
    status: task_views.PostStatus
    state: post.State
    publish_id: str | None
    post_id: str | None
    post_url: str | None
    fail_reason: str | None
    reason: str | None
    detail: str | None
    uploaded_bytes: Bytes
    downloaded_bytes: Bytes | None
    scheduled_post_time: Time | None


class FetchStatusView(TypedDict):
    """How far a task's video is on its way to tokd; there is no post yet."""

    post: None
    status: Literal[task_views.PostStatus.PROCESSING]
    state: Literal["fetching"]
    publish_id: None
    post_id: None
    post_url: None
    fail_reason: None
    reason: None
    detail: None
    uploaded_bytes: Bytes
    downloaded_bytes: Bytes
    scheduled_post_time: None


class TaskDetail(TaskView):
    """Everything about a task."""

    planning_steps: list[StepView]
    execution_steps: list[StepView]
    execution_logs: list[LogLineView]
    suggested_caption: str | None
    tiktok_post_data: PostView | None
    post_status: PostStatusView | FetchStatusView | None
    command_id: str


class TokenView(TypedDict):
    """A token for HTTP, never its text."""

    token: str
    user: str
    issued_at: Time
    expires_at: Time
    valid: bool
    revoked_at: NotRequired[Time]


class DaemonView(TypedDict):
    """The daemon: `degraded` names what is not as it should be; each of `parts` has `ok` and facts of its own.

    `problems` is `degraded` without what a person has chosen.
    """

    phase: Literal["ready", "degraded", "safe_mode"]
    degraded: list[str]
    problems: list[str]
    safe_mode: str | None
    paused: bool
    boot: str
    version: str
    started_at: Time
    posts: dict[post.State, int]
    outbox: int
    parts: dict[str, dict[str, Any]]


class Limits(TypedDict):
    """How large a command may be."""

    bytes: int
    depth: NotRequired[int]


class InfoView(TypedDict):
    """What this daemon is. `schema` is the SHA-256 of the AsyncAPI document that it keeps to."""

    name: Literal["tokd"]
    version: str
    protocol: str
    node: str
    verbs: list[str]
    limits: Limits
    schema: str


# Retained, below `state/`, alerts beside it: one message for each thing.
STATES: dict[str, type] = {
    "daemon": DaemonView,
    "account/{account}": AccountView,
    "alert/needs_login_{account}": LoginAlert,
    "alert/safe_mode": SafeModeAlert,
    "post/{post}": PostView,
    "profile/{profile}": ProfileView,
    "session/{session}": SessionView,
}
# Those that are removed (by an empty payload), and when.
CLEARED = {
    "account/{account}": "once it is unlinked",
    "alert/needs_login_{account}": "once it is solved",
    "alert/safe_mode": "by the next normal start",
    "post/{post}": "some time after its end",
    "session/{session}": "some time after its end",
}
