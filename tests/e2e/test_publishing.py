"""From a command over MQTT to `published`, on real input: the main road, and the verbs along it."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.brokers import Listener
from tests.daemons import Caller, Daemon, make_clip
from tests.e2e.stage import FINAL, SMALL_CHUNKS, VERIFIED, Stage, staged
from tests.waiting import wait_until

BASE = "tokd/v1/main"
ROAD = ["scheduled", "started", "initialised", "processing", "published"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("publishing")
    with staged(folder, SMALL_CHUNKS, with_broker=True) as found:
        make_clip(found.daemon.media / "clip.mp4")
        make_clip(found.daemon.media / "three.mp4", seconds=2, pad_to=16_000_000)
        yield found


@pytest.fixture(scope="module")
def me(stage: Stage) -> Iterator[Caller]:
    caller = stage.caller()
    yield caller
    caller.close()


@pytest.fixture
def user(stage: Stage) -> str:
    return stage.account()


def _order(user: str, **args: Any) -> dict[str, Any]:
    body = {"account": user, "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "now"} | args
    return {key: value for key, value in body.items() if value is not None}


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _schedule(caller: Caller, user: str, **args: Any) -> str:
    reply = caller.call("post/schedule", _order(user, **args))
    assert reply["status"] == "done", reply
    return str(reply["result"]["post"])


def _told(caller: Caller, post: str) -> list[dict[str, Any]]:
    return [event for event in caller.events() if event["subject"] == f"post/{post}"]


def _kinds(caller: Caller, post: str) -> list[str]:
    kinds = [event["type"].removeprefix("dev.tokd.post.") for event in _told(caller, post)]
    return [kind for kind in kinds if kind != "progress"]


def _await_kind(caller: Caller, post: str, kind: str) -> list[str]:
    wait_until(lambda: kind in _kinds(caller, post), 20, what=f"{kind} of {post}: {_kinds(caller, post)}")
    return _kinds(caller, post)


def _retained(stage: Stage, topic: str) -> dict[str, Any]:
    """Return what a newcomer hears on a topic."""
    with Listener(stage.broker, f"{BASE}/{topic}") as listener:
        payload = listener.wait_for(f"{BASE}/{topic}")[0]
        assert listener.messages[0].retain
    return dict(json.loads(payload))


def _sha256(stage: Stage, name: str) -> str:
    return hashlib.sha256((stage.daemon.media / name).read_bytes()).hexdigest()


# -- the main road -------------------------------------------------------------------------------------------


def test_video_in_three_chunks_goes_from_mqtt_to_published(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user, media="three.mp4", title="Hello", at=_in(1))
    assert _await_kind(me, post, "published") == ROAD
    [init] = stage.seen("inits", user)
    assert init["post_info"]["title"] == "Hello"
    assert init["post_info"]["privacy_level"] == "SELF_ONLY"
    ranges = [(entry["first"], entry["last"], entry["status"]) for entry in stage.seen("ranges", user)]
    assert ranges == [(0, 4_999_999, 206), (5_000_000, 9_999_999, 206), (10_000_000, 15_999_999, 201)]
    [file] = stage.seen("files", user)
    assert file["sha256"] == _sha256(stage, "three.mp4")
    assert len(stage.seen("publishes", user)) == 1


def test_post_goes_out_at_its_time_and_not_before(stage: Stage, me: Caller, user: str) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    post = _schedule(me, user, at=due.isoformat())
    _await_kind(me, post, "published")
    [init] = stage.seen("inits", user)
    assert 0 <= init["time"] - due.timestamp() < 1


def test_inbox_draft_carries_the_file_only(stage: Stage, me: Caller, user: str) -> None:
    reply = me.call("post/schedule", _order(user, media="three.mp4", mode="inbox", privacy=None))
    assert "inbox draft" in reply["result"]["warnings"][0]
    post = reply["result"]["post"]
    assert _await_kind(me, post, "sent_to_inbox") == [*ROAD[:-1], "sent_to_inbox"]
    [init] = stage.seen("inits", user)
    assert (init["mode"], init["post_info"]) == ("inbox", None)
    assert stage.seen("files", user)[0]["sha256"] == _sha256(stage, "three.mp4")


def test_draft_that_the_person_finishes_in_the_app_becomes_published(
    stage: Stage, me: Caller, user: str
) -> None:
    post = _schedule(me, user, mode="inbox", privacy=None)
    _await_kind(me, post, "sent_to_inbox")
    publish_id = stage.daemon.post(post)["publish_id"]
    stage.simulator.post(
        f"posts/{publish_id}", {"status": "PUBLISH_COMPLETE", "post_id": 7678907398077074696}
    )
    _wake(stage, post)
    assert _await_kind(me, post, "published")[-2:] == ["sent_to_inbox", "published"]
    assert stage.daemon.post(post)["post_ids"] == ["7678907398077074696"]


def test_video_by_address_is_pulled_by_tiktok(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user, media=None, url=f"{VERIFIED}clip.mp4", title="pulled")
    assert _await_kind(me, post, "published") == ["scheduled", "started", "processing", "published"]
    [init] = stage.seen("inits", user)
    assert init["source_info"] == {"source": "PULL_FROM_URL", "video_url": f"{VERIFIED}clip.mp4"}


def test_inbox_draft_by_address_is_pulled_by_tiktok(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user, media=None, url=f"{VERIFIED}clip.mp4", mode="inbox", privacy=None)
    _await_kind(me, post, "sent_to_inbox")
    assert stage.seen("inits", user)[0]["source"] == "PULL_FROM_URL"


@pytest.mark.parametrize(("mode", "end"), [("direct", "published"), ("inbox", "sent_to_inbox")])
def test_photos_are_posted(stage: Stage, me: Caller, user: str, mode: str, end: str) -> None:
    photos = [f"{VERIFIED}{number}.jpg" for number in range(3)]
    privacy = "SELF_ONLY" if mode == "direct" else None
    post = _schedule(
        me,
        user,
        media=None,
        photos=photos,
        mode=mode,
        privacy=privacy,
        title="Three",
        text="words",
        photo_cover=2,
    )
    _await_kind(me, post, end)
    [init] = stage.seen("inits", user)
    assert (init["mode"], init["delivery"]) == ("photo", mode)
    assert init["source_info"]["photo_images"] == photos
    assert init["source_info"]["photo_cover_index"] == 2
    assert init["post_info"]["description"] == "words"


def test_several_accounts_post_at_once(stage: Stage, me: Caller) -> None:
    users = [stage.account() for _ in range(6)]
    posts = [_schedule(me, user, media="three.mp4", at=_in(2)) for user in users]
    for post, user in zip(posts, users, strict=True):
        assert _await_kind(me, post, "published") == ROAD
        assert len(stage.seen("inits", user)) == len(stage.seen("publishes", user)) == 1


def test_posts_of_one_account_go_out_one_after_the_other(stage: Stage, me: Caller, user: str) -> None:
    posts = [_schedule(me, user, title=f"number {number}", at=_in(2 + number / 100)) for number in range(4)]
    for post in posts:
        _await_kind(me, post, "published")
    assert [init["post_info"]["title"] for init in stage.seen("inits", user)] == [
        f"number {number}" for number in range(4)
    ]


def test_public_post_gets_its_id_after_moderation(stage: Stage, me: Caller) -> None:
    name = stage.account(private=False)
    stage.simulator.post("settings", {"audited": True, "moderation_seconds": 1.0})
    try:
        post = _schedule(me, name, privacy="PUBLIC_TO_EVERYONE")
        _await_kind(me, post, "published")
    finally:
        stage.simulator.post("settings", {"audited": False, "moderation_seconds": 0})
    assert "post_ids" not in stage.daemon.post(post)
    publish_id = stage.daemon.post(post)["publish_id"]
    known = wait_until(lambda: _simulated(stage, publish_id)["post_ids"], 10)
    _wake(stage, post)
    _await_kind(me, post, "public")
    found = stage.daemon.post(post)
    assert found["post_ids"] == [str(number) for number in known]
    assert found["url"] == f"https://www.tiktok.com/@{name}_creator/video/{known[0]}"


def _simulated(stage: Stage, publish_id: str) -> dict[str, Any]:
    return next(post for post in stage.simulator.get("posts") if post["publish_id"] == publish_id)


def _wake(stage: Stage, post: str) -> None:
    """Let the next look at a finished post come now instead of in a minute: a stopped daemon's row is set back."""
    stage.daemon.stop()
    stage.daemon.write(f"UPDATE post SET wake_at = 1 WHERE id = '{post}'")
    stage.daemon.start()


