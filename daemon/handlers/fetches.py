"""What is known of fetches under way: told as events, and kept for the views of the tasks that wait for them."""

import json
from typing import Any

from daemon.domain.command import Command
from daemon.domain.commands import VERBS
from daemon.domain.ids import TaskId
from daemon.domain.task_commands import PostTask
from daemon.domain.wire import read_args
from daemon.handlers.context import Context
from daemon.ports import StoredCommand


def command_of(stored: StoredCommand) -> Command:
    """Return the order as it was given."""
    return read_args(VERBS[stored.verb], json.loads(stored.body)["args"])


def remember(stored: StoredCommand, received: int, total: int | None, context: Context) -> None:
    """Keep how far a fetch is, where a task waits for it."""
    command = command_of(stored)
    if isinstance(command, PostTask):
        context.unit.set_flag(_flag(command.task), json.dumps({"received": received, "total": total}))


def forget(stored: StoredCommand, context: Context) -> None:
    """Keep it no more: the fetch is over, whatever became of it."""
    command = command_of(stored)
    if isinstance(command, PostTask) and context.unit.flag(_flag(command.task)) is not None:
        context.unit.set_flag(_flag(command.task), None)


def progress(task: TaskId, context: Context) -> dict[str, Any] | None:
    """Return `received` and `total` of the fetch that a task waits for, None where there is none."""
    found = context.unit.flag(_flag(task))
    return None if found is None else json.loads(found)


def _flag(task: str) -> str:
    return f"fetch:{task}"
