"""The README's tour by mqtt.js on Node (tests/node/tour.mjs): tokd needs no client of ours."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from daemon.domain import asyncapi
from tests.conformity import event_faults, faults, reply_faults
from tests.daemons import make_clip
from tests.e2e.stage import staged
from tests.node_tools import run_node

LATE = "2040-01-01T08:00:00.000Z"


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with staged(tmp_path_factory.mktemp("other"), with_broker=True) as stage:
        make_clip(stage.daemon.media / "clip.mp4")
        stage.account("demo")
        done = run_node("tour.mjs", str(stage.broker.port))
        assert done.returncode == 0, done.stderr + stage.daemon.tail()
        yield json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(heard: dict[str, Any]) -> dict[str, Any]:
    return heard["told"]


def test_a_ping_is_answered_on_the_response_topic(told: dict[str, Any]) -> None:
    assert (told["ping"]["status"], told["ping"]["result"]["protocol"]) == ("done", "v1")


def test_an_order_is_accepted_and_then_done(told: dict[str, Any]) -> None:
    assert [(reply["id"], reply["status"]) for reply in told["schedule"]] == [
        ("tour-1", "accepted"), ("tour-1", "done"),
    ]  # fmt: skip
    assert told["schedule"][1]["result"]["at"] == LATE


def test_a_repeat_is_answered_with_the_same_post(told: dict[str, Any]) -> None:
    assert told["again"]["replayed"] is True
    assert told["again"]["result"] == told["schedule"][1]["result"]


def test_the_post_is_shown_cancelled_and_listed(told: dict[str, Any]) -> None:
    post = told["schedule"][1]["result"]["post"]

    assert (told["status"]["result"]["post"], told["status"]["result"]["state"]) == (post, "scheduled")
    assert told["cancel"]["result"] == {"post": post, "state": "cancelled"}
    assert [row["state"] for row in told["list"]["result"]["posts"]] == ["cancelled"]


def test_a_wrong_field_is_named(told: dict[str, Any]) -> None:
    assert told["refused"]["error"]["code"] == "unknown_field"
    assert told["refused"]["error"]["field"] == "args.colour"


def test_the_events_came_as_cloudevents_and_can_be_had_again(heard: dict[str, Any]) -> None:
    kinds = [event["type"].removeprefix("dev.tokd.") for event in heard["events"]]
    again = [event["id"] for event in heard["told"]["replay"]["result"]["events"]]

    assert kinds == ["post.scheduled", "post.cancelled"]
    assert {event["content"] for event in heard["events"]} == {asyncapi.CLOUDEVENT}
    assert {event["id"] for event in heard["events"]} <= set(again)


def test_the_document_that_describe_gives_has_the_hash_that_info_names(heard: dict[str, Any]) -> None:
    info = json.loads(heard["retained"]["info"])
    document = heard["told"]["document"]

    assert heard["retained"]["availability"] == "online"
    assert document["schema"] == document["sha256"] == info["schema"] == asyncapi.fingerprint()


def test_all_of_it_is_as_the_document_says(heard: dict[str, Any]) -> None:
    told = heard["told"]
    replies = [reply for reply in told.values() if "status" in reply] + told["schedule"]
    events = [{key: value for key, value in event.items() if key != "content"} for event in heard["events"]]
    events += told["replay"]["result"]["events"]

    assert len(replies) >= 10
    assert [fault for reply in replies for fault in reply_faults(reply)] == []
    assert [fault for event in events for fault in event_faults(event)] == []
    assert faults("info", json.loads(heard["retained"]["info"])) == []