def test_status_shows_consent_file_and_attempt(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user, consent_by="Ada Lovelace", title="shown")
    _await_kind(me, post, "published")
    found = me.call("post/status", {"post": post})["result"]
    assert found["state"] == "published"
    assert (found["consent"]["who"], found["consent"]["actor"]) == ("Ada Lovelace", "me")
    assert found["consent"]["through"] == "mqtt post/schedule"
    assert found["file"]["sha256"] == _sha256(stage, "clip.mp4")
    [attempt] = found["attempts"]
    assert attempt["outcome"] == "publish"
    assert attempt["commit_sent_at"]
    assert attempt["publish_id"] == stage.seen("inits", user)[0]["publish_id"]


def test_events_are_numbered_cloudevents_without_a_gap(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user)
    _await_kind(me, post, "published")
    events = stage.daemon.events()
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    [last] = [event for event in _told(me, post) if event["type"] == "dev.tokd.post.published"]
    assert last["source"] == "tokd/main"
    assert last["specversion"] == "1.0"
    assert last in events


def test_progress_is_told_with_bytes(stage: Stage, me: Caller, user: str) -> None:
    stage.fault(user, "upload", "slow", seconds=0.6, times=None)
    post = _schedule(me, user, media="three.mp4")
    _await_kind(me, post, "published")
    progress = [event["data"] for event in _told(me, post) if event["type"].endswith("progress")]
    assert progress[0]["sent_bytes"] == 5_000_000
    assert progress[0]["size"] == 16_000_000


