"""The intake check of a scheduled post is over: schedule it, or say why not."""

import json
from typing import Any

from daemon.domain.command import Command
from daemon.domain.commands import VERBS, SchedulePost
from daemon.domain.errors import Rejected
from daemon.domain.events import EventType
from daemon.domain.media import MediaFacts
from daemon.domain.reports import MediaInspected
from daemon.domain.task_commands import PostTask
from daemon.domain.wire import read_args
from daemon.handlers import fetches, post_task, schedule_post
from daemon.handlers.context import Context


def handle(report: MediaInspected, context: Context) -> None:
    """Answer the command that waited for the check."""
    stored = context.unit.command(report.command)
    if stored.reply is not None:
        return  # checked twice around a restart; the first answer stands
    context.stored = stored
    body = json.loads(stored.body)
    command = read_args(VERBS[stored.verb], body["args"])
    fetches.forget(stored, context)
    if report.url is not None and report.refusal is not None:
        told = {"code": report.refusal.code.value, "detail": report.refusal.message, "command_id": stored.id}
        context.emit(EventType.MEDIA_REFUSED, f"command/{stored.id}", told)
    try:
        result = _finish(command, report, context, dry_run=body["dry_run"])
    except Rejected as refusal:
        context.finish(stored, {"status": "rejected", "error": refusal.as_dict()})
    else:
        context.finish(stored, {"status": "done", "result": result})


def _finish(command: Command, report: MediaInspected, context: Context, *, dry_run: bool) -> dict[str, Any]:
    match command:
        case SchedulePost():
            return schedule_post.finish(command, _facts(report), context, dry_run=dry_run)
        case PostTask():
            with post_task.in_its_words():
                return post_task.finish(command, _facts(report), context, dry_run=dry_run, url=report.url)
    raise TypeError(f"{type(command).__name__} has no media")


def _facts(report: MediaInspected) -> MediaFacts:
    if report.refusal is not None or report.facts is None:
        raise report.refusal or TypeError("a check that found nothing out")
    return report.facts
