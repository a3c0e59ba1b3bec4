"""task/update: the other service tells how its task goes on."""

from dataclasses import replace
from typing import Any

from daemon.domain.errors import Code, Rejected
from daemon.domain.task import Task, is_engaged, with_logs
from daemon.domain.task_commands import UpdateTask
from daemon.handlers.context import Context
from daemon.handlers.tasks import lines_of, merged, move_to, post_of, require_task, save_task, steps_of

_PARTS = {
    "description": "description", "status": "status", "planning_steps": "planning_steps",
    "execution_steps": "execution_steps", "logs": "logs", "output": "output_data",
}  # fmt: skip


def handle(command: UpdateTask, context: Context) -> dict[str, Any]:
    """Store what is new. Raises Rejected: no_such_task, already_final, already_posted, bad_field."""
    task = require_task(command.task, context, lock=True)
    updated = _updated(task, command, context)
    what = [name for part, name in _PARTS.items() if getattr(task, part) != getattr(updated, part)]
    if "output_data" in what and is_engaged(post_of(task, context)):
        raise Rejected(
            Code.ALREADY_POSTED, f"task {task.id} is being posted, or was: its output stays as it was posted",
            field="args.output_data",
        )  # fmt: skip
    if what:
        updated = save_task(task, updated, context, what)
    return {"task": updated.id, "status": updated.status.value, "changed": what, "rev": updated.version}


def _updated(task: Task, command: UpdateTask, context: Context) -> Task:
    if command.status is not None:
        task = move_to(task, command.status)
    if command.description is not None:
        task = replace(task, description=command.description)
    if command.planning_steps is not None:
        task = replace(task, planning_steps=steps_of(command.planning_steps))
    if command.execution_steps is not None:
        task = replace(task, execution_steps=steps_of(command.execution_steps))
    if command.output_data is not None:
        task = replace(task, output=merged(task.output, command.output_data))
    return with_logs(task, *lines_of(command.logs, context))