# -- the verbs -----------------------------------------------------------------------------------------------


def test_dry_run_shows_the_init_call_and_makes_nothing(stage: Stage, me: Caller, user: str) -> None:
    reply = me.call("post/schedule", _order(user, title="dry"), dry_run=True)
    assert reply["result"]["dry_run"] is True
    assert json.loads(reply["result"]["init"])["post_info"]["title"] == "dry"
    assert me.call("post/list", {"account": user})["result"]["posts"] == []
    assert stage.seen("inits", user) == []


def test_dry_run_of_a_file_that_was_never_checked_is_answered_too(
    stage: Stage, me: Caller, user: str
) -> None:
    make_clip(stage.daemon.media / "fresh.mp4")
    reply = me.call("post/schedule", _order(user, media="fresh.mp4"), dry_run=True)
    assert reply["result"]["dry_run"] is True
    assert me.call("post/list", {"account": user})["result"]["posts"] == []


def test_cancelled_post_is_never_begun(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user, at=_in(1.5))
    assert me.call("post/cancel", {"post": post})["result"]["state"] == "cancelled"
    later = _schedule(me, user, at=_in(2))
    _await_kind(me, later, "published")
    assert len(stage.seen("inits", user)) == 1
    assert _kinds(me, post) == ["scheduled", "cancelled"]
    assert me.call("post/cancel", {"post": post})["error"]["code"] == "already_final"


def test_upload_is_cancelled_before_its_last_chunk(stage: Stage, me: Caller, user: str) -> None:
    stage.fault(user, "upload", "slow", seconds=0.7, times=None)
    post = _schedule(me, user, media="three.mp4")
    _await_kind(me, post, "initialised")
    assert me.call("post/cancel", {"post": post})["result"]["state"] == "cancelled"
    later = _schedule(me, user)
    _await_kind(me, later, "published")
    assert len(stage.seen("publishes", user)) == 1
    assert stage.daemon.post(post)["state"] == "cancelled"


