"""`tokd task …` against a real control server: what is sent, what is printed, how it exits."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemon.cli.app import app
from daemon.domain.errors import Code, Rejected
from daemon.domain.wire import Request
from tests.integration.control_stage import Stage, folder, stage

__all__ = ["folder", "stage"]

VIEW: dict[str, Any] = {
    "task": "t_1", "user": "ann", "instance_id": "gen-1", "description": "A cat\non a piano", "status": "completed",
    "output_data": {"video_url": None, "video_path": "cat.mp4", "caption": "Meow"}, "can_post_to_tiktok": True,
    "post": None, "tiktok_post_status": None, "tiktok_publish_id": None, "tiktok_post_url": None,
    "scheduled_post_time": None, "created_at": "2026-01-01T10:00:00.000Z", "updated_at": "2026-01-01T10:00:00.000Z",
    "rev": 1,
}  # fmt: skip
DETAIL = VIEW | {
    "planning_steps": [{"id": "1", "title": "Write", "description": "", "status": "done"}],
    "execution_steps": [],
    "execution_logs": [
        {"timestamp": "2026-01-01T10:00:00.000Z", "agent_name": "tokd", "action": "post.failed", "status": "error",
         "message": "the post has failed", "details": None},
    ],
    "suggested_caption": "Meow", "tiktok_post_data": None, "post_status": None, "command_id": "c-1",
}  # fmt: skip
Tokd = Callable[..., Result]


@pytest.fixture
def tokd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tokd:
    """Run a command in an empty folder, with its state there."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TOKD_")]:
        monkeypatch.delenv(name)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["--set", f"daemon.state_dir={folder}", *words], prog_name="tokd")

    return run


def answer(result: dict[str, Any]) -> Callable[[Request], list[dict[str, Any]]]:
    return lambda _request: [{"status": "done", "result": result}]


def sent(stage: Stage) -> tuple[str, dict[str, Any]]:
    """Return the verb and the arguments of the one command that was sent."""
    (request,) = stage.bus.requests
    return request.verb, json.loads(request.body)["args"]


def test_a_task_is_submitted_with_what_was_given(tokd: Tokd, stage: Stage, folder: Path) -> None:
    (folder / "cat.mp4").write_bytes(b"x")

    found = tokd("task", "submit", "A cat", "--status", "completed", "--video", "cat.mp4", "--step", "Write",
                 "--step", "Cut")  # fmt: skip

    assert found.exit_code == 0, found.output
    assert sent(stage) == ("task/submit", {
        "instance_id": "cli", "description": "A cat", "status": "completed",
        "planning_steps": [{"id": "1", "title": "Write"}, {"id": "2", "title": "Cut"}],
        "output_data": {"video_path": str(folder / "cat.mp4")},
    })  # fmt: skip


def test_an_update_sends_only_what_was_given(tokd: Tokd, stage: Stage) -> None:
    assert tokd("task", "update", "t_1", "--caption", "Purr").exit_code == 0

    assert sent(stage) == ("task/update", {"task": "t_1", "output_data": {"caption": "Purr"}})


def test_a_list_is_one_line_for_each_task(tokd: Tokd, stage: Stage) -> None:
    done = VIEW | {
        "task": "t_2",
        "post": "p_1",
        "tiktok_post_status": "PUBLISHED",
        "can_post_to_tiktok": False,
    }
    stage.bus.reply_with = answer({"tasks": [VIEW, done], "cursor": "abc"})

    found = tokd("task", "list", "--instance", "gen-1", "--limit", "2")

    assert sent(stage) == ("task/list", {"instance_id": "gen-1", "limit": 2})
    first, second = (line.split("\t") for line in found.stdout.splitlines())
    assert (first[0], first[3], first[5]) == ("t_1", "can be posted", "A cat on a piano")
    assert (second[0], second[3]) == ("t_2", "p_1 published")
    assert "--cursor abc" in found.stderr


def test_a_task_is_shown_with_its_plan_and_its_log(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = answer(DETAIL)

    found = tokd("task", "show", "t_1").stdout

    assert "video path" in found
    assert "plan: 1  Write  done" in found
    assert "error    tokd  the post has failed" in found
    assert "None" not in found


def test_a_task_is_shown_as_it_came_where_json_is_asked_for(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = answer(DETAIL)

    assert json.loads(tokd("task", "show", "t_1", "--json").stdout)["result"] == DETAIL


def test_a_post_of_a_task_allows_nothing_that_was_not_asked_for(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = answer(
        {"task": "t_1", "post": "p_1", "status": "SCHEDULED", "warnings": ["mind it"]}
    )

    found = tokd("task", "post", "t_1", "--privacy", "SELF_ONLY", "--allow-duet", "--at", "now")

    verb, args = sent(stage)
    assert (verb, args["privacy_level"], args["schedule_time"]) == ("task/post", "SELF_ONLY", "now")
    assert (args["disable_duet"], args["disable_stitch"], args["disable_comment"]) == (False, True, True)
    assert "note: mind it" in found.stderr


def test_a_task_that_was_posted_says_where_to_look(tokd: Tokd, stage: Stage) -> None:
    error = Rejected(Code.ALREADY_POSTED, "task t_1 has post p_1, which is published", field="args.task")
    stage.bus.reply_with = lambda _request: [{"status": "rejected", "error": error.as_dict()}]

    found = tokd("task", "post", "t_1", "--privacy", "SELF_ONLY")

    assert found.exit_code == 1
    assert "tokd task show TASK" in found.stderr
