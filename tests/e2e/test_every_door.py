"""Every door leads into the same house: one scenario, four doors, equal answers and equal events.

The scenarios stand once, in the words of the verbs; tests/e2e/doors.py speaks them through each door.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Broker, free_port
from tests.daemons import Simulator, make_clip
from tests.e2e.doors import CliDoor, Door, HttpDoor, Json, MqttDoor, Told, plain, plain_events, until
from tests.e2e.session_stage import SessionStage, sessions
from tests.waiting import wait_until

REFERENCE = "mqtt5"
DOORS = (REFERENCE, "mqtt311", "http", "cli")
LATER = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0).isoformat()
ORDER = {"account": "demo", "media": "plan.mp4", "privacy": "SELF_ONLY", "title": "Hello", "at": LATER}
TASK = {
    "instance_id": "gen-1",
    "description": "A cat on a piano",
    "status": "completed",
    "output_data": {"video_path": "clip.mp4", "caption": "Meow"},
}
PRIVATE = {"privacy_level": "SELF_ONLY"}


def key() -> str:
    return f"key-{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def stage(
    simulated: Simulator, logged_in: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SessionStage]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    with sessions(simulated.url, logged_in, broker=broker, start=False) as found:
        found.daemon.settings |= {"http.port": str(free_port())}
        found.daemon.use_simulator(simulated).start()
        found.daemon.link(simulated)
        # Two files: a post of one that has been published is warned of that.
        make_clip(found.daemon.media / "clip.mp4")
        make_clip(found.daemon.media / "plan.mp4", size="360x640")
        wait_until(lambda: "creator" in found.daemon.call("account/list")["result"]["accounts"][0])
        yield found
    broker.close()


@pytest.fixture(scope="module")
def doors(stage: SessionStage) -> Iterator[dict[str, Door]]:
    daemon = stage.daemon
    mqtt = int(daemon.settings["mqtt.port"])
    token = daemon.call("token/issue", {"user": "ann"})["result"]["text"]
    found: dict[str, Door] = {
        "mqtt5": MqttDoor(mqtt, 5),
        "mqtt311": MqttDoor(mqtt, 311),
        "http": HttpDoor(int(daemon.settings["http.port"]), token, "ann"),
        "cli": CliDoor(daemon),
    }
    yield found
    for door in found.values():
        door.close()


# -- the scenarios -------------------------------------------------------------------------------------------


def scheduled_and_cancelled(door: Door) -> Json:
    """A post for next month, looked at, cancelled, looked at again."""
    told = {"scheduled": door.schedule(key(), ORDER).done}
    post = told["scheduled"]["post"]
    told["shown"] = door.post(post).done
    told["cancelled"] = door.cancel(key(), post).done
    told["shown at last"] = door.post(post).done
    return {"told": told, "events": until(door, f"post/{post}", "post.cancelled")}


def opened_and_closed(door: Door) -> Json:
    """A session on TikTok, looked at, extended, closed, looked at again."""
    told = {"opened": door.open_session(key()).done}
    session = told["opened"]["session"]
    told["shown"] = door.session(session).done
    told["extended"] = door.extend_session(key(), session, 900).done
    told["closed"] = door.close_session(key(), session).done
    events = until(door, f"session/{session}", "session.ended")
    told["shown at last"] = door.session(session).done
    told["closed again"] = door.close_session(key(), session).done
    told["closed again"].pop("reason", None)  # no word for it over HTTP
    return {"told": told, "events": events}


def submitted_and_posted(door: Door) -> Json:
    """A finished task, looked at, posted at once, followed to the end."""
    told = {"submitted": door.submit(key(), TASK).done}
    task = told["submitted"]["task"]
    told["shown"] = door.task(task).done
    told["ordered"] = door.post_task(key(), task, PRIVATE).done
    post = told["ordered"]["post"]
    events = until(door, f"post/{post}", "post.published")
    told["shown at last"] = door.task(task).done
    return {"told": told, "events": [*events, *until(door, f"task/{task}", "task.posted")]}


@dataclass(frozen=True)
class Past:
    """What was done through the same door before: each call of the command line is a process."""

    key: str
    cancelled: str
    posted: str


def _posted_too_early(door: Door, _past: Past) -> Told:
    task = door.submit(key(), TASK | {"status": "running"}).done["task"]
    return door.post_task(key(), task, PRIVATE)


REFUSED: dict[str, tuple[str, str, Callable[[Door, Past], Told]]] = {
    "schedule: no account": (
        "no_such_account", "account", lambda door, _: door.schedule(key(), ORDER | {"account": "nobody"}),
    ),
    "schedule: no file": (
        "media_missing", "media", lambda door, _: door.schedule(key(), ORDER | {"media": "none.mp4"}),
    ),
    "schedule: a key for two orders": (
        "id_conflict", "id", lambda door, past: door.schedule(past.key, ORDER | {"title": "Another"}),
    ),
    "cancel: over already": (
        "already_final", "post", lambda door, past: door.cancel(key(), past.cancelled),
    ),
    "status: unknown": ("no_such_post", "post", lambda door, _: door.post("p_none")),
    "open: no page of the web": (
        "bad_field", "url", lambda door, _: door.browse(key(), "ftp://127.0.0.1/"),
    ),
    "close: unknown": (
        "no_such_session", "session", lambda door, _: door.close_session(key(), "f" * 16),
    ),
    "submit: no instance": (
        "bad_field", "instance_id", lambda door, _: door.submit(key(), TASK | {"instance_id": "a b"}),
    ),
    "task status: unknown": ("no_such_task", "task", lambda door, _: door.task("t_none")),
    "task post: not done": ("bad_field", "task", _posted_too_early),
    "task post: posted": (
        "already_posted", "task", lambda door, past: door.post_task(key(), past.posted, PRIVATE),
    ),
}  # fmt: skip


# -- playing them --------------------------------------------------------------------------------------------

Play = Callable[[Callable[[Door], Json], str], Json]


@pytest.fixture(scope="module")
def play(doors: dict[str, Door]) -> Play:
    """Play a scenario through a door, once."""

    return cache(lambda scenario, door: scenario(doors[door]))


@pytest.fixture(scope="module")
def refusals(doors: dict[str, Door], play: Play) -> Callable[[str], dict[str, Json]]:
    """Give every order of REFUSED through a door, once."""

    @cache
    def refused(name: str) -> dict[str, Json]:
        scheduled = play(scheduled_and_cancelled, name)["told"]["cancelled"]
        posted = play(submitted_and_posted, name)["told"]["ordered"]["task"]
        shown = play(scheduled_and_cancelled, name)["told"]["shown"]
        past = Past(shown["command_id"], scheduled["post"], posted)
        return {kind: order(doors[name], past).refusal for kind, (_, _, order) in REFUSED.items()}

    return refused


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Return where two values differ, one line each: pytest's own account of them is cut short."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = [*ours, *(name for name in theirs if name not in ours)]
        pairs = [
            (f"{where}.{name}", ours.get(name, "nothing"), theirs.get(name, "nothing")) for name in names
        ]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(f"{where}.{place}", *pair) for place, pair in enumerate(zip(ours, theirs, strict=True))]
    else:
        return [] if ours == theirs else [f"{where}: {ours!r}, not {theirs!r}"]
    return [line for name, one, other in pairs for line in differences(one, other, name)]


def kinds(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("dev.tokd.") for event in events]


every_door = pytest.mark.parametrize("door", DOORS)
every_scenario = pytest.mark.parametrize(
    "scenario",
    [scheduled_and_cancelled, opened_and_closed, submitted_and_posted],
    ids=lambda one: one.__name__,
)


@every_scenario
@every_door
def test_the_answers_are_the_same(play: Play, scenario: Callable[[Door], Json], door: str) -> None:
    ours, theirs = (play(scenario, name)["told"] for name in (door, REFERENCE))

    assert differences(plain(ours), plain(theirs)) == []


@every_scenario
@every_door
def test_the_events_are_the_same(play: Play, scenario: Callable[[Door], Json], door: str) -> None:
    ours, theirs = (play(scenario, name)["events"] for name in (door, REFERENCE))

    assert differences(plain_events(ours), plain_events(theirs)) == []


@every_door
def test_a_post_is_scheduled_shown_and_cancelled(play: Play, door: str) -> None:
    found = play(scheduled_and_cancelled, door)

    told = found["told"]
    assert [told[step]["state"] for step in told] == ["scheduled", "scheduled", "cancelled", "cancelled"]
    assert told["shown"]["title"] == "Hello"
    assert datetime.fromisoformat(told["shown"]["at"]) == datetime.fromisoformat(LATER)
    assert kinds(found["events"]) == ["post.scheduled", "post.cancelled"]


@every_door
def test_a_session_is_opened_shown_and_closed(play: Play, door: str) -> None:
    found = play(opened_and_closed, door)

    told = found["told"]
    assert (told["opened"]["state"], told["opened"]["login"]["state"]) == ("open", "logged_in")
    assert told["extended"]["ends_at"] > told["opened"]["ends_at"]
    assert (told["closed"]["state"], told["closed again"]["state"]) == ("closing", "ended")
    assert told["shown at last"]["reason"] == "closed_by_command"
    assert kinds(found["events"]) == [
        "session.requested", "session.started", "session.login_state", "session.opened", "session.extended",
        "session.ended",
    ]  # fmt: skip


@every_door
def test_a_task_is_told_posted_and_followed(play: Play, door: str) -> None:
    found = play(submitted_and_posted, door)

    told = found["told"]
    assert (told["shown"]["can_post_to_tiktok"], told["shown"]["suggested_caption"]) == (True, "Meow")
    assert told["shown at last"]["can_post_to_tiktok"] is False
    assert told["shown at last"]["tiktok_post_status"] == "PUBLISHED"
    assert {"post.scheduled", "post.published", "task.submitted", "task.posted"} <= set(
        kinds(found["events"])
    )


@pytest.mark.parametrize("kind", REFUSED)
@every_door
def test_what_cannot_be_is_refused_alike(
    refusals: Callable[[str], dict[str, Json]], kind: str, door: str
) -> None:
    code, field, _ = REFUSED[kind]

    found = refusals(door)[kind]

    assert (found["code"], found["field"]) == (code, field)
    assert plain(found) == plain(refusals(REFERENCE)[kind])


@every_door
def test_a_post_tells_who_has_consented_and_through_what(
    play: Play, doors: dict[str, Door], door: str
) -> None:
    consent = play(scheduled_and_cancelled, door)["told"]["shown"]["consent"]

    assert (consent["actor"], consent["through"]) == (
        doors[door].user, f"{doors[door].transport} post/schedule",
    )  # fmt: skip


def test_every_stream_brings_the_same_events(play: Play, doors: dict[str, Door], stage: SessionStage) -> None:
    for door in DOORS:
        play(scheduled_and_cancelled, door)
    said = {event["id"]: event for event in stage.daemon.events()}
    mine = {event["id"] for door in DOORS for event in play(scheduled_and_cancelled, door)["events"]}
    last = max(mine)

    for door in doors.values():
        wait_until(lambda door=door: any(event["id"] == last for event in door.events()), what=last)
        heard = [event for event in door.events() if event["id"] in mine]
        assert heard == [said[name] for name in sorted(mine)]
