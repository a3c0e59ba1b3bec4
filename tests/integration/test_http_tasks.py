"""Tasks over HTTP: told, shown to their owner alone, posted once, followed to the end."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.errors import Fault
from tests.fakes.platform import failed
from tests.integration.http_stage import Answer, Stage, staged

TASKS = "/api/v1/tasks"
DONE: dict[str, Any] = {
    "instance_id": "gen-1",
    "description": "A cat on a piano",
    "status": "completed",
    "output_data": {"video_path": "clip.mp4", "caption": "Meow"},
}
PRIVATE = {"privacy_level": "SELF_ONLY"}
DETAIL = {
    "planning_steps", "execution_logs", "can_post_to_tiktok", "suggested_caption", "tiktok_publish_id",
    "tiktok_post_status", "tiktok_post_url", "tiktok_post_data", "scheduled_post_time",
}  # fmt: skip
POST_STATUS = {
    "publish_id", "status", "state", "fail_reason", "post_url", "post_id", "uploaded_bytes", "downloaded_bytes",
}  # fmt: skip
EVERY_ENDPOINT = [
    ("GET", "", None), ("GET", "/detail", None), ("PATCH", "", {"status": "failed"}),
    ("POST", "/post-to-tiktok", PRIVATE), ("GET", "/post-status", None),
]  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as found:
        found.core.media.put("clip.mp4")
        yield found


def submitted(stage: Stage, *, user: str = "ann", **changes: Any) -> str:
    answer = stage.post(TASKS, DONE | changes, user=user)
    assert answer.status == 201, answer.raw
    task: str = answer.body["task_id"]
    return task


def posted(stage: Stage, task: str, *, key: str | None = None, user: str = "ann", **more: Any) -> Answer:
    headers = {"Idempotency_Key": key} if key else {}
    return stage.post(f"{TASKS}/{task}/post-to-tiktok", PRIVATE | more, user=user, **headers)


def detail(stage: Stage, task: str) -> dict[str, Any]:
    found: dict[str, Any] = stage.get(f"{TASKS}/{task}/detail").body
    return found


def post_status(stage: Stage, task: str) -> dict[str, Any]:
    found: dict[str, Any] = stage.get(f"{TASKS}/{task}/post-status").body
    return found


def in_an_hour(stage: Stage) -> str:
    return (stage.core.clock.now() + timedelta(hours=1)).isoformat()


# -- telling of a task ---------------------------------------------------------------------------------------


def test_a_task_is_written_down_for_its_caller(stage: Stage) -> None:
    answer = stage.post(TASKS, DONE)

    task = answer.body["task_id"]
    assert (answer.status, answer.headers["location"]) == (201, f"{TASKS}/{task}")
    assert answer.body == {
        "task_id": task, "task": task, "status": "completed", "instance_id": "gen-1", "user": "ann",
    }  # fmt: skip


def test_a_task_that_is_told_twice_under_one_key_is_written_down_once(stage: Stage) -> None:
    answers = [stage.post(TASKS, DONE, Idempotency_Key="k-1") for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].body == answers[1].body
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert len(stage.get(TASKS).body["tasks"]) == 1


def test_one_key_for_two_tasks_is_a_conflict(stage: Stage) -> None:
    stage.post(TASKS, DONE, Idempotency_Key="k-1")

    answer = stage.post(TASKS, DONE | {"description": "another"}, Idempotency_Key="k-1")

    assert (answer.status, answer.code) == (409, "id_conflict")


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"cat": 1}, "unknown_field", "cat"),
        ({"output_data": {"cat": 1}}, "unknown_field", "output_data.cat"),
        ({"planning_steps": [{"id": "1", "title": "x", "cat": 1}]}, "unknown_field", "planning_steps.0.cat"),
        ({"status": "odd"}, "bad_field", "status"),
        ({"instance_id": ""}, "bad_field", "instance_id"),
        ({"planning_steps": [{"id": "1"}]}, "bad_field", "planning_steps.0.title"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(
    stage: Stage, more: dict[str, Any], code: str, field: str
) -> None:
    answer = stage.post(TASKS, DONE | more)

    assert (answer.status, answer.code, answer.body["error"]["field"]) == (422, code, field)


def test_a_task_goes_on(stage: Stage) -> None:
    task = submitted(stage, status="running", output_data={})
    line = {"agent_name": "writer", "action": "write", "status": "success", "message": "done"}
    change = {"status": "completed", "output_data": {"video_path": "clip.mp4"}, "logs": [line]}

    answer = stage.call("PATCH", f"{TASKS}/{task}", change)

    assert (answer.status, answer.body["task_id"], answer.body["status"]) == (200, task, "completed")
    assert set(answer.body["changed"]) == {"status", "output_data", "logs"}
    (told,) = detail(stage, task)["execution_logs"]
    assert set(told) == {"timestamp", "agent_name", "action", "status", "message", "details"}


def test_a_change_that_is_sent_twice_under_one_key_is_made_once(stage: Stage) -> None:
    task = submitted(stage)
    change = {"logs": [{"agent_name": "writer", "action": "write"}]}
    for _ in range(2):
        stage.call("PATCH", f"{TASKS}/{task}", change, Idempotency_Key="k-1")

    assert len(detail(stage, task)["execution_logs"]) == 1


def test_a_final_status_stays(stage: Stage) -> None:
    answer = stage.call("PATCH", f"{TASKS}/{submitted(stage)}", {"status": "running"})

    assert (answer.status, answer.code) == (409, "already_final")


def test_the_output_of_a_task_that_is_being_posted_stays(stage: Stage) -> None:
    task = submitted(stage)
    posted(stage, task, schedule_time=in_an_hour(stage))

    answer = stage.call("PATCH", f"{TASKS}/{task}", {"output_data": {"caption": "other"}})

    assert (answer.status, answer.code) == (409, "already_posted")


@pytest.mark.parametrize("more", [{"cat": 1}, {"task": "t_other"}, {"instance_id": "gen-2"}])
def test_a_change_with_an_unknown_field_is_refused(stage: Stage, more: dict[str, Any]) -> None:
    answer = stage.call("PATCH", f"{TASKS}/{submitted(stage)}", {"status": "completed"} | more)

    assert (answer.status, answer.code) == (422, "unknown_field")


# -- looking at it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", ["", "/detail"])
def test_a_task_is_shown_with_all_that_its_sender_said(stage: Stage, rest: str) -> None:
    steps = [{"id": "1", "title": "Write", "description": "a script", "status": "done"}]
    task = submitted(stage, planning_steps=steps)

    body = stage.get(f"{TASKS}/{task}{rest}").body

    assert set(body) >= DETAIL
    assert (body["task_id"], body["status"], body["planning_steps"]) == (task, "completed", steps)
    assert (body["can_post_to_tiktok"], body["suggested_caption"]) == (True, "Meow")
    assert (body["tiktok_post_status"], body["tiktok_post_data"]) == (None, None)


@pytest.mark.parametrize(
    "more", [{"status": "running"}, {"status": "failed"}, {"output_data": {"caption": "no video"}}]
)
def test_a_task_that_is_not_done_or_has_no_video_cannot_be_posted(stage: Stage, more: dict[str, Any]) -> None:
    task = submitted(stage, **more)

    answer = posted(stage, task)

    assert detail(stage, task)["can_post_to_tiktok"] is False
    assert (answer.status, answer.code) == (422, "bad_field")


def test_a_description_is_the_caption_where_there_is_no_other(stage: Stage) -> None:
    task = submitted(stage, output_data={"video_path": "clip.mp4"})

    assert detail(stage, task)["suggested_caption"] == "A cat on a piano"


def test_a_caption_that_is_suggested_is_short_enough(stage: Stage) -> None:
    task = submitted(stage, output_data={"caption": "\N{CAT FACE}" * 2000})

    assert detail(stage, task)["suggested_caption"] == "\N{CAT FACE}" * 1100


def test_tasks_are_listed_page_by_page(stage: Stage) -> None:
    tasks = []
    for _ in range(3):
        tasks.append(submitted(stage))
        stage.core.clock.advance(1)

    first = stage.get(f"{TASKS}?limit=2").body
    second = stage.get(f"{TASKS}?limit=2&cursor={first['cursor']}").body

    assert [task["task_id"] for task in first["tasks"] + second["tasks"]] == tasks[::-1]
    assert "cursor" not in second


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("instance_id=gen-1", 1), ("instance_id=gen-3", 0), ("status=running", 1), ("status=failed", 0),
        ("instance_id=gen-2&status=running", 1), ("instance_id=gen-1&status=running", 0),
    ],
)  # fmt: skip
def test_tasks_are_listed_by_instance_and_status(stage: Stage, query: str, count: int) -> None:
    submitted(stage)
    submitted(stage, instance_id="gen-2", status="running")

    assert len(stage.get(f"{TASKS}?{query}").body["tasks"]) == count


@pytest.mark.parametrize("query", ["status=odd", "limit=0", "limit=201", "page=2", "cursor=odd", "user=bob"])
def test_a_list_that_makes_no_sense_is_refused(stage: Stage, query: str) -> None:
    assert stage.get(f"{TASKS}?{query}").status == 422


# -- whose task it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["t_none", "p_1", "t_%00", "t_"])
@pytest.mark.parametrize(("method", "rest", "body"), EVERY_ENDPOINT)
def test_an_unknown_task_is_not_found(
    stage: Stage, task: str, method: str, rest: str, body: dict[str, str] | None
) -> None:
    answer = stage.call(method, f"{TASKS}/{task}{rest}", body)

    assert (answer.status, answer.code) == (404, "no_such_task")


@pytest.mark.parametrize(("method", "rest", "body"), EVERY_ENDPOINT)
def test_a_task_of_another_user_is_as_if_it_were_not_there(
    stage: Stage, method: str, rest: str, body: dict[str, str] | None
) -> None:
    path = f"{TASKS}/{submitted(stage, user='ann')}{rest}"

    theirs = stage.call(method, path, body, user="bob")
    unknown = stage.call(method, f"{TASKS}/t_none{rest}", body, user="bob")

    assert (theirs.status, theirs.code) == (404, "no_such_task")
    assert set(theirs.body["error"]) == set(unknown.body["error"])


@pytest.mark.parametrize(("method", "rest", "body"), EVERY_ENDPOINT)
def test_nobody_sees_a_task_without_a_token(
    stage: Stage, method: str, rest: str, body: dict[str, str] | None
) -> None:
    assert stage.call(method, f"{TASKS}/{submitted(stage)}{rest}", body, user=None).status == 401


def test_a_list_shows_ones_own_tasks_only(stage: Stage) -> None:
    mine = submitted(stage, user="ann")
    submitted(stage, user="bob")

    assert [task["task_id"] for task in stage.get(TASKS).body["tasks"]] == [mine]


# -- posting it ----------------------------------------------------------------------------------------------


def test_a_scheduled_post_has_no_publish_id_until_it_is_published_and_has_an_address(stage: Stage) -> None:
    task, at = submitted(stage), in_an_hour(stage)

    answer = posted(stage, task, schedule_time=at)

    post = answer.body["post_id"]
    assert answer.status == 200
    assert answer.body | {"message": ""} == {
        "success": True, "publish_id": None, "status": "SCHEDULED", "message": "", "task_id": task, "post_id": post,
    }  # fmt: skip
    assert "is scheduled for" in answer.body["message"]
    assert post_status(stage, task)["status"] == "SCHEDULED"
    before = detail(stage, task)
    assert (before["tiktok_post_status"], before["tiktok_publish_id"]) == ("SCHEDULED", None)
    assert before["scheduled_post_time"] == stage.core.events("post.scheduled")[0]["data"]["at"]

    stage.core.run_for(3700)

    found = post_status(stage, task)
    assert set(found) == POST_STATUS
    assert (found["status"], found["state"], found["fail_reason"]) == ("PUBLISHED", "published", None)
    assert found["post_url"] == f"https://www.tiktok.com/@ada/video/{found['post_id']}"
    assert found["publish_id"]
    assert found["uploaded_bytes"] == 30
    shown = detail(stage, task)
    assert (shown["tiktok_post_status"], shown["tiktok_post_url"]) == ("PUBLISHED", found["post_url"])
    assert (shown["can_post_to_tiktok"], shown["tiktok_post_data"]["post"]) == (False, post)


def test_what_is_said_of_the_post_reaches_it(stage: Stage) -> None:
    answer = posted(
        stage, submitted(stage), title="Hello", disable_duet=False, disable_comment=False, is_aigc=True,
        brand_organic_toggle=True, video_cover_timestamp_ms=7, account_id="ada", mode="direct",
    )  # fmt: skip

    said = stage.core.post(answer.body["post_id"]).description
    assert (said.title, said.privacy, said.cover_ms) == ("Hello", "SELF_ONLY", 7)
    assert (said.allow_duet, said.allow_stitch, said.allow_comment) == (True, False, True)
    assert (said.brand_content, said.brand_organic, said.is_aigc) == (False, True, True)


def test_a_draft_in_the_inbox_needs_no_privacy_level(stage: Stage) -> None:
    answer = stage.post(f"{TASKS}/{submitted(stage)}/post-to-tiktok", {"mode": "inbox"})

    assert answer.status == 200
    assert stage.core.post(answer.body["post_id"]).mode == "inbox"


@pytest.mark.parametrize("level", ["FOLLOWER_OF_CREATOR", "ODD", None])
def test_a_privacy_level_that_the_creator_may_not_choose_is_refused(stage: Stage, level: str | None) -> None:
    task = submitted(stage)
    posted(stage, submitted(stage))
    stage.core.run_for(60)  # the creator's options are known from here on

    answer = posted(stage, task, privacy_level=level)

    assert (answer.status, answer.code, answer.body["error"]["field"]) == (422, "bad_field", "privacy_level")
    assert detail(stage, task)["can_post_to_tiktok"] is True


@pytest.mark.parametrize("more", [{"cat": 1}, {"privacy": "SELF_ONLY"}, {"task": "t_1"}, {"account": "ada"}])
def test_an_order_with_an_unknown_field_is_refused(stage: Stage, more: dict[str, Any]) -> None:
    answer = stage.post(f"{TASKS}/{submitted(stage)}/post-to-tiktok", PRIVATE | more)

    assert (answer.status, answer.code) == (422, "unknown_field")


@pytest.mark.parametrize(
    ("more", "status", "code", "field"),
    [
        ({"schedule_time": "2026-13-01"}, 422, "bad_time", "schedule_time"),
        ({"schedule_time": "2000-01-01T00:00:00Z"}, 422, "bad_time", "schedule_time"),
        ({"video_cover_timestamp_ms": -1}, 422, "bad_field", "video_cover_timestamp_ms"),
        ({"mode": "odd"}, 422, "bad_field", "mode"),
        ({"account_id": "nobody"}, 404, "no_such_account", "account_id"),
    ],
)
def test_an_order_that_cannot_be_is_refused(
    stage: Stage, more: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = posted(stage, submitted(stage), **more)

    assert (answer.status, answer.code, answer.body["error"]["field"]) == (status, code, field)


@pytest.mark.parametrize("seconds", [0, 3700])
def test_a_task_that_was_posted_or_is_in_flight_is_not_posted_again(stage: Stage, seconds: float) -> None:
    task = submitted(stage)
    posted(stage, task, schedule_time=in_an_hour(stage))
    stage.core.run_for(seconds)

    answer = posted(stage, task)

    assert (answer.status, answer.code) == (409, "already_posted")
    assert len(stage.core.posts()) == 1


def test_an_order_that_is_sent_twice_under_one_key_posts_once(stage: Stage) -> None:
    task, at = submitted(stage), in_an_hour(stage)
    answers = [posted(stage, task, key="k-1", schedule_time=at) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert len(stage.core.posts()) == 1


def test_a_task_whose_post_was_cancelled_may_be_posted_again(stage: Stage) -> None:
    task = submitted(stage)
    first = posted(stage, task, schedule_time=in_an_hour(stage)).body["post_id"]
    stage.call("DELETE", f"/api/v1/posts/{first}")

    second = posted(stage, task)

    assert (second.status, second.body["post_id"] == first) == (200, False)


def test_a_post_that_fails_says_why(stage: Stage) -> None:
    stage.core.platform.next("status", failed("video_rejected", Fault.CONTENT))
    task = submitted(stage)
    posted(stage, task)
    stage.core.run_for(600)

    found = post_status(stage, task)

    assert (found["status"], found["state"], found["post_url"]) == ("FAILED", "failed", None)
    assert found["fail_reason"] == "video_rejected"


def test_a_task_without_a_post_has_no_post_status(stage: Stage) -> None:
    answer = stage.get(f"{TASKS}/{submitted(stage)}/post-status")

    assert (answer.status, answer.code) == (404, "no_such_post")


def test_an_order_whose_video_takes_long_to_check_is_taken_and_told_later(tmp_path: Path) -> None:
    with staged(tmp_path, answer_within_s=0.2) as stage:
        stage.core.media.put("clip.mp4", checked=False)
        stage.core.media.gate = gate = threading.Event()
        task, at = stage.core.do("task/submit", DONE, actor="http:ann")["task"], in_an_hour(stage)
        first = posted(stage, task, key="k-1", schedule_time=at)
        gate.set()
        stage.core.settle()
        second = posted(stage, task, key="k-1", schedule_time=at)

    assert (first.status, first.body) == (202, {"status": "accepted", "command_id": "k-1"})
    assert (second.status, second.body["status"]) == (200, "SCHEDULED")