def test_pull_is_cancelled_while_tiktok_fetches(stage: Stage, me: Caller, user: str) -> None:
    stage.fault(user, "init", "stuck")
    post = _schedule(me, user, media=None, url=f"{VERIFIED}clip.mp4")
    _await_kind(me, post, "processing")
    reply = me.call("post/cancel", {"post": post}, id=f"cancel-{post}")
    assert "agreed to stop" in reply["result"]["note"]
    _await_kind(me, post, "cancelled")
    statuses = [found["status"] for found in me.replies if found["id"] == f"cancel-{post}"]
    assert statuses == ["accepted", "done"]
    assert stage.seen("publishes", user) == []


def test_processing_of_a_file_is_too_late_to_cancel(stage: Stage, me: Caller, user: str) -> None:
    stage.fault(user, "init", "stuck")
    post = _schedule(me, user)
    _await_kind(me, post, "processing")
    assert me.call("post/cancel", {"post": post})["error"]["code"] == "too_late"


def test_rescheduled_post_goes_out_at_its_new_time(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user, at=_in(3600))
    due = datetime.now(UTC) + timedelta(seconds=1)
    reply = me.call("post/reschedule", {"post": post, "at": due.isoformat()})
    assert reply["result"]["state"] == "scheduled"
    assert _await_kind(me, post, "published") == ["scheduled", "rescheduled", *ROAD[1:]]
    assert stage.seen("inits", user)[0]["time"] >= due.timestamp()


def test_publish_now_takes_the_accounts_next_post(stage: Stage, me: Caller, user: str) -> None:
    late = _schedule(me, user, at=_in(7200))
    soon = _schedule(me, user, at=_in(3600))
    reply = me.call("post/publish_now", {"account": user})
    assert reply["result"]["post"] == soon
    _await_kind(me, soon, "published")
    assert stage.daemon.post(late)["state"] == "scheduled"


def test_draft_waits_until_publish_now(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user, draft=True, at=None)
    assert stage.daemon.post(post)["state"] == "draft"
    me.call("post/publish_now", {"post": post})
    _await_kind(me, post, "published")


def test_paused_daemon_holds_what_is_due_and_posts_it_on_resume(stage: Stage, me: Caller, user: str) -> None:
    assert me.call("system/pause", {"reason": "holiday"})["result"] == {"paused": True}
    try:
        assert _retained(stage, "state/daemon")["paused"] is True
        post = _schedule(me, user)
        assert stage.daemon.wait_state(post, "held")["reason"] == "paused"
        assert stage.seen("inits", user) == []
    finally:
        reply = me.call("system/resume")
    assert reply["result"]["released"] >= 1
    assert _await_kind(me, post, "published") == ["scheduled", "held", "released", *ROAD[1:]]
    wait_until(lambda: not _retained(stage, "state/daemon").get("paused"), 5)


def test_pause_survives_a_restart(stage: Stage, me: Caller, user: str) -> None:
    stage.daemon.call("system/pause")
    stage.daemon.stop()
    stage.daemon.start()
    try:
        post = stage.schedule(user)
        stage.daemon.wait_state(post, "held")
    finally:
        stage.daemon.call("system/resume")
    stage.daemon.wait_state(post, "published")


# -- topics --------------------------------------------------------------------------------------------------


def test_post_state_is_retained_and_equals_its_status(stage: Stage, me: Caller, user: str) -> None:
    post = _schedule(me, user)
    _await_kind(me, post, "published")
    wait_until(lambda: _retained(stage, f"state/post/{post}")["state"] == "published", 5)
    view, status = _retained(stage, f"state/post/{post}"), stage.daemon.post(post)
    assert {key: status[key] for key in view} == view


def test_account_state_is_retained_and_names_no_token(stage: Stage, user: str) -> None:
    state = _retained(stage, f"state/account/{user}")
    assert (state["login"], state["enabled"]) == ("ok", True)
    assert not any("token" in key for key in state if key != "token_days_left")


def test_stop_says_offline_and_start_says_online(stage: Stage) -> None:
    with Listener(stage.broker, f"{BASE}/availability") as listener:
        listener.wait_for(f"{BASE}/availability", b"online")
        assert stage.daemon.stop() == 0
        listener.wait_for(f"{BASE}/availability", b"offline")
        stage.daemon.start()
        listener.wait(lambda: listener.on(f"{BASE}/availability")[-1] == b"online")


