"""task/status: everything about one task, and how far its post is."""

from typing import Any

from daemon.domain.task_commands import ShowTask
from daemon.domain.task_views import task_detail
from daemon.handlers import fetches
from daemon.handlers.context import Context
from daemon.handlers.tasks import post_of, require_task


def handle(command: ShowTask, context: Context) -> dict[str, Any]:
    """Return the task. Raises Rejected(no_such_task)."""
    task = require_task(command.task, context)
    return task_detail(task, post_of(task, context), fetches.progress(task.id, context))
