"""How tasks look from outside: the same JSON over every wire. The post's part is read from the post itself."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from daemon.domain.post import Post, Source, State
from daemon.domain.task import Task, can_post, suggested_caption
from daemon.domain.times import iso
from daemon.domain.views import post_view


class PostStatus(StrEnum):
    """A post's state in the few words that a task's owner needs."""

    SCHEDULED = "SCHEDULED"
    PROCESSING = "PROCESSING"
    PUBLISHED = "PUBLISHED"
    INBOX = "INBOX"
    FAILED = "FAILED"
    UNCERTAIN = "UNCERTAIN"


_STATUSES = {
    State.DRAFT: PostStatus.SCHEDULED,
    State.SCHEDULED: PostStatus.SCHEDULED,
    State.HELD: PostStatus.SCHEDULED,
    State.PUBLISHED: PostStatus.PUBLISHED,
    State.SENT_TO_INBOX: PostStatus.INBOX,
    State.UNCERTAIN: PostStatus.UNCERTAIN,
    State.FAILED: PostStatus.FAILED,
    State.CANCELLED: PostStatus.FAILED,  # nothing more will come; `state` says which of the two
}
_BAD_ENDS = frozenset({State.FAILED, State.CANCELLED, State.UNCERTAIN})


def post_status(post: Post) -> PostStatus:
    """Return the word for a post's state; all between the claim and the platform's word is PROCESSING."""
    return _STATUSES.get(post.state, PostStatus.PROCESSING)


def task_view(task: Task, post: Post | None) -> dict[str, Any]:
    """Return a task as it stands in lists; `post` is its last one."""
    return {
        "task": task.id,
        "user": task.user,
        "instance_id": task.instance_id,
        "description": task.description,
        "status": task.status.value,
        "output_data": {
            "video_url": task.output.video_url,
            "video_path": task.output.video_path,
            "caption": task.output.caption,
        },
        "can_post_to_tiktok": can_post(task, post),
        "post": task.post,
        "tiktok_post_status": post_status(post).value if post else None,
        "tiktok_publish_id": post.publish_id if post else None,
        "tiktok_post_url": post.url if post else None,
        "scheduled_post_time": iso(post.due_at) if post and post.due_at else None,
        "created_at": iso(task.created_at),
        "updated_at": iso(task.updated_at),
        "rev": task.version,
    }


def task_detail(task: Task, post: Post | None, fetch: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return everything about a task; `fetch` says how far its video is on its way here, before there is a post."""
    return task_view(task, post) | {
        "planning_steps": [step.as_dict() for step in task.planning_steps],
        "execution_steps": [step.as_dict() for step in task.execution_steps],
        "execution_logs": [line.as_dict() for line in task.logs],
        "suggested_caption": suggested_caption(task),
        "tiktok_post_data": post_view(post) if post else None,
        "post_status": _post_status(task, post, fetch),
        "command_id": task.command_id,
    }


def _post_status(task: Task, post: Post | None, fetch: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if fetch is not None:
        return dict.fromkeys(_STATUS_FIELDS) | {
            "status": PostStatus.PROCESSING.value, "state": "fetching", "uploaded_bytes": 0,
            "downloaded_bytes": fetch["received"],
        }  # fmt: skip
    if post is None:
        return None
    view = post_status_view(post)
    if post.facts is not None and task.output.video_path is None:
        view["downloaded_bytes"] = post.facts.size
    return view


_STATUS_FIELDS = (
    "post", "status", "state", "publish_id", "post_id", "post_url", "fail_reason", "reason", "detail", "uploaded_bytes",
    "downloaded_bytes", "scheduled_post_time",
)  # fmt: skip


def post_status_view(post: Post) -> dict[str, Any]:
    """Return how far a task's post is."""
    return {
        "post": post.id,
        "status": post_status(post).value,
        "state": post.state.value,
        "publish_id": post.publish_id,
        "post_id": post.public_ids[0] if post.public_ids else None,
        "post_url": post.url,
        "fail_reason": (post.reason or post.state.value) if post.state in _BAD_ENDS else None,
        "reason": post.reason,
        "detail": post.detail,
        "uploaded_bytes": post.sent_bytes if post.source is Source.FILE else 0,
        "downloaded_bytes": None,  # where TikTok fetches, it tells it only meanwhile, and nobody stores it
        "scheduled_post_time": iso(post.due_at) if post.due_at else None,
    }