def test_killed_daemon_is_told_offline_by_its_will(stage: Stage) -> None:
    stage.daemon.settings["mqtt.will_delay_s"] = "0"
    stage.daemon.stop()
    stage.daemon.start()
    with Listener(stage.broker, f"{BASE}/availability") as listener:
        listener.wait(lambda: listener.on(f"{BASE}/availability")[-1:] == [b"online"])
        stage.daemon.kill()
        listener.wait_for(f"{BASE}/availability", b"offline")
        stage.daemon.start()
        listener.wait(lambda: listener.on(f"{BASE}/availability")[-1] == b"online")


def test_false_availability_is_corrected(stage: Stage) -> None:
    with Listener(stage.broker, f"{BASE}/availability") as listener:
        listener.wait(lambda: listener.on(f"{BASE}/availability")[-1:] == [b"online"])
        listener.publish(f"{BASE}/availability", b"offline", retain=True)
        listener.wait(lambda: listener.on(f"{BASE}/availability")[-2:] == [b"offline", b"online"])


def test_replies_and_events_are_not_retained(stage: Stage, me: Caller) -> None:
    me.call("system/ping")
    with Listener(stage.broker, f"{BASE}/reply/#", f"{BASE}/event/#", f"{BASE}/availability") as listener:
        listener.wait_for(f"{BASE}/availability")
        assert {topic for topic, _ in listener.heard()} == {f"{BASE}/availability"}


# -- callers -------------------------------------------------------------------------------------------------


def _without_moments(reply: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in reply.items() if key not in {"time", "id", "result"}}


@pytest.mark.parametrize("version", [5, 4])
def test_callers_of_both_protocols_get_the_same_service(stage: Stage, user: str, version: int) -> None:
    caller = stage.caller(f"v{version}", version=version)
    try:
        reply = caller.call("post/schedule", _order(user), id="same")
        assert _await_kind(caller, reply["result"]["post"], "published") == ROAD
        again = caller.call("post/schedule", _order(user), id="other")
        assert again["result"]["warnings"]  # it has the same file
        refused = caller.call("post/schedule", _order(user, media="none.mp4"))
        assert (refused["status"], refused["error"]["code"]) == ("rejected", "media_missing")
        assert set(reply) == {
            "id",
            "command",
            "status",
            "result",
            "final",
            "replayed",
            "node",
            "boot",
            "time",
        }
        assert _without_moments(reply) == _without_moments(again)
    finally:
        caller.close()


def test_repeated_order_gets_its_stored_reply_and_one_post(stage: Stage, me: Caller, user: str) -> None:
    first = me.call("post/schedule", _order(user, at="2040-01-01T00:00:00Z"), id="repeat-1")
    before = len(me.replies)
    me.send("post/schedule", _order(user, at="2040-01-01T00:00:00Z"), id="repeat-1")
    wait_until(lambda: len(me.replies) > before, 10)
    assert me.replies[-1] == first | {"replayed": True}
    assert len(me.call("post/list", {"account": user})["result"]["posts"]) == 1


def test_other_order_under_the_same_id_is_a_conflict(stage: Stage, me: Caller, user: str) -> None:
    me.call("post/schedule", _order(user, at="2040-01-01T00:00:00Z"), id="conflict-1")
    before = len(me.replies)
    me.send("post/schedule", _order(user, at="2041-01-01T00:00:00Z"), id="conflict-1")
    wait_until(lambda: len(me.replies) > before, 10)
    assert me.replies[-1]["error"]["code"] == "id_conflict"


def test_response_topic_and_correlation_data_are_honoured(stage: Stage) -> None:
    with Listener(stage.broker, f"{BASE}/reply/you/#") as listener:
        listener.publish(
            f"{BASE}/cmd/you/system/ping",
            b"",
            ResponseTopic=f"{BASE}/reply/you/here",
            CorrelationData=b"\0\xff7",
        )
        listener.wait_for(f"{BASE}/reply/you/here")
        assert listener.messages[0].properties.CorrelationData == b"\0\xff7"


