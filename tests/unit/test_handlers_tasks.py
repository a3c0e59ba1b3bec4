"""Tasks through the real bus, ledger, handlers and workers: who sees them, what changes them, what posts them."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from daemon.domain.errors import Fault
from daemon.domain.post import Mode, Source, State
from tests.core import Core
from tests.fakes.platform import INBOX, failed

FIRST = "t_00001"
DONE: dict[str, Any] = {
    "instance_id": "gen-1",
    "description": "A cat on a piano",
    "status": "completed",
    "output_data": {"video_path": "cat.mp4", "caption": "Meow"},
}
PRIVATE = {"privacy_level": "SELF_ONLY"}


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        found.media.put("cat.mp4")
        yield found


def submitted(core: Core, *, actor: str = "me", **changes: Any) -> str:
    task: str = core.do("task/submit", DONE | changes, actor=actor)["task"]
    return task


def posted(core: Core, task: str, **args: Any) -> str:
    post: str = core.do("task/post", {"task": task} | PRIVATE | args)["post"]
    return post


def shown(core: Core, task: str, *, actor: str = "me") -> dict[str, Any]:
    core.settle()
    return core.do("task/status", {"task": task}, actor=actor)


def later(core: Core, seconds: float) -> str:
    return (core.clock.now() + timedelta(seconds=seconds)).isoformat()


def log_of(core: Core, task: str) -> list[tuple[str, str]]:
    return [(line["action"], line["status"]) for line in shown(core, task)["execution_logs"]]


# -- submit --------------------------------------------------------------------------------------------------


def test_a_submitted_task_belongs_to_its_sender_and_an_instance(core: Core) -> None:
    result = core.do("task/submit", DONE, actor="http:ann")

    assert result == {"task": FIRST, "status": "completed", "instance_id": "gen-1", "user": "ann"}


def test_a_task_shows_what_its_sender_said_and_nothing_invented(core: Core) -> None:
    steps = [{"id": "1", "title": "Write", "description": "a script", "status": "done"}]
    found = shown(core, submitted(core, planning_steps=steps))

    assert found["planning_steps"] == steps
    assert found["execution_steps"] == found["execution_logs"] == []
    assert found["output_data"] == {"video_path": "cat.mp4", "video_url": None, "caption": "Meow"}
    assert (found["can_post_to_tiktok"], found["suggested_caption"]) == (True, "Meow")


def test_a_task_may_begin_with_nothing_but_its_instance(core: Core) -> None:
    task = core.do("task/submit", {"instance_id": "gen-1"})["task"]

    found = shown(core, task)
    assert (found["status"], found["planning_steps"], found["can_post_to_tiktok"]) == ("submitted", [], False)


def test_a_submitted_task_is_told_without_what_it_holds(core: Core) -> None:
    submitted(core, actor="http:ann")

    (event,) = core.events("task.submitted")
    assert event["subject"] == f"task/{FIRST}"
    assert event["data"] == {
        "task": FIRST, "user": "ann", "instance_id": "gen-1", "status": "completed", "command_id": "c-2",
    }  # fmt: skip


def test_a_task_that_is_sent_twice_is_submitted_once(core: Core) -> None:
    first = core.do("task/submit", DONE, id="order")
    again = core.send("task/submit", DONE, id="order")

    assert (again["replayed"], again["result"]) == (True, first)
    assert len(core.do("task/list")["tasks"]) == 1


def test_a_task_needs_an_id_of_its_senders_own(core: Core) -> None:
    assert core.refusal("task/submit", DONE, id="")["code"] == "id_required"


def test_a_dry_run_submits_nothing(core: Core) -> None:
    assert core.do("task/submit", DONE, dry_run=True)["dry_run"] is True
    assert core.do("task/list")["tasks"] == []


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"instance_id": ""}, "bad_field", "args.instance_id"),
        ({"status": "done"}, "bad_field", "args.status"),
        ({"stautus": "completed"}, "unknown_field", "args.stautus"),
        ({"output_data": {"video": "x"}}, "unknown_field", "args.output_data.video"),
        ({"planning_steps": [{"title": "x"}]}, "bad_field", "args.planning_steps.0.id"),
        ({"planning_steps": [{"id": "1", "title": "x", "by": "y"}]}, "unknown_field", "args.planning_steps.0.by"),
        ({"logs": [{"agent_name": "a", "action": "b", "details": {"x": "y" * 3000}}]}, "bad_field",
         "args.logs.0.details"),
        ({"logs": [{"agent_name": "a", "action": "b", "timestamp": "2026-12-01T10:00:00"}]}, "bad_field",
         "args.logs.0.timestamp"),
        ({"logs": [{"agent_name": "a", "action": "b", "timestamp": "0001-01-01T00:00:00+14:00"}]}, "bad_field",
         "args.logs.0.timestamp"),
    ],
)  # fmt: skip
def test_a_task_that_cannot_be_meant_is_refused_by_its_field(
    core: Core, changes: dict[str, Any], code: str, field: str
) -> None:
    error = core.refusal("task/submit", DONE | changes)

    assert (error["code"], error["field"]) == (code, field)


# -- update --------------------------------------------------------------------------------------------------


def test_a_task_goes_on_to_its_end(core: Core) -> None:
    task = submitted(core, status="submitted", output_data={})
    core.do("task/update", {"task": task, "status": "running"})

    result = core.do(
        "task/update", {"task": task, "status": "completed", "output_data": {"video_path": "cat.mp4"}}
    )

    assert (result["status"], result["changed"]) == ("completed", ["status", "output_data"])
    assert shown(core, task)["can_post_to_tiktok"] is True


def test_an_update_leaves_alone_what_it_does_not_name(core: Core) -> None:
    task = submitted(core)
    core.do("task/update", {"task": task, "output_data": {"caption": "Purr"}})

    found = shown(core, task)
    assert found["output_data"] == {"video_path": "cat.mp4", "video_url": None, "caption": "Purr"}
    assert found["description"] == "A cat on a piano"


def test_an_update_is_told_by_the_names_of_what_changed(core: Core) -> None:
    task = submitted(core, status="running")
    core.do("task/update", {"task": task, "status": "completed", "description": "A dog"})

    (event,) = core.events("task.updated")
    assert (event["data"]["changed"], event["data"]["status"]) == (["description", "status"], "completed")


def test_an_update_that_says_nothing_new_changes_and_tells_nothing(core: Core) -> None:
    task = submitted(core)

    result = core.do("task/update", {"task": task, "status": "completed", "output_data": {"caption": "Meow"}})

    assert (result["changed"], result["rev"]) == ([], 1)
    assert core.events("task.updated") == []


@pytest.mark.parametrize(
    ("was", "to", "code"),
    [
        ("completed", "failed", "already_final"),
        ("failed", "running", "already_final"),
        ("running", "submitted", "bad_field"),
    ],
)
def test_a_status_does_not_go_back(core: Core, was: str, to: str, code: str) -> None:
    error = core.refusal("task/update", {"task": submitted(core, status=was), "status": to})

    assert (error["code"], error["field"]) == (code, "args.status")


def test_the_lines_of_an_update_are_added_to_the_log(core: Core) -> None:
    task = submitted(core, logs=[{"agent_name": "writer", "action": "write", "status": "success"}])
    core.do("task/update", {
        "task": task,
        "logs": [{"agent_name": "director", "action": "cut", "message": "dark", "timestamp": "2026-12-01T10:00:00+02:00"}],
    })  # fmt: skip

    first, second = shown(core, task)["execution_logs"]
    assert (first["agent_name"], first["timestamp"]) == ("writer", "2026-12-01T09:00:00.000Z")
    assert (second["message"], second["timestamp"]) == ("dark", "2026-12-01T08:00:00.000Z")


def test_the_output_of_a_task_that_is_being_posted_stays_as_it_is_posted(core: Core) -> None:
    task = submitted(core)
    posted(core, task, schedule_time=later(core, 60))

    error = core.refusal("task/update", {"task": task, "output_data": {"video_path": "dog.mp4"}})

    assert (error["code"], error["field"]) == ("already_posted", "args.output_data")
    assert core.do("task/update", {"task": task, "output_data": {"video_path": "cat.mp4"}})["changed"] == []


# -- whose it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["task/status", "task/update", "task/post"])
def test_somebody_elses_task_is_refused_just_like_one_that_is_not(core: Core, verb: str) -> None:
    task = submitted(core, actor="http:ann")

    theirs = core.refusal(verb, {"task": task}, actor="http:bob")
    nobodys = core.refusal(verb, {"task": "t_none"}, actor="http:bob")

    assert theirs["code"] == "no_such_task"
    assert theirs == nobodys | {"message": nobodys["message"].replace("t_none", task)}


def test_a_user_is_the_same_over_every_wire(core: Core) -> None:
    task = submitted(core, actor="ann")

    assert shown(core, task, actor="http:ann")["user"] == "ann"


def test_a_list_holds_the_callers_tasks_only(core: Core) -> None:
    task = submitted(core, actor="http:ann")
    submitted(core, actor="http:bob")

    assert [found["task"] for found in core.do("task/list", actor="http:ann")["tasks"]] == [task]


def test_the_person_at_the_machine_sees_all_tasks(core: Core) -> None:
    task = submitted(core, actor="http:ann")
    submitted(core, actor="http:bob")

    assert len(core.do("task/list", actor="local")["tasks"]) == 2
    assert shown(core, task, actor="local")["user"] == "ann"


def test_nobody_becomes_the_person_at_the_machine_by_his_name(core: Core) -> None:
    submitted(core, actor="http:ann")
    submitted(core, actor="local")

    assert core.do("task/list", actor="http:local")["tasks"] == []


def test_a_list_is_narrowed_and_continued(core: Core) -> None:
    for instance in ("gen-1", "gen-2", "gen-2", "gen-2"):
        submitted(core, instance_id=instance)
    wanted = {"instance_id": "gen-2", "status": "completed", "limit": 2}

    first = core.do("task/list", wanted)
    second = core.do("task/list", wanted | {"cursor": first["cursor"]})

    assert [task["task"] for task in first["tasks"] + second["tasks"]] == ["t_00004", "t_00003", "t_00002"]
    assert "cursor" not in second


def test_a_list_shows_how_far_each_post_is(core: Core) -> None:
    posted(core, submitted(core), schedule_time=later(core, 60))
    submitted(core)

    assert [task["tiktok_post_status"] for task in core.do("task/list")["tasks"]] == [None, "SCHEDULED"]


# -- post ----------------------------------------------------------------------------------------------------


def test_a_task_is_posted_at_once_and_followed_to_its_end(core: Core) -> None:
    task = submitted(core)
    post = posted(core, task)
    core.run_for(60)

    found = shown(core, task)
    assert core.post(post).state is State.PUBLISHED
    assert (found["post"], found["tiktok_post_status"], found["can_post_to_tiktok"]) == (
        post,
        "PUBLISHED",
        False,
    )
    assert found["tiktok_post_url"] == found["post_status"]["post_url"] == core.post(post).url is not None
    assert found["tiktok_publish_id"] == core.post(post).publish_id is not None
    assert found["post_status"]["post_id"] == "7001"
    assert len(core.platform.published()) == 1


def test_a_post_of_a_task_may_have_a_time(core: Core) -> None:
    task = submitted(core)

    result = core.do("task/post", {"task": task, "schedule_time": "2026-12-01T10:00:00Z"} | PRIVATE)

    assert (result["task"], result["status"], result["publish_id"]) == (task, "SCHEDULED", None)
    assert shown(core, task)["scheduled_post_time"] == result["at"] == "2026-12-01T10:00:00.000Z"


def test_a_post_of_a_task_takes_every_word_of_its_order(core: Core) -> None:
    task = submitted(core)
    post = core.post(posted(
        core, task, title="T", disable_duet=False, brand_content_toggle=True, is_aigc=True,
        video_cover_timestamp_ms=7, schedule_time=later(core, 9), mode="direct", consent_by="Ann",
    ))  # fmt: skip

    said = post.description
    assert (said.title, said.expression, said.privacy, said.cover_ms) == ("T", None, "SELF_ONLY", 7)
    assert (said.allow_duet, said.allow_stitch, said.allow_comment) == (True, False, False)
    assert (said.brand_content, said.brand_organic, said.is_aigc) == (True, False, True)
    assert (post.task, post.mode, post.account, post.media) == (task, Mode.DIRECT, "ada", ("cat.mp4",))
    assert (post.consent.who, post.consent.through) == ("Ann", "test task/post")


@pytest.mark.parametrize(("title", "caption"), [({}, "Meow"), ({"title": ""}, None)])
def test_without_a_title_the_suggested_caption_is_posted_and_an_empty_one_is_none(
    core: Core, title: dict[str, str], caption: str | None
) -> None:
    post = core.post(posted(core, submitted(core), schedule_time=later(core, 60), **title))

    assert (post.description.title or post.description.expression) == caption


def test_an_inbox_draft_needs_no_privacy_level(core: Core) -> None:
    core.platform.verdict = INBOX
    task = submitted(core)
    core.do("task/post", {"task": task, "mode": "inbox"})
    core.run_for(60)

    assert shown(core, task)["tiktok_post_status"] == "INBOX"
    assert ("post.sent_to_inbox", "success") in log_of(core, task)


def test_a_video_at_a_verified_address_is_fetched_by_the_platform(core: Core) -> None:
    task = submitted(core, output_data={"video_url": "https://media.example/cat.mp4"})
    post = core.post(posted(core, task, schedule_time=later(core, 60)))

    assert (post.source, post.media) == (Source.URL, ("https://media.example/cat.mp4",))


def test_a_file_comes_before_an_address(core: Core) -> None:
    task = submitted(core, output_data={"video_path": "cat.mp4", "video_url": "https://evil.example/cat.mp4"})

    assert core.post(posted(core, task, schedule_time=later(core, 60))).source is Source.FILE


@pytest.mark.parametrize(
    ("task", "args", "code", "field"),
    [
        pytest.param({"status": "running"}, {}, "bad_field", "args.task", id="not completed"),
        pytest.param({"output_data": {}}, {}, "bad_field", "args.task", id="no video"),
        pytest.param({"output_data": {"video_path": "none.mp4"}}, {}, "media_missing", "args.task", id="no file"),
        pytest.param({"output_data": {"video_url": "https://evil.example/a"}}, {}, "media_rejected", "args.task",
                     id="address"),
        pytest.param({}, {"privacy_level": None}, "bad_field", "args.privacy_level", id="no privacy level"),
        pytest.param({}, {"privacy_level": "FRIENDS"}, "bad_field", "args.privacy_level", id="level not offered"),
        pytest.param({}, {"schedule_time": "soon"}, "bad_time", "args.schedule_time", id="time"),
        pytest.param({}, {"account": "eve"}, "no_such_account", "args.account", id="account"),
        pytest.param({}, {"at": "now"}, "unknown_field", "args.at", id="another verb's word"),
    ],
)  # fmt: skip
def test_a_refused_post_names_the_callers_field_and_leaves_the_task_alone(
    core: Core, task: dict[str, Any], args: dict[str, Any], code: str, field: str
) -> None:
    name = submitted(core, **task)

    error = core.refusal("task/post", {"task": name} | PRIVATE | args)

    assert (error["code"], error["field"]) == (code, field)
    assert shown(core, name)["post"] is None
    assert core.posts() == []


def test_the_only_account_need_not_be_named_and_one_of_several_must(core: Core) -> None:
    core.link("bob")
    task = submitted(core)

    error = core.refusal("task/post", {"task": task} | PRIVATE)

    assert (error["code"], error["field"]) == ("bad_field", "args.account")
    assert core.post(posted(core, task, account_id="bob", schedule_time=later(core, 60))).account == "bob"


def test_a_dry_run_of_a_post_shows_the_call_and_links_nothing(core: Core) -> None:
    task = submitted(core)

    result = core.do("task/post", {"task": task} | PRIVATE, dry_run=True, id="")

    assert (result["dry_run"], result["task"], result["endpoint"]) == (True, task, "/init")
    assert shown(core, task)["post"] is None
    assert core.posts() == []


# -- once ----------------------------------------------------------------------------------------------------


def test_a_task_that_is_being_posted_is_not_posted_again(core: Core) -> None:
    task = submitted(core)
    post = posted(core, task, schedule_time=later(core, 60))

    error = core.refusal("task/post", {"task": task} | PRIVATE)

    assert (error["code"], error["field"]) == ("already_posted", "args.task")
    assert post in error["message"]
    assert len(core.posts()) == 1


def test_a_task_that_was_posted_is_not_posted_again(core: Core) -> None:
    task = submitted(core)
    posted(core, task)
    core.run_for(60)

    assert core.refusal("task/post", {"task": task} | PRIVATE)["code"] == "already_posted"


def test_an_order_that_is_sent_twice_posts_once(core: Core) -> None:
    order = {"task": submitted(core)} | PRIVATE
    first = core.do("task/post", order, id="order")
    again = core.send("task/post", order, id="order")
    core.run_for(60)

    assert (again["replayed"], again["result"]) == (True, first)
    assert len(core.platform.published()) == 1


def test_after_a_cancelled_post_a_task_may_be_posted_again(core: Core) -> None:
    task = submitted(core)
    first = posted(core, task, schedule_time=later(core, 60))
    core.do("post/cancel", {"post": first})
    assert shown(core, task)["can_post_to_tiktok"] is True

    second = posted(core, task, schedule_time=later(core, 60))

    assert shown(core, task)["post"] == second != first


def test_after_a_failed_post_a_task_may_be_posted_again(core: Core) -> None:
    core.platform.verdict = failed("spam_risk", Fault.CONTENT)
    task = submitted(core)
    posted(core, task)
    core.run_for(60)
    assert shown(core, task)["post_status"]["fail_reason"] == "spam_risk"

    assert posted(core, task, schedule_time=later(core, 60)) == shown(core, task)["post"]


# -- a video that must be checked first ----------------------------------------------------------------------


@pytest.fixture
def slow(core: Core) -> Core:
    """A core in which cat.mp4 is new and its check lasts until the gate is opened."""
    core.media.checked.clear()
    core.media.gate = threading.Event()
    return core


def ordered(core: Core, task: str, **more: Any) -> Any:
    call = core.submit("task/post", {"task": task} | PRIVATE | {"schedule_time": later(core, 60)}, **more)
    assert call.first()["status"] == "accepted"
    return call


def opened(core: Core) -> None:
    assert core.media.gate is not None
    core.media.gate.set()


def test_a_new_video_is_accepted_first_and_linked_when_it_has_been_checked(slow: Core) -> None:
    task = submitted(slow)
    call = ordered(slow, task)
    assert slow.do("task/status", {"task": task})["post"] is None

    opened(slow)

    result = call.final()["result"]
    assert (result["task"], result["status"]) == (task, "SCHEDULED")
    assert shown(slow, task)["post"] == result["post"]
    assert slow.post(result["post"]).task == task


def test_a_new_video_that_is_no_good_refuses_the_order_by_its_task(slow: Core) -> None:
    slow.media.overrides["cat.mp4"] = {"fps": 10.0}
    task = submitted(slow)
    call = ordered(slow, task)

    opened(slow)

    error = call.final()["error"]
    assert (error["code"], error["field"], error["problems"][0]["code"]) == (
        "media_rejected", "args.task", "frame_rate",
    )  # fmt: skip
    assert shown(slow, task)["can_post_to_tiktok"] is True


def test_a_dry_run_with_a_new_video_checks_it_and_links_nothing(slow: Core) -> None:
    task = submitted(slow)
    call = ordered(slow, task, dry_run=True)

    opened(slow)

    assert call.final()["result"].items() >= {"dry_run": True, "task": task}.items()
    assert shown(slow, task)["can_post_to_tiktok"] is True


def test_of_two_orders_that_wait_for_one_check_one_posts(slow: Core) -> None:
    task = submitted(slow)
    calls = [ordered(slow, task) for _ in range(2)]

    opened(slow)

    assert sorted(call.final()["status"] for call in calls) == ["done", "rejected"]
    assert [call.final()["error"]["code"] for call in calls if "error" in call.final()] == ["already_posted"]
    assert len(slow.posts()) == 1


def test_a_video_that_is_exchanged_during_its_check_is_not_posted(slow: Core) -> None:
    task = submitted(slow)
    call = ordered(slow, task)
    slow.do("task/update", {"task": task, "output_data": {"video_path": "dog.mp4"}})

    opened(slow)

    assert (call.final()["error"]["code"], call.final()["error"]["retryable"]) == ("media_rejected", True)
    assert slow.posts() == []


def test_an_order_is_finished_in_the_name_of_who_gave_it(slow: Core) -> None:
    task = submitted(slow, actor="http:ann")
    call = ordered(slow, task, actor="http:ann")

    opened(slow)

    assert call.final()["status"] == "done"
    assert slow.post(call.final()["result"]["post"]).consent.actor == "http:ann"


def die_during_the_check(core: Core) -> None:
    """The process is gone while the file is being read; what that worker finds out reaches nobody."""
    core.stopping.set()
    core.bus.stop(10)
    opened(core)
    core.restart(clean=False)
    core.settle()


def test_an_accepted_order_posts_once_after_a_kill(slow: Core) -> None:
    task = submitted(slow)
    at = later(slow, 60)
    order = {"task": task, "schedule_time": at} | PRIVATE
    slow.submit("task/post", order, id="order").first()

    die_during_the_check(slow)
    again = slow.send("task/post", order, id="order")
    slow.run_for(120)

    assert (again["replayed"], again["result"]["post"]) == (True, shown(slow, task)["post"])
    assert len(slow.posts()) == len(slow.platform.published()) == 1


def test_an_accepted_order_whose_task_has_lost_its_file_is_answered_after_a_kill(slow: Core) -> None:
    task = submitted(slow)
    slow.submit("task/post", {"task": task} | PRIVATE, id="order").first()
    slow.do("task/update", {"task": task, "output_data": {"video_path": None}})

    die_during_the_check(slow)

    again = slow.send("task/post", {"task": task} | PRIVATE, id="order")
    assert (again["status"], again["error"]["field"]) == ("rejected", "args.task")


def test_a_post_that_was_under_way_at_a_kill_is_finished_and_told(core: Core) -> None:
    task = submitted(core)
    posted(core, task, schedule_time=later(core, 60))

    core.restart(clean=False)
    core.run_for(120)

    assert shown(core, task)["tiktok_post_status"] == "PUBLISHED"
    assert len(core.platform.published()) == 1


# -- what is told --------------------------------------------------------------------------------------------


def test_the_log_tells_the_life_of_the_post(core: Core) -> None:
    task = submitted(core)
    posted(core, task, schedule_time=later(core, 60))
    core.run_for(120)

    assert log_of(core, task) == [("post.scheduled", "info"), ("post.published", "success")]


def test_a_failed_post_is_an_error_in_the_log_with_its_reason(core: Core) -> None:
    core.platform.verdict = failed("spam_risk", Fault.CONTENT)
    task = submitted(core)
    posted(core, task)
    core.run_for(60)

    line = shown(core, task)["execution_logs"][-1]
    assert (line["action"], line["status"], line["agent_name"]) == ("post.failed", "error", "tokd")
    assert line["details"]["reason"] == "spam_risk"


def test_a_tasks_events_follow_its_post(core: Core) -> None:
    task = submitted(core)
    posted(core, task, schedule_time=later(core, 60))
    core.run_for(120)

    assert core.event_types(f"task/{task}") == ["task.submitted", "task.posted", "task.updated"]
    first, last = core.events("task.posted", "task.updated")
    assert (first["data"]["tiktok_post_status"], last["data"]["tiktok_post_status"]) == (
        "SCHEDULED",
        "PUBLISHED",
    )
    assert last["data"]["url"] == shown(core, task)["tiktok_post_url"]


def test_a_post_names_its_task_in_its_view(core: Core) -> None:
    task = submitted(core)
    post = posted(core, task, schedule_time=later(core, 60))

    assert core.do("post/status", {"post": post})["task"] == task


def test_a_post_without_a_task_costs_no_look_at_tasks(core: Core) -> None:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        core.scheduled("cat.mp4")
        core.run_for(120)
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert core.posts()[0].state is State.PUBLISHED
    assert any("UPDATE post" in statement for statement in statements)
    assert [statement for statement in statements if re.search(r"(FROM|UPDATE|INTO) task\b", statement)] == []
