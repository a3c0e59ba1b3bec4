"""A task: finished work of another service, such as a generated video, that may be posted.

    SUBMITTED ─▶ RUNNING ─▶ COMPLETED · FAILED          SUBMITTED ─▶ COMPLETED · FAILED

What a task becomes is its sender's word; tokd adds the post, and tells in the task's log what becomes of that.
A final status stays; steps, texts and the output may still be completed after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.addresses import shown_url
from daemon.domain.errors import IllegalMove
from daemon.domain.events import EventType
from daemon.domain.ids import LOCAL_ACTOR, SELF_ACTOR, Actor, PostId, TaskId
from daemon.domain.post import FINAL, Post, State
from daemon.domain.times import iso

CAPTION_UNITS_MAX = 2200  # UTF-16 code units, as TikTok counts
LOGS_MAX = 200
OWN_NAME = "tokd"
_HTTP = "http:"
LETS_GO = frozenset({State.FAILED, State.CANCELLED})  # a post that is no more, and never was out
_BEYOND_ONE_UNIT = 0xFFFF


class TaskStatus(StrEnum):
    """How far the other service is."""

    SUBMITTED = "submitted"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.SUBMITTED: frozenset({TaskStatus.RUNNING, TaskStatus.COMPLETED, TaskStatus.FAILED}),
    TaskStatus.RUNNING: frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED}),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset(),
}


class LogStatus(StrEnum):
    """The kind of a log line."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a plan or of its execution, in its sender's words."""

    id: str
    title: str
    description: str = ""
    status: str = "pending"

    def as_dict(self) -> dict[str, str]:
        """Return plain JSON values."""
        return {"id": self.id, "title": self.title, "description": self.description, "status": self.status}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """What somebody did for the task."""

    timestamp: datetime
    agent_name: str
    action: str
    status: LogStatus
    message: str
    details: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "timestamp": iso(self.timestamp), "agent_name": self.agent_name, "action": self.action,
            "status": self.status.value, "message": self.message, "details": self.details,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the other service has made: a video below a media root or at an address, and a text for it."""

    video_url: str | None = None
    video_path: str | None = None
    caption: str | None = None

    @property
    def has_video(self) -> bool:
        """Tell whether there is anything to post."""
        return bool(self.video_path or self.video_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task as it stands in the database. Immutable: every change is a new value, saved by the bus."""

    id: TaskId
    user: str
    instance_id: str
    description: str
    status: TaskStatus
    created_at: datetime
    updated_at: datetime
    command_id: str
    planning_steps: tuple[Step, ...] = ()
    execution_steps: tuple[Step, ...] = ()
    logs: tuple[LogLine, ...] = ()  # the newest LOGS_MAX
    output: Output = Output()
    post: PostId | None = None  # the last one
    version: int = 1

    @property
    def is_over(self) -> bool:
        """Tell whether its status is final."""
        return not MOVES[self.status]


def owner_of(actor: Actor) -> str:
    """Return the user an actor is: one name is one owner over HTTP and MQTT.

    The names of tokd's own actors are nobody else's: who calls himself `local` over HTTP is not the person at the
    machine.
    """
    name = actor.removeprefix(_HTTP)
    return actor if name in {LOCAL_ACTOR, SELF_ACTOR} else name


def may_see(actor: Actor, task: Task) -> bool:
    """Tell whether the actor may know of the task: its owner, and the person at the machine."""
    return actor == LOCAL_ACTOR or owner_of(actor) == task.user


def move(task: Task, to: TaskStatus) -> Task:
    """Return the task in this status; the one it has already changes nothing. Raises IllegalMove."""
    if to is task.status:
        return task
    if to not in MOVES[task.status]:
        raise IllegalMove(f"task {task.id} is {task.status}: it cannot be {to} any more")
    return replace(task, status=to)


def is_engaged(post: Post | None) -> bool:
    """Tell whether a task's post stands in the way of another one: under way, in doubt, or out."""
    return post is not None and post.state not in LETS_GO


def can_post(task: Task, post: Post | None) -> bool:
    """Tell whether the task may be posted now; `post` is its last one."""
    return task.status is TaskStatus.COMPLETED and task.output.has_video and not is_engaged(post)


def suggested_caption(task: Task) -> str:
    """Return a caption that TikTok takes: the output's, else the description, cut at a word."""
    text = (task.output.caption or "").strip() or task.description.strip()
    return cut_at_word(text, CAPTION_UNITS_MAX)


def cut_at_word(text: str, units_max: int) -> str:
    """Return as many whole words as fit into so many UTF-16 units; of a longer first word, its beginning."""
    units = 0
    for place, letter in enumerate(text):
        units += 2 if ord(letter) > _BEYOND_ONE_UNIT else 1
        if units > units_max:
            head = text[:place]
            if not letter.isspace() and any(found.isspace() for found in head):
                head = head.rstrip() if head[-1].isspace() else head[: -len(head.split()[-1])]
            return head.rstrip()
    return text


def with_logs(task: Task, *lines: LogLine) -> Task:
    """Return the task with further log lines; the oldest make room."""
    return replace(task, logs=(*task.logs, *lines)[-LOGS_MAX:]) if lines else task


def changed(old: Task, new: Task, now: datetime) -> Task:
    """Return the new task as the next version of the old one."""
    return replace(new, updated_at=now, version=old.version + 1)


# -- its post ------------------------------------------------------------------------------------------------

_I, _S, _W, _E = LogStatus.INFO, LogStatus.SUCCESS, LogStatus.WARNING, LogStatus.ERROR

# The events of a post that its task tells. Steps on the way are no news: whoever looks, sees the post itself.
NEWS: Mapping[EventType, tuple[LogStatus, str]] = {
    EventType.POST_SCHEDULED: (_I, "the post is scheduled"),
    EventType.POST_RESCHEDULED: (_I, "the post has another time"),
    EventType.POST_HELD: (_W, "the post is held"),
    EventType.POST_UNCERTAIN: (_W, "nobody can tell whether it was posted"),
    EventType.POST_RESOLVED: (_I, "a person has said what became of the post"),
    EventType.POST_PUBLISHED: (_S, "it is published"),
    EventType.POST_PUBLIC: (_S, "it is public"),
    EventType.POST_SENT_TO_INBOX: (_S, "it lies in the creator's inbox"),
    EventType.POST_FAILED: (_E, "the post has failed"),
    EventType.POST_CANCELLED: (_W, "the post was cancelled"),
}  # fmt: skip


def follow(task: Task, post: Post, event: EventType, now: datetime) -> Task:
    """Return the task after news of its post, with a line about it; an earlier post of it is no news."""
    if event not in NEWS or task.post != post.id:
        return task
    status, message = NEWS[event]
    details = {
        "post": post.id, "state": post.state.value, "account": post.account, "url": post.url,
        "publish_id": post.publish_id, "reason": post.reason, "at": iso(post.due_at) if post.due_at else None,
    }  # fmt: skip
    if post.state in FINAL - LETS_GO and task.output.video_url:
        # It is out, and can never be posted again: a signed address is a password that nobody needs any more.
        task = replace(task, output=replace(task.output, video_url=shown_url(task.output.video_url)))
    line = LogLine(
        timestamp=now, agent_name=OWN_NAME, action=event.value, status=status,
        message=f"{message}: {post.detail}" if post.detail else message,
        details={name: value for name, value in details.items() if value is not None},
    )  # fmt: skip
    return changed(task, with_logs(task, line), now)