def test_reply_topic_outside_the_callers_own_is_refused(stage: Stage) -> None:
    with Listener(stage.broker, f"{BASE}/#") as listener:
        for wanted in (
            f"{BASE}/reply/somebody/x",
            f"{BASE}/availability",
            f"{BASE}/cmd/you/system/pause",
            "lights/on",
        ):
            listener.publish(f"{BASE}/cmd/you/system/ping", b"", ResponseTopic=wanted)
        [*_, last] = listener.wait_for(f"{BASE}/reply/you/system/ping", count=4)
        assert json.loads(last)["error"]["code"] == "forbidden"
        assert not listener.on(f"{BASE}/reply/somebody/x")
        assert not listener.on("lights/on")


def test_reply_to_serves_callers_of_the_old_protocol(stage: Stage) -> None:
    with Listener(stage.broker, f"{BASE}/reply/old/#", protocol="3.1.1") as listener:
        body = json.dumps({"reply_to": f"{BASE}/reply/old/box"})
        listener.publish(f"{BASE}/cmd/old/system/ping", body)
        [reply] = listener.wait_for(f"{BASE}/reply/old/box")
        assert json.loads(reply)["status"] == "done"


def test_expired_order_is_answered_and_not_carried_out(stage: Stage, me: Caller, user: str) -> None:
    reply = me.call("post/schedule", _order(user), expires_at=_in(-1), id=f"expired-{user}")
    assert (reply["status"], reply["error"]["code"]) == ("expired", "expired")
    assert me.call("post/list", {"account": user})["result"]["posts"] == []


def test_unknown_verb_is_answered_with_a_suggestion(me: Caller) -> None:
    reply = me.call("post/shedule")
    assert reply["error"]["code"] == "unknown_command"
    assert "post/schedule" in reply["error"]["message"]


def _is_kept(stage: Stage, topic: str) -> bool:
    with Listener(stage.broker, topic, f"{BASE}/availability") as listener:
        listener.wait_for(f"{BASE}/availability")
        return bool(listener.on(topic))


def test_retained_command_is_answered_removed_and_not_carried_out(stage: Stage) -> None:
    with Listener(stage.broker, f"{BASE}/reply/ret/#", f"{BASE}/state/daemon") as listener:
        # The flag survives only where a message waits for the subscriber, so the daemon must be away.
        stage.daemon.stop()
        listener.publish(f"{BASE}/cmd/ret/system/pause", b"{}", retain=True)
        stage.daemon.start()
        codes = [
            json.loads(reply).get("error", {}).get("code")
            for reply in listener.wait_for(f"{BASE}/reply/ret/system/pause")
        ]
    assert "retained_command" in codes
    wait_until(lambda: not _is_kept(stage, f"{BASE}/cmd/ret/system/pause"), 15, 0.1, what="its removal")
    stage.daemon.call("system/resume")


def test_account_import_over_the_broker_is_forbidden(me: Caller) -> None:
    reply = me.call(
        "account/import", {"account": "x", "access_token": "a", "refresh_token": "b", "open_id": "c"}
    )
    assert reply["error"]["code"] == "forbidden"


# -- the broker lost -----------------------------------------------------------------------------------------


def test_posts_go_out_without_the_broker_and_their_events_follow_in_order(stage: Stage, user: str) -> None:
    caller = stage.caller("late")
    due = datetime.now(UTC) + timedelta(seconds=2)
    post = _schedule(caller, user, at=due.isoformat())
    caller.close()
    last = int(stage.daemon.events()[-1]["sequence"])
    stage.broker.kill()
    stage.daemon.wait_state(post, "published")
    assert stage.seen("inits", user)[0]["time"] - due.timestamp() < 1
    told = [event for event in stage.daemon.events() if int(event["sequence"]) > last]
    stage.broker.start()
    with Listener(stage.broker, f"{BASE}/event/#", f"{BASE}/state/post/{post}") as listener:
        heard = listener.wait(lambda: _events(listener) if len(_events(listener)) >= len(told) else None, 30)
        assert heard[: len(told)] == told
        listener.wait(
            lambda: json.loads(listener.on(f"{BASE}/state/post/{post}")[-1])["state"] == "published"
        )
    assert [event["type"].split(".")[-1] for event in told][-1] == "published"


