"""What ports.Unit promises of tasks, on SQLite and on PostgreSQL."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.storage.store import SqlStore
from daemon.domain.errors import Rejected, StaleAttempt
from daemon.domain.ids import PostId, TaskId
from daemon.domain.task import LogLine, LogStatus, Output, Step, Task, TaskStatus
from tests.fakes.values import NOW, a_post

SECOND = timedelta(seconds=1)
Opener = Callable[..., SqlStore]


def a_task(number: int = 1, **changes: object) -> Task:
    found = Task(
        id=TaskId(f"t_{number}"), user="ann", instance_id="gen-1", description="A cat", status=TaskStatus.SUBMITTED,
        created_at=NOW + number * SECOND, updated_at=NOW + number * SECOND, command_id=f"c-{number}",
    )  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


FULL = a_task(
    status=TaskStatus.COMPLETED, updated_at=NOW + timedelta(microseconds=7), post=PostId("p_1"), version=2,
    planning_steps=(Step(id="1", title="Write", description="a script", status="done"),),
    execution_steps=(Step(id="a", title="Sing 🎹"),),
    logs=(
        LogLine(timestamp=NOW, agent_name="director", action="cut", status=LogStatus.WARNING, message="dark",
                details={"frames": [1, 2.5, None], "deep": {"er": True}}),
        LogLine(timestamp=NOW, agent_name="tokd", action="x", status=LogStatus.INFO, message=""),
    ),
    output=Output(video_url="https://a.example/v.mp4", video_path="v.mp4", caption="Meow"),
)  # fmt: skip


@pytest.mark.parametrize("task", [a_task(), FULL], ids=["new", "full"])
def test_a_task_is_read_as_it_was_stored(store: SqlStore, task: Task) -> None:
    with store.transaction() as unit:
        unit.add_task(task)

    with store.transaction() as unit:
        assert unit.task(task.id) == task


def test_a_changed_task_is_read_as_it_was_saved(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_task(a_task())
        unit.save_task(FULL)

    with store.transaction() as unit:
        assert unit.task(FULL.id, lock=True) == FULL


def test_an_unknown_task_is_none(store: SqlStore) -> None:
    with store.transaction() as unit:
        assert unit.task(TaskId("t_none"), lock=True) is None


@pytest.mark.parametrize("task", [a_task(), a_task(9, version=2)], ids=["old version", "unknown"])
def test_only_the_next_version_of_a_known_task_is_saved(store: SqlStore, task: Task) -> None:
    with store.transaction() as unit:
        unit.add_task(a_task())

        with pytest.raises(StaleAttempt):
            unit.save_task(task)


def test_tasks_come_newest_first(store: SqlStore) -> None:
    with store.transaction() as unit:
        for number in (2, 1, 3):
            unit.add_task(a_task(number))

        assert [task.id for task in unit.tasks(None, None, None, None, 9)[0]] == ["t_3", "t_2", "t_1"]


def test_a_list_of_tasks_is_narrowed_by_owner_instance_and_status(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_task(a_task(1))
        unit.add_task(a_task(2, user="bob"))
        unit.add_task(a_task(3, instance_id="gen-2"))
        unit.add_task(a_task(4, status=TaskStatus.FAILED))

        def ids(*wanted: object) -> list[str]:
            return [task.id for task in unit.tasks(*wanted, None, 9)[0]]  # type: ignore[arg-type]

        assert ids("bob", None, None) == ["t_2"]
        assert ids("ann", "gen-2", None) == ["t_3"]
        assert ids("ann", "gen-1", TaskStatus.SUBMITTED) == ["t_1"]
        assert ids(None, None, TaskStatus.FAILED) == ["t_4"]


def test_a_status_that_has_changed_is_found_under_its_new_name(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_task(a_task())
        unit.save_task(FULL)

        assert unit.tasks(None, None, TaskStatus.COMPLETED, None, 9)[0] == [FULL]
        assert unit.tasks(None, None, TaskStatus.SUBMITTED, None, 9)[0] == []


def test_pages_of_tasks_miss_none_and_repeat_none_where_many_are_of_one_moment(store: SqlStore) -> None:
    with store.transaction() as unit:
        for number in range(10, 17):
            unit.add_task(a_task(number, created_at=NOW))
        found, cursor = unit.tasks("ann", None, None, None, 3)
        while cursor is not None:
            page, cursor = unit.tasks("ann", None, None, cursor, 3)
            found += page

        assert [task.id for task in found] == [f"t_{number}" for number in range(16, 9, -1)]


@pytest.mark.parametrize("cursor", ["", "x", "WzEsMV0=", "bnVsbA=="])
def test_a_cursor_that_no_list_gave_is_refused(store: SqlStore, cursor: str) -> None:
    with store.transaction() as unit, pytest.raises(Rejected, match="task/list"):
        unit.tasks(None, None, None, cursor, 3)


def test_every_node_sees_a_task(open_store: Opener) -> None:
    with open_store("main").transaction() as unit:
        unit.add_task(a_task())

    with open_store("other").transaction() as unit:
        assert unit.task(a_task().id) == a_task()


def test_two_nodes_that_change_one_task_lose_neither_change(open_store: Opener) -> None:
    stores = [open_store("main"), open_store("other")]
    with stores[0].transaction() as unit:
        unit.add_task(a_task())

    def count(store: SqlStore) -> None:
        for _ in range(20):
            with store.transaction() as unit:
                task = unit.task(a_task().id, lock=True)
                assert task is not None
                unit.save_task(replace(task, version=task.version + 1))

    threads = [threading.Thread(target=count, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    with stores[0].transaction() as unit:
        found = unit.task(a_task().id)
        assert found is not None
        assert found.version == 41


def test_a_post_keeps_the_name_of_its_task(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_post(a_post(task=TaskId("t_1")))
        unit.save_post(replace(a_post(task=TaskId("t_1")), version=2))

    with store.transaction() as unit:
        assert unit.posts_named([PostId("p_1"), PostId("p_none")])[PostId("p_1")].task == "t_1"


def test_of_no_posts_none_are_found(store: SqlStore) -> None:
    with store.transaction() as unit:
        unit.add_post(a_post())

        assert unit.posts_named([]) == {}
