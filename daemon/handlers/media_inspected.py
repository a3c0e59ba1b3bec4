"""The intake check of a scheduled post is over: schedule it, or say why not."""

import json

from daemon.domain.commands import VERBS, SchedulePost
from daemon.domain.errors import Rejected
from daemon.domain.reports import MediaInspected
from daemon.domain.wire import read_args
from daemon.handlers import schedule_post
from daemon.handlers.context import Context


def handle(report: MediaInspected, context: Context) -> None:
    """Answer the command that waited for the check."""
    stored = context.unit.command(report.command)
    if stored.reply is not None:
        return  # checked twice around a restart; the first answer stands
    context.stored = stored
    body = json.loads(stored.body)
    command = read_args(VERBS[stored.verb], body["args"])
    try:
        if report.refusal is not None or report.facts is None or not isinstance(command, SchedulePost):
            raise report.refusal or TypeError(f"{stored.verb} has no media")
        result = schedule_post.finish(command, report.facts, context, dry_run=body["dry_run"])
    except Rejected as refusal:
        context.finish(stored, {"status": "rejected", "error": refusal.as_dict()})
    else:
        context.finish(stored, {"status": "done", "result": result})
