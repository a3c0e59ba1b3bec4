"""task/submit: write another service's task down."""

from typing import Any

from daemon.domain.events import EventType
from daemon.domain.task import Output, Task, owner_of, with_logs
from daemon.domain.task_commands import SubmitTask
from daemon.handlers.context import Context
from daemon.handlers.tasks import actor_of, lines_of, merged, steps_of, tell_task


def handle(command: SubmitTask, context: Context) -> dict[str, Any]:
    """Store the task for its sender."""
    task = Task(
        id=context.rules.ids.task(), user=owner_of(actor_of(context)), instance_id=command.instance_id,
        description=command.description, status=command.status, created_at=context.now, updated_at=context.now,
        command_id=context.command_id, planning_steps=steps_of(command.planning_steps),
        execution_steps=steps_of(command.execution_steps), output=merged(Output(), command.output_data),
    )  # fmt: skip
    task = with_logs(task, *lines_of(command.logs, context))
    context.unit.add_task(task)
    tell_task(task, context, EventType.TASK_SUBMITTED, command_id=task.command_id)
    return {"task": task.id, "status": task.status.value, "instance_id": task.instance_id, "user": task.user}
