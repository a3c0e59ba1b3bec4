"""The other commands through the core: cancel, publish now, resolve, pause, accounts, lists, repeats."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.account import Login
from daemon.domain.commands import VERBS
from daemon.domain.errors import Fault
from daemon.domain.ids import LOCAL_ACTOR, PostId
from daemon.domain.post import IN_HAND, State
from daemon.domain.verdicts import HOLD_DISABLED, HOLD_LATE, HOLD_LOGIN, HOLD_PAUSED
from tests.core import Core
from tests.fakes.platform import PENDING, PUBLISHED, failed


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        found.media.put("clip.mp4")
        yield found


def put_into(core: Core, state: State, **changes: object) -> PostId:
    """Return a post that stands in this state, as if it had got there."""
    key = core.scheduled(in_s=3600)
    found = replace(core.post(key), state=state, version=50, **changes)
    if state in IN_HAND:
        found = replace(found, wake_at=core.clock.now() + timedelta(hours=2), claimed_by=core.node)
    core.write(lambda unit: unit.save_post(found))
    return key


# -- cancel --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "code"),
    [
        *(
            (state, None)
            for state in (State.DRAFT, State.SCHEDULED, State.HELD, State.RETRY_WAIT, State.CLAIMED)
        ),
        *((state, None) for state in (State.VALIDATING, State.INITIALISED, State.UPLOADING)),
        *((state, "too_late") for state in (State.COMMITTING, State.PROCESSING, State.UNCERTAIN)),
        *(
            (state, "already_final")
            for state in (State.PUBLISHED, State.SENT_TO_INBOX, State.FAILED, State.CANCELLED)
        ),
    ],
)
def test_cancel_in_every_state(core: Core, state: State, code: str | None) -> None:
    post = put_into(core, state)

    reply = core.send("post/cancel", {"post": post})

    if code is None:
        assert reply["result"] == {"post": post, "state": "cancelled"}
        assert core.post(post).state is State.CANCELLED
    else:
        assert (reply["error"]["code"], reply["error"]["field"]) == (code, "args.post")
        assert core.post(post).state is state


def test_a_cancel_locks_the_worker_out(core: Core) -> None:
    post = put_into(core, State.UPLOADING)
    fence = core.post(post).fence

    core.do("post/cancel", {"post": post})

    assert core.post(post).fence == fence + 1


def test_a_cancelled_upload_is_never_completed(core: Core) -> None:
    core.platform.next("send_chunk", lambda: core.do("post/cancel", {"post": core.posts()[0].id}))
    post = core.scheduled(in_s=0)
    core.run_for(60)

    assert core.post(post).state is State.CANCELLED
    assert core.platform.published() == []


def test_a_video_that_the_platform_is_fetching_is_cancelled_by_the_platform(core: Core) -> None:
    core.platform.next("status", *[PENDING] * 50)
    post = core.scheduled(None, url="https://media.example/a.mp4", in_s=0)
    core.tick()
    assert core.post(post).state is State.PROCESSING

    call = core.submit("post/cancel", {"post": post})

    assert "last word" in call.final()["result"]["note"]
    assert call.first()["status"] == "accepted"
    assert core.platform.count("cancel") == 1


@pytest.mark.parametrize(
    ("status", "state"),
    [(failed("publish_cancelled", Fault.CANCELLED), State.CANCELLED), (PUBLISHED, State.PUBLISHED)],
)
def test_what_becomes_of_a_withdrawn_video_is_the_status_and_not_the_agreement(
    core: Core, status: Any, state: State
) -> None:
    core.platform.next("status", PENDING)
    post = core.scheduled(None, url="https://media.example/a.mp4", in_s=0)
    core.tick()
    core.platform.next("status", status)

    core.send("post/cancel", {"post": post})
    core.run_for(60)

    assert core.post(post).state is state


def test_a_file_that_the_platform_has_cannot_be_cancelled(core: Core) -> None:
    post = put_into(core, State.PROCESSING)

    assert core.refusal("post/cancel", {"post": post})["code"] == "too_late"


# -- publish now ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.DRAFT, State.SCHEDULED, State.HELD, State.RETRY_WAIT])
def test_a_waiting_post_goes_out_at_once(core: Core, state: State) -> None:
    post = put_into(core, state)

    core.do("post/publish_now", {"post": post})
    core.run_for(30)

    assert core.post(post).state is State.PUBLISHED


@pytest.mark.parametrize(
    ("state", "code"),
    [(State.UPLOADING, "too_late"), (State.UNCERTAIN, "too_late"), (State.PUBLISHED, "already_final")],
)
def test_a_post_that_is_under_way_cannot_be_published_again(core: Core, state: State, code: str) -> None:
    assert core.refusal("post/publish_now", {"post": put_into(core, state)})["code"] == code


def test_the_next_post_of_an_account_can_be_published_now(core: Core) -> None:
    core.scheduled(in_s=900)
    first = core.scheduled(in_s=600)

    assert core.do("post/publish_now", {"account": "ada"})["post"] == first


@pytest.mark.parametrize("args", [{}, {"post": "p_1", "account": "ada"}])
def test_publish_now_wants_either_a_post_or_an_account(core: Core, args: dict[str, str]) -> None:
    assert core.refusal("post/publish_now", args)["field"] == "args.post"


def test_an_account_without_a_waiting_post_has_nothing_to_publish(core: Core) -> None:
    assert core.refusal("post/publish_now", {"account": "ada"})["code"] == "no_such_post"


# -- resolve -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("published", State.PUBLISHED), ("not_published", State.FAILED), ("post_again", State.PUBLISHED)],
)
def test_a_person_resolves_a_doubted_post(core: Core, outcome: str, state: State) -> None:
    post = put_into(core, State.UNCERTAIN, wake_at=None)

    result = core.do("post/resolve", {"post": post, "outcome": outcome, "by": "Ada"})
    core.run_for(30)

    assert (result["outcome"], result["by"]) == (outcome, "Ada")
    assert core.post(post).state is state
    assert core.platform.count("init") == (outcome == "post_again")


def test_who_resolved_a_post_is_told(core: Core) -> None:
    post = put_into(core, State.UNCERTAIN, wake_at=None)
    core.do("post/resolve", {"post": post, "outcome": "published"}, actor="panel")

    (event,) = core.events("post.resolved")
    assert (event["data"]["by"], event["data"]["actor"]) == ("panel", "panel")


@pytest.mark.parametrize(
    ("state", "code"), [(State.SCHEDULED, "bad_field"), (State.PUBLISHED, "already_final")]
)
def test_only_doubt_can_be_resolved(core: Core, state: State, code: str) -> None:
    error = core.refusal("post/resolve", {"post": put_into(core, state), "outcome": "published"})

    assert (error["code"], error["field"]) == (code, "args.post")


# -- pause and resume ----------------------------------------------------------------------------------------


def test_a_post_that_becomes_due_in_a_pause_is_held_and_goes_out_afterwards(core: Core) -> None:
    post = core.scheduled(in_s=60)
    core.do("system/pause", {"reason": "holiday"})
    core.run_for(120)
    assert (core.post(post).state, core.post(post).reason) == (State.HELD, HOLD_PAUSED)

    assert core.do("system/resume")["released"] == 1
    core.run_for(30)

    assert core.post(post).state is State.PUBLISHED


def test_a_pause_survives_a_restart(core: Core) -> None:
    post = core.scheduled(in_s=60)
    core.do("system/pause")

    core.restart(clean=False)
    core.run_for(120)

    assert core.post(post).state is State.HELD


def test_a_post_whose_time_ran_out_in_a_pause_is_held_as_late(core: Core) -> None:
    post = core.scheduled(in_s=60)
    core.do("system/pause")
    core.run_for(7200)

    core.do("system/resume")
    core.settle()

    assert (core.post(post).state, core.post(post).reason) == (State.HELD, HOLD_LATE)


def test_pausing_twice_is_told_once(core: Core) -> None:
    core.do("system/pause")
    core.do("system/pause")
    core.do("system/resume")
    core.do("system/resume")

    assert core.event_types("daemon/main")[1:] == ["daemon.paused", "daemon.resumed"]


@pytest.mark.parametrize("late_ms", [3_600_001, 3_600_500, 3_600_999, 3_601_000, 3_601_001])
def test_a_post_is_never_held_for_a_wrong_reason_at_the_edge_of_lateness(core: Core, late_ms: int) -> None:
    post = core.scheduled(in_s=60)
    core.clock.advance(timedelta(seconds=60, milliseconds=late_ms))
    core.tick()

    assert core.post(post).reason != HOLD_DISABLED


# -- accounts ------------------------------------------------------------------------------------------------


def test_an_imported_account_shows_no_token(core: Core) -> None:
    found = core.do("account/list")["accounts"]

    assert (found[0]["account"], found[0]["login"], found[0]["open_id"]) == ("ada", "ok", "open-ada")
    assert "access-0" not in str(found) + str(core.events()) + repr(core.account())
    assert "refresh-0" not in str(found) + str(core.events()) + repr(core.account())


def test_an_import_does_not_move_posts_to_another_person(core: Core) -> None:
    args = {"account": "ada", "access_token": "a", "refresh_token": "r", "open_id": "open-eve"}

    error = core.refusal("account/import", args, is_local=True)

    assert (error["code"], error["field"]) == ("forbidden", "args.account")
    assert core.account().open_id == "open-ada"


def test_an_import_gives_no_second_name_to_a_person(core: Core) -> None:
    args = {"account": "shop", "access_token": "a", "refresh_token": "r", "open_id": "open-ada"}

    error = core.refusal("account/import", args, is_local=True)

    assert (error["code"], error["field"]) == ("forbidden", "args.account")
    assert "linked as ada already" in error["message"]
    assert [found["account"] for found in core.do("account/list")["accounts"]] == ["ada"]


def test_a_person_whose_name_was_unlinked_may_be_imported_under_another(core: Core) -> None:
    core.do("account/unlink", {"account": "ada"})
    core.settle()

    args = {"account": "shop", "access_token": "a", "refresh_token": "r", "open_id": "open-ada"}
    assert core.do("account/import", args, is_local=True)["account"] == "shop"


def test_linking_again_releases_what_waited_for_it(core: Core) -> None:
    core.write(lambda unit: unit.save_account(replace(unit.account("ada"), login=Login.NEEDS_LOGIN)))
    post = core.scheduled(in_s=60)
    core.run_for(60)
    assert (core.post(post).state, core.post(post).reason) == (State.HELD, HOLD_LOGIN)

    core.link()
    core.run_for(30)

    assert core.post(post).state is State.PUBLISHED


def test_linking_reads_what_the_creator_may_do(core: Core) -> None:
    found = core.account().creator
    assert found is not None
    assert found.username == "ada"


# -- lists and events ----------------------------------------------------------------------------------------


def test_a_list_is_paged_by_its_cursor(core: Core) -> None:
    posts = [core.scheduled() for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = core.do("post/list", {"limit": 2} | cursor)
        seen += [post["post"] for post in page["posts"]]
        if "cursor" not in page:
            break
        cursor = {"cursor": page["cursor"]}

    assert sorted(seen) == sorted(posts)


def test_a_bad_cursor_is_refused(core: Core) -> None:
    assert core.refusal("post/list", {"cursor": "x"})["field"] == "args.cursor"


def test_one_post_is_shown_with_consent_file_and_attempts(core: Core) -> None:
    post = core.scheduled(in_s=0)
    core.run_for(30)

    shown = core.do("post/status", {"post": post})

    assert shown["state"] == "published"
    assert shown["attempts"][0]["outcome"] == "publish"
    assert shown["file"]["sha256"]
    assert "upload.example" not in str(shown)


def test_events_are_replayed_from_a_number_on(core: Core) -> None:
    for _ in range(5):
        core.scheduled()
    latest = core.do("events/replay")["latest"]

    page = core.do("events/replay", {"after": latest - 4, "limit": 3})

    assert [int(event["sequence"]) for event in page["events"]] == [latest - 3, latest - 2, latest - 1]
    assert (page["next_after"], page["latest"], page["more"]) == (latest - 1, latest, True)


@pytest.mark.parametrize("after", [10**9, 2**53 - 1])
def test_a_replay_from_the_future_is_empty(core: Core, after: int) -> None:
    page = core.do("events/replay", {"after": after})

    assert (page["events"], page["more"]) == ([], False)


@pytest.mark.parametrize("after", [-1, 2**63, 10**30, "x"])
def test_a_replay_from_no_number_is_refused(core: Core, after: object) -> None:
    assert core.refusal("events/replay", {"after": after})["field"] == "args.after"


def test_health_names_what_is_not_as_it_should_be(core: Core) -> None:
    core.do("system/pause")

    found = core.do("system/health")

    assert (found["phase"], found["degraded"]) == ("degraded", ["paused"])


def test_ping_and_describe_answer(core: Core) -> None:
    assert core.do("system/ping")["protocol"] == "v1"
    assert len(core.do("system/describe")["verbs"]) == len(VERBS)


# -- repeats and refusals of the envelope --------------------------------------------------------------------


def test_a_repeat_gets_the_stored_reply_and_does_nothing(core: Core) -> None:
    first = core.schedule(id="same")
    core.clock.advance(1)

    args = {"account": "ada", "media": "clip.mp4", "at": "2026-12-01T09:01:00+00:00", "privacy": "SELF_ONLY"}
    again = core.send("post/schedule", args, id="same")

    assert again == first | {"replayed": True}
    assert len(core.posts()) == 1


def test_a_repeat_after_a_restart_gets_the_stored_reply(core: Core) -> None:
    first = core.send("system/pause", id="same")

    core.restart(clean=False)

    assert core.send("system/pause", id="same") == first | {"replayed": True}


def test_a_repeat_of_a_refused_command_is_refused_again(core: Core) -> None:
    first = core.send("post/cancel", {"post": "p_none"}, id="same")

    assert core.send("post/cancel", {"post": "p_none"}, id="same") == first | {"replayed": True}


def test_the_same_id_for_another_order_is_a_conflict(core: Core) -> None:
    core.schedule(id="same", title="one")

    error = core.schedule(id="same", title="two")["error"]

    assert (error["code"], error["field"]) == ("id_conflict", "id")
    assert len(core.posts()) == 1


def test_two_callers_may_use_the_same_id(core: Core) -> None:
    core.send("system/pause", id="same", actor="one")

    assert core.send("system/resume", id="same", actor="two")["status"] == "done"


def test_a_costly_command_needs_an_id(core: Core) -> None:
    assert core.schedule(id="")["error"]["code"] == "id_required"


def test_a_command_after_its_deadline_is_not_carried_out(core: Core) -> None:
    reply = core.send("system/pause", expires_at="2026-12-01T08:59:59Z")

    assert (reply["status"], reply["error"]["code"]) == ("expired", "expired")
    assert core.event_types().count("daemon.paused") == 0


def test_a_repeat_after_the_deadline_still_gets_its_answer(core: Core) -> None:
    core.send("system/pause", id="same", ttl_s=5)
    core.clock.advance(60)

    # The deadline is no part of the order: a late second delivery of the same message.
    assert core.send("system/pause", id="same", expires_at="2026-12-01T09:00:05Z")["status"] == "done"


def test_a_daemon_that_stops_takes_no_orders_but_answers_questions(core: Core) -> None:
    core.bus.refuse_new_work()

    error = core.refusal("system/pause")

    assert (error["code"], error["retryable"]) == ("shutting_down", True)
    assert core.send("system/ping")["status"] == "done"


def test_a_daemon_that_stops_still_answers_repeats(core: Core) -> None:
    core.send("system/pause", id="same")
    core.bus.refuse_new_work()

    assert core.send("system/pause", id="same")["replayed"] is True


def test_an_import_over_a_broker_is_forbidden(core: Core) -> None:
    args = {"account": "bob", "access_token": "a", "refresh_token": "r", "open_id": "o"}

    assert core.refusal("account/import", args)["code"] == "forbidden"
    assert core.do("account/import", args, is_local=True, actor=LOCAL_ACTOR)["account"] == "bob"