def _events(listener: Listener) -> list[dict[str, Any]]:
    return [json.loads(payload) for topic, payload in listener.heard() if "/event/" in topic]


def test_daemon_starts_and_posts_while_its_broker_is_away(stage: Stage, user: str) -> None:
    stage.daemon.stop()
    stage.broker.kill()
    stage.daemon.start()
    try:
        stage.daemon.wait_state(stage.schedule(user), "published")
    finally:
        stage.broker.start()
    with Listener(stage.broker, f"{BASE}/availability") as listener:
        listener.wait(lambda: listener.on(f"{BASE}/availability")[-1:] == [b"online"], 40)


# -- without a broker, without credentials -------------------------------------------------------------------


def test_everything_works_over_the_control_socket_without_a_broker(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("brokerless")
    daemon = Daemon(folder).use_simulator(stage.simulator)
    try:
        daemon.start()
        stage.add_user("offline")
        daemon.link(stage.simulator, "offline")
        make_clip(daemon.media / "clip.mp4")
        reply = daemon.schedule(account="offline")
        post = reply["result"]["post"]
        daemon.wait_state(post, "published")
        kinds = [
            event["type"].split(".")[-1] for event in daemon.events() if event["subject"] == f"post/{post}"
        ]
        assert kinds == ROAD
        other = daemon.schedule(account="offline", at="2040-01-01T00:00:00Z")["result"]["post"]
        assert (
            daemon.call("post/reschedule", {"post": other, "at": "2041-01-01T00:00:00Z"})["status"] == "done"
        )
        assert daemon.call("post/cancel", {"post": other})["result"]["state"] == "cancelled"
        assert len(daemon.call("post/list")["result"]["posts"]) == 2
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def test_posting_verbs_without_credentials_say_what_to_do(tmp_path: Any) -> None:
    daemon = Daemon(tmp_path)
    try:
        daemon.start()
        for verb, args in (
            ("post/schedule", {"account": "demo", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "now"}),
            ("post/publish_now", {"account": "demo"}),
            ("post/publish_now", {"post": "p_1"}),
        ):
            error = daemon.call(verb, args, id=f"x-{len(args)}-{max(args)}")["error"]
            assert error["code"] == "not_configured", verb
            assert "tiktok.client_key" in error["message"]
        assert daemon.call("system/health")["status"] == "done"
    finally:
        daemon.kill()


def test_file_of_more_than_64_mb_goes_out_with_the_shipped_settings(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The acceptance of the issue, with a padded file instead of a minute's encoding."""
    folder = tmp_path_factory.mktemp("large")
    daemon = Daemon(folder).use_simulator(stage.simulator).use_broker(stage.broker.port)
    daemon.settings["daemon.node"] = "large"
    try:
        daemon.start()
        stage.add_user("large")
        daemon.link(stage.simulator, "large")
        clip = make_clip(daemon.media / "clip.mp4", pad_to=66_582_226)
        caller = stage.caller(prefix="tokd/v1/large")
        try:
            direct = _schedule(caller, "large", at=_in(1))
            inbox = _schedule(caller, "large", at=_in(1), mode="inbox", privacy=None)
            daemon.wait_state(direct, *FINAL)
            daemon.wait_state(inbox, *FINAL)
            assert _await_kind(caller, direct, "published") == ROAD
            assert _await_kind(caller, inbox, "sent_to_inbox") == [*ROAD[:-1], "sent_to_inbox"]
        finally:
            caller.close()
        assert {init["mode"] for init in stage.seen("inits", "large")} == {"direct", "inbox"}
        assert len(stage.seen("inits", "large")) == 2
        sha256 = hashlib.sha256(clip.read_bytes()).hexdigest()
        assert [file["sha256"] for file in stage.seen("files", "large")] == [sha256, sha256]
    finally:
        daemon.kill()


def test_daemon_is_unharmed_by_all_of_it(stage: Stage) -> None:
    assert stage.is_alive()
    lines = stage.daemon.log.read_text().splitlines()
    assert [line for line in lines if '"level": "error"' in line or '"level": "critical"' in line] == []
