"""What the handlers of tasks have in common: who asks, which task is meant, how a change is stored and told."""

from dataclasses import replace
from typing import Any

from daemon.domain.errors import Code, IllegalMove, Rejected
from daemon.domain.events import EventType
from daemon.domain.ids import Actor, TaskId
from daemon.domain.post import Post
from daemon.domain.task import LogLine, Output, Step, Task, TaskStatus, changed, may_see, move
from daemon.domain.task_commands import LogArg, OutputArg, StepArg
from daemon.handlers.context import Context


def actor_of(context: Context) -> Actor:
    """Return who gave this order, now or before it was accepted."""
    found = context.request or context.stored
    if found is None:
        raise Rejected(Code.INTERNAL, "a task is asked for by a command")
    return found.actor


def require_task(name: str, context: Context, *, lock: bool = False) -> Task:
    """Return the task. Raises Rejected(no_such_task), for somebody else's too: its id is nobody's business."""
    task = context.unit.task(TaskId(name), lock=lock)
    if task is None or not may_see(actor_of(context), task):
        raise Rejected(
            Code.NO_SUCH_TASK, f"there is no task {name}; task/list shows yours", field="args.task"
        )
    return task


def post_of(task: Task, context: Context) -> Post | None:
    """Return the task's last post."""
    return context.unit.post(task.post) if task.post is not None else None


def move_to(task: Task, status: TaskStatus) -> Task:
    """Return the task in this status. Raises Rejected: already_final, bad_field."""
    try:
        return move(task, status)
    except IllegalMove as error:
        code = Code.ALREADY_FINAL if task.is_over else Code.BAD_FIELD
        raise Rejected(code, str(error), field="args.status") from None


def save_task(old: Task, new: Task, context: Context, what: list[str]) -> Task:
    """Store a changed task and tell which parts of it are new."""
    saved = changed(old, new, context.now)
    context.unit.save_task(saved)
    tell_task(saved, context, EventType.TASK_UPDATED, changed=what)
    return saved


def tell_task(task: Task, context: Context, event: EventType, **data: Any) -> None:
    """Store an event about a task."""
    context.emit(event, f"task/{task.id}", context.task_facts(task) | data)


def steps_of(given: tuple[StepArg, ...]) -> tuple[Step, ...]:
    """Return the steps as the task keeps them."""
    return tuple(Step(**step.model_dump()) for step in given)


def lines_of(given: tuple[LogArg, ...], context: Context) -> tuple[LogLine, ...]:
    """Return the log lines as the task keeps them."""
    return tuple(
        LogLine(**line.model_dump() | {"timestamp": line.timestamp or context.now}) for line in given
    )


def merged(output: Output, given: OutputArg) -> Output:
    """Return the output with what was given; what was not stays."""
    return replace(output, **given.model_dump(exclude_unset=True))
