"""What callers may send, endpoint by endpoint; a field that does not stand here is refused."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from daemon.domain.command import AccountArg, Address, Command, ProfileArg
from daemon.domain.commands import IfLate, SchedulePost
from daemon.domain.post import Mode, State
from daemon.domain.task import TaskStatus
from daemon.domain.task_commands import Lines, ListTasks, OutputArg, Steps, SubmitTask, Text


class Nothing(Command):
    """No fields at all: an empty body, or {}."""


class Browse(Command):
    """Which page to open."""

    url: Address
    timeout_seconds: int | None = Field(default=None, ge=1, le=3600)
    profile: ProfileArg | None = None


class Login(Command):
    """Where to log in, and for how long."""

    url: Address | None = None
    timeout_seconds: int | None = Field(default=None, ge=1, le=86400)


class Extend(Command):
    """For how long the window stays open from now on."""

    seconds: int = Field(ge=1, le=3600)


class Reschedule(Command):
    """A post's new time."""

    at: Annotated[str, StringConstraints(max_length=64)]
    zone: Annotated[str, StringConstraints(max_length=64)] | None = None
    if_late: IfLate | None = None


class Resolve(Command):
    """What became of an uncertain post."""

    outcome: Literal["published", "not_published", "post_again"]
    by: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class TaskChanges(Command):
    """How a task goes on: what is given replaces what was, `logs` are added, `output_data` is merged."""

    description: Text | None = None
    status: TaskStatus | None = None
    planning_steps: Steps | None = None
    execution_steps: Steps | None = None
    logs: Lines = ()
    output_data: OutputArg | None = None


class PostToTiktok(Command):
    """How a task's video is posted, and when: now, unless there is a `schedule_time`."""

    title: Text | None = None
    privacy_level: Annotated[str, StringConstraints(max_length=64)] | None = None
    disable_duet: bool = True
    disable_stitch: bool = True
    disable_comment: bool = True
    brand_content_toggle: bool = False
    brand_organic_toggle: bool = False
    is_aigc: bool = False
    video_cover_timestamp_ms: int | None = Field(default=None, ge=0, le=2**31 - 1)
    schedule_time: Annotated[str, StringConstraints(max_length=64)] | None = None
    account_id: AccountArg | None = None
    mode: Mode = Mode.DIRECT


class NoQuery(Command):
    """No query parameters."""


class OpenQuery(Command):
    """When to answer: as soon as the window is open, or when it is closed."""

    wait: Literal["established", "closed"] = "established"


class SessionsQuery(Command):
    """Which sessions."""

    ended: bool = False
    limit: int = Field(default=50, ge=1, le=200)


class PostsQuery(Command):
    """Which posts; `cursor` continues a list."""

    state: State | None = None
    account: AccountArg | None = None
    cursor: Annotated[str, StringConstraints(max_length=200)] | None = None
    limit: int = Field(default=50, ge=1, le=200)


class AccountsQuery(Command):
    """Which accounts: with `all` those that were unlinked, too."""

    all: bool = False


class AuthQuery(Command):
    """Whom to link; `redirect` leads to TikTok's page instead of telling its address."""

    account: AccountArg
    redirect: bool = False
    disable_auto_auth: bool = False


class CallbackQuery(Command):
    """What TikTok sends a person back with."""

    state: Annotated[str, StringConstraints(max_length=200)]
    code: Annotated[str, StringConstraints(max_length=2048)] | None = None
    scopes: Annotated[str, StringConstraints(max_length=1000)] | None = None
    error: Annotated[str, StringConstraints(max_length=200)] | None = None
    error_description: Annotated[str, StringConstraints(max_length=2000)] | None = None


class UploadQuery(Command):
    """What an upload that can be resumed says of itself."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    size: int | None = Field(default=None, ge=1, le=2**53)
    offset: int | None = Field(default=None, ge=0, le=2**53)


BODIES: tuple[type[Command], ...] = (
    Nothing, Browse, Login, Extend, Reschedule, Resolve, SchedulePost, SubmitTask, TaskChanges, PostToTiktok,
)  # fmt: skip

__all__ = [
    "BODIES",
    "AccountsQuery",
    "AuthQuery",
    "Browse",
    "CallbackQuery",
    "Extend",
    "ListTasks",
    "Login",
    "NoQuery",
    "Nothing",
    "OpenQuery",
    "PostToTiktok",
    "PostsQuery",
    "Reschedule",
    "Resolve",
    "SchedulePost",
    "SessionsQuery",
    "SubmitTask",
    "TaskChanges",
    "UploadQuery",
]
