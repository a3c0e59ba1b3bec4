"""The tasks' part of a transaction. A task belongs to no node: whoever drives its post writes in its log."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import Connection, bindparam, delete, exists, insert, or_, select, tuple_, update

from adapters.storage.pages import open_mark, page_mark
from adapters.storage.posts import ENDED, drop_these
from adapters.storage.rows import micros
from adapters.storage.statements import POST, TASK
from daemon.domain.errors import StaleAttempt
from daemon.domain.ids import TaskId
from daemon.domain.media import stored_hash
from daemon.domain.task import LETS_GO, Task, TaskStatus

_TASK = TypeAdapter(Task)
_OVER = [TaskStatus.COMPLETED.value, TaskStatus.FAILED.value]
_LETS_GO = [state.value for state in LETS_GO]
_BY_ID = select(TASK.c.body).where(TASK.c.id == bindparam("key"))
_SAVE = update(TASK).where(TASK.c.id == bindparam("key"), TASK.c.version < bindparam("newer"))


class TasksMixin:
    """What a Unit knows of tasks."""

    _db: Connection

    def task(self, task_id: TaskId, *, lock: bool = False) -> Task | None:
        """Return one task; `lock` keeps other nodes from changing it until this transaction ends."""
        lock = lock and self._db.dialect.name == "postgresql"
        query = _BY_ID.with_for_update() if lock else _BY_ID
        body = self._db.execute(query, {"key": task_id}).scalar()
        return _TASK.validate_json(body) if body is not None else None

    def tasks(
        self,
        owner: str | None,
        instance: str | None,
        status: TaskStatus | None,
        cursor: str | None,
        limit: int,
    ) -> tuple[list[Task], str | None]:
        """Return tasks, newest first, and the cursor of the next page."""
        query = select(TASK.c.body).order_by(TASK.c.created_at.desc(), TASK.c.id.desc()).limit(limit + 1)
        wanted = {"owner": owner, "instance": instance, "status": status.value if status else None}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(TASK.c[column] == value)
        if cursor is not None:
            query = query.where(tuple_(TASK.c.created_at, TASK.c.id) < open_mark(cursor, "task/list"))
        found = [_TASK.validate_json(body) for body in self._db.execute(query).scalars()]
        if len(found) <= limit:
            return found, None
        last = found[limit - 1]
        return found[:limit], page_mark(last.created_at, last.id)

    def add_task(self, task: Task) -> None:
        """Store a new task."""
        values = {
            "id": task.id, "owner": task.user, "instance": task.instance_id,
            "created_at": micros(task.created_at),
        }  # fmt: skip
        self._db.execute(insert(TASK), values | _moving(task))

    def save_task(self, task: Task) -> None:
        """Store a changed task, unless somebody has changed it since it was read."""
        done = self._db.execute(_SAVE, _moving(task) | {"key": task.id, "newer": task.version})
        if done.rowcount != 1:
            raise StaleAttempt(f"task {task.id}: version {task.version} is not the next one")

    def files_of_tasks(self, sha256s: Sequence[str]) -> set[str]:
        """Return those of these contents that a task names which can be posted yet, or may come to be."""
        engaged = select(POST.c.id).where(
            POST.c.task.is_not(None), POST.c.task == TASK.c.id, POST.c.state.not_in(_LETS_GO)
        )
        query = select(TASK.c.sha256).where(
            TASK.c.sha256.is_not(None), TASK.c.sha256.in_(sha256s), TASK.c.status != TaskStatus.FAILED.value,
            ~exists(engaged),
        )  # fmt: skip
        return set(self._db.execute(query.distinct()).scalars())

    def drop_tasks(self, before: datetime, limit: int) -> int:
        """Forget final tasks that nobody has changed since `before`, with all their posts, if those had all ended.

        Return how many.
        """
        stays = select(POST.c.task).where(
            POST.c.task.is_not(None),
            or_(
                POST.c.finished_at.is_(None), POST.c.finished_at >= micros(before), POST.c.state.not_in(ENDED),
                POST.c.retained == 1, POST.c.wake_at.is_not(None),
            ),
        )  # fmt: skip
        query = select(TASK.c.id).where(
            TASK.c.created_at < micros(before),
            TASK.c.status.in_(_OVER),
            TASK.c.id.not_in(stays),
            or_(TASK.c.updated_at.is_(None), TASK.c.updated_at < micros(before)),
        )
        ids = self._db.execute(query.order_by(TASK.c.created_at).limit(limit)).scalars().all()
        if not ids:
            return 0
        drop_these(self._db, self._db.execute(select(POST.c.id).where(POST.c.task.in_(ids))).scalars().all())
        return self._db.execute(delete(TASK).where(TASK.c.id.in_(ids))).rowcount


def _moving(task: Task) -> dict[str, object]:
    return {
        "status": task.status.value, "version": task.version, "body": _TASK.dump_json(task).decode(),
        "sha256": stored_hash(task.output.video_path or ""), "updated_at": micros(task.updated_at),
    }  # fmt: skip
