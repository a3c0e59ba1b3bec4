"""task/list: the caller's tasks, newest first."""

from typing import Any

from daemon.domain.ids import LOCAL_ACTOR
from daemon.domain.task import owner_of
from daemon.domain.task_commands import ListTasks
from daemon.domain.task_views import task_view
from daemon.handlers.context import Context
from daemon.handlers.tasks import actor_of


def handle(command: ListTasks, context: Context) -> dict[str, Any]:
    """Return a page of tasks and the cursor of the next one; the person at the machine sees everybody's."""
    actor = actor_of(context)
    owner = None if actor == LOCAL_ACTOR else owner_of(actor)
    tasks, cursor = context.unit.tasks(
        owner, command.instance_id, command.status, command.cursor, command.limit
    )
    posts = context.unit.posts_named([task.post for task in tasks if task.post is not None])
    views = [task_view(task, posts.get(task.post) if task.post else None) for task in tasks]
    return {"tasks": views} | ({"cursor": cursor} if cursor else {})
