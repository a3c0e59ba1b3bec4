"""task/post: post a task's video. From here on it is a post like any other; this only says which video and whose."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from daemon.domain.account import Login
from daemon.domain.commands import SchedulePost
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import PostId
from daemon.domain.media import MediaFacts
from daemon.domain.task import Task, TaskStatus, is_engaged, suggested_caption
from daemon.domain.task_commands import PostTask
from daemon.domain.task_views import post_status
from daemon.domain.times import NOW_WORD
from daemon.handlers import schedule_post
from daemon.handlers.context import Accepted, Context
from daemon.handlers.tasks import post_of, require_task

# What the caller calls it, where a post has another word for it.
_WORDS = {
    "args.media": "args.task", "args.url": "args.task", "args.privacy": "args.privacy_level",
    "args.at": "args.schedule_time", "args.cover_ms": "args.video_cover_timestamp_ms",
    "args.brand_content": "args.brand_content_toggle", "args.brand_organic": "args.brand_organic_toggle",
    "args.allow_comment": "args.disable_comment", "args.allow_duet": "args.disable_duet",
    "args.allow_stitch": "args.disable_stitch",
}  # fmt: skip


def handle(command: PostTask, context: Context) -> dict[str, Any] | Accepted:
    """Order the post, or accept it while the video is being checked.

    Raises Rejected: no_such_task, already_posted, bad_field where there is nothing to post yet, and whatever
    post/schedule refuses.
    """
    task = _require_postable(command, context)
    with in_its_words():
        result = schedule_post.schedule(_order(command, task, context), context, task.id)
    return result if isinstance(result, Accepted) else _told(task, result, context)


def finish(
    command: PostTask, facts: MediaFacts, context: Context, *, dry_run: bool, url: str | None = None
) -> dict[str, Any]:
    """Order the post now that its video has been checked: meanwhile another order may have posted the task."""
    task = _require_postable(command, context)
    checked = (None, url) if url is not None else (facts.name, task.output.video_url)
    if (task.output.video_path, task.output.video_url) != checked:
        raise Rejected(
            Code.MEDIA_REJECTED,
            f"task {task.id} has got another video while this one was being checked; order it again",
            field="args.task",
            retryable=True,
        )
    order = _order(command, task, context)
    result = schedule_post.finish(order, facts, context, dry_run=dry_run, task=task.id)
    return _told(task, result, context)


def _require_postable(command: PostTask, context: Context) -> Task:
    task = require_task(command.task, context, lock=True)
    post = post_of(task, context)
    if post is not None and is_engaged(post):
        raise Rejected(
            Code.ALREADY_POSTED,
            f"task {task.id} has post {post.id}, which is {post.state}",
            field="args.task",
        )
    if task.status is not TaskStatus.COMPLETED:
        raise Rejected(Code.BAD_FIELD, f"task {task.id} is {task.status}, not completed", field="args.task")
    if not task.output.has_video:
        raise Rejected(
            Code.BAD_FIELD,
            f"task {task.id} has no video; task/update gives its output_data one",
            field="args.task",
        )
    return task


def _order(command: PostTask, task: Task, context: Context) -> SchedulePost:
    # A given title is the caption, an empty one is none; without one it is what the task suggests.
    caption = suggested_caption(task) if command.title is None else None
    return SchedulePost(
        account=command.account or _only_account(context),
        media=task.output.video_path,
        url=None if task.output.video_path else task.output.video_url,
        mode=command.mode,
        at=command.schedule_time or NOW_WORD,
        zone=command.zone,
        title=command.title,
        expression=caption,
        privacy=command.privacy_level,
        cover_ms=command.video_cover_timestamp_ms,
        allow_comment=not command.disable_comment,
        allow_duet=not command.disable_duet,
        allow_stitch=not command.disable_stitch,
        brand_content=command.brand_content_toggle,
        brand_organic=command.brand_organic_toggle,
        is_aigc=command.is_aigc,
        consent_by=command.consent_by,
    )


def _only_account(context: Context) -> str:
    names = [found.name for found in context.unit.accounts() if found.login is not Login.UNLINKED]
    if len(names) == 1:
        return names[0]
    if not names:
        raise Rejected(
            Code.NO_SUCH_ACCOUNT,
            "no account is linked yet; link one with `tokd account link NAME`",
            field="args.account",
        )
    raise Rejected(
        Code.BAD_FIELD,
        f"several accounts are linked: say which, {', '.join(names[:10])}",
        field="args.account",
    )


@contextmanager
def in_its_words() -> Iterator[None]:
    """Let a refusal name the caller's fields instead of the post's."""
    try:
        yield
    except Rejected as refusal:
        refusal.field = _WORDS.get(refusal.field or "", refusal.field)
        raise


def _told(task: Task, result: dict[str, Any], context: Context) -> dict[str, Any]:
    post = context.unit.post(PostId(result["post"])) if "post" in result else None
    told: dict[str, Any] = {"task": task.id}
    if post is not None:
        told |= {"status": post_status(post).value, "publish_id": post.publish_id}
    return told | result
