"""Who may send which verb, how much, and what of a backlog is still wanted."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import load
from config.problems import ConfigError
from daemon.domain.errors import Code, Rejected
from daemon.domain.gates import Buckets, Gates
from daemon.domain.ids import SELF_ACTOR, Actor
from tests.core import Core

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PANEL, STRANGER, ANN = Actor("panel"), Actor("stranger"), Actor("http:ann")
GATES = Gates(
    allow=("post.*", "*.list", "system.ping"),
    guarded=("account.unlink", "post.resolve"),
    grants=MappingProxyType({PANEL: ("session.*", "account.unlink"), ANN: ("post.status",)}),
)

# sentence, actor, verb, door, may it pass
ROWS = [
    ("what everybody may send passes", STRANGER, "post/schedule", "mqtt", True),
    ("a list of any kind passes", STRANGER, "session/list", "http", True),
    ("what is not in the list does not pass", STRANGER, "session/open", "mqtt", False),
    ("a pattern ends at the dot", STRANGER, "posts/schedule", "mqtt", False),
    ("what is guarded does not come through the broker", STRANGER, "post/resolve", "mqtt", False),
    ("what is guarded comes over HTTP, whose users have tokens", STRANGER, "post/resolve", "http", True),
    ("a grant lets through what is guarded", PANEL, "account/unlink", "mqtt", True),
    ("a grant is all that its actor may send", PANEL, "post/schedule", "mqtt", False),
    ("a grant counts for its own name only", Actor("panel2"), "session/open", "mqtt", False),
    ("a user of HTTP is another actor than a user of the broker", Actor("ann"), "post/list", "mqtt", True),
    ("a user of HTTP has a grant, too", ANN, "post/list", "http", False),
    (
        "tokd's own questions pass: no caller can be called so",
        SELF_ACTOR,
        "account/finish_link",
        "http",
        True,
    ),
    ("the command line on this machine may send everything", PANEL, "system/drain", "control", True),
]


@pytest.mark.parametrize(
    ("actor", "verb", "door", "passes"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_the_gates(actor: Actor, verb: str, door: str, passes: bool) -> None:
    assert GATES.allows(actor, verb, door) is passes


def test_a_refusal_names_the_actor_the_verb_and_the_setting() -> None:
    with pytest.raises(Rejected, match=r"stranger may not send session.open here; access.grants") as caught:
        GATES.check(STRANGER, "session/open", "mqtt")

    assert caught.value.code is Code.FORBIDDEN


def test_a_stranger_who_asks_for_health_keeps_nobody_from_the_callback(tmp_path: Path) -> None:
    with Core(tmp_path, link=False, gates=Gates(rate_per_s=0.001, burst=1)) as core:
        for _ in range(3):
            core.do("system/health", id="", actor=SELF_ACTOR, transport="http")

        args = {"state": "lost", "code": "c"}
        refusal = core.refusal(
            "account/finish_link", args, id="", actor=SELF_ACTOR, transport="http", is_local=True
        )

    assert refusal["code"] == "no_such_link"


def test_what_is_run_again_after_a_roll_back_counts_once(tmp_path: Path) -> None:
    with Core(tmp_path, link=False, gates=Gates(rate_per_s=0.001, burst=3)) as core:
        entered, gate = threading.Event(), threading.Event()
        holder = threading.Thread(target=core.bus.read, args=(lambda _: entered.set() or gate.wait(),))
        holder.start()
        entered.wait()
        calls = [core.submit("system/pause", id=f"p-{number}") for number in (1, 2)]
        calls.append(core.submit("system/pause", dry_run=True))  # rolls the whole batch back
        gate.set()
        holder.join()

        assert [call.final()["status"] for call in calls] == ["done"] * 3


# -- settings ------------------------------------------------------------------------------------------------


def settings(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "tokd.toml"
    path.write_text(f"[access]\n{text}\n")
    return load(path).access


def test_grants_are_read_by_actor(tmp_path: Path) -> None:
    found = settings(tmp_path, 'grants = ["panel: session.*, *.list", "http:ann: *", "panel: system.ping"]')

    assert found.grants_by_actor == {"panel": ("session.*", "*.list", "system.ping"), "http:ann": ("*",)}


@pytest.mark.parametrize(
    "grant", ["panel", "panel:", "pa nel: *", "a/b: *", "panel: session", "#: *", "p: post.sched*"]
)
def test_a_grant_that_cannot_be_read_is_refused(tmp_path: Path, grant: str) -> None:
    with pytest.raises(ConfigError, match=r"access\.grants"):
        settings(tmp_path, f'grants = ["{grant}"]')


# -- how much ------------------------------------------------------------------------------------------------


def passes(buckets: Buckets, actor: Actor, at: datetime, door: str = "mqtt") -> bool:
    try:
        buckets.take(door, actor, at)
    except Rejected:
        return False
    return True


def test_a_refusal_for_too_much_says_how_long_to_wait() -> None:
    buckets = Buckets(0.1, 1)
    buckets.take("mqtt", PANEL, NOW)

    with pytest.raises(Rejected) as caught:
        buckets.take("mqtt", PANEL, NOW)

    assert (caught.value.code, caught.value.retryable, caught.value.retry_after_s) == (
        Code.RATE_LIMITED,
        True,
        10,
    )


def test_a_burst_passes_and_what_is_more_waits() -> None:
    buckets = Buckets(2, 5)

    assert [passes(buckets, PANEL, NOW) for _ in range(7)] == [True] * 5 + [False] * 2


def test_the_bucket_refills_with_time() -> None:
    buckets = Buckets(2, 5)
    drained = [passes(buckets, PANEL, NOW) for _ in range(5)]

    assert [passes(buckets, PANEL, NOW + timedelta(seconds=1)) for _ in range(3)] == [True, True, False]
    assert all(drained)


def test_one_actor_does_not_take_from_another() -> None:
    buckets = Buckets(1, 1)
    passes(buckets, PANEL, NOW)

    assert passes(buckets, STRANGER, NOW)


def test_a_clock_that_is_set_back_refills_nothing() -> None:
    buckets = Buckets(1, 1)
    passes(buckets, PANEL, NOW)

    assert not passes(buckets, PANEL, NOW - timedelta(days=1))


def test_the_command_line_on_this_machine_is_not_limited() -> None:
    buckets = Buckets(1, 1)

    assert all(passes(buckets, PANEL, NOW, "control") for _ in range(100))


def test_many_names_do_not_fill_the_memory() -> None:
    buckets = Buckets(1, 1)
    for number in range(3000):
        passes(buckets, Actor(f"a{number}"), NOW)

    assert len(buckets._left) <= 1000


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), st.floats(0.5, 100), st.integers(1, 50))
def test_never_more_than_the_burst_and_the_rate_together(gaps: list[float], rate: float, burst: int) -> None:
    buckets, at, count = Buckets(rate, burst), NOW, 0
    for gap in gaps:
        at += timedelta(seconds=gap)
        count += passes(buckets, PANEL, at)

    assert count <= burst + rate * (at - NOW).total_seconds() + 1


# -- in the core ---------------------------------------------------------------------------------------------


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path, gates=Gates(burst=20, rate_per_s=1, open_max=2)) as found:
        yield found


def test_a_flood_is_answered_with_the_seconds_to_wait(core: Core) -> None:
    replies = [core.send("system/ping") for _ in range(30)]

    limited = [reply["error"] for reply in replies if reply["status"] == "rejected"]
    assert {error["code"] for error in limited} == {"rate_limited"}
    assert all(error["retryable"] and error["retry_after_s"] >= 1 for error in limited)


def test_what_is_wrong_counts_as_well(core: Core) -> None:
    codes = [core.refusal("no/such")["code"] for _ in range(30)]

    assert codes[-1] == "rate_limited"


def test_what_waited_while_tokd_was_away_is_not_counted(core: Core) -> None:
    replies = [core.send("system/resume", is_backlog=True) for _ in range(30)]

    assert {reply["status"] for reply in replies} == {"done"}


def test_an_actor_whose_orders_pile_up_is_told_so(core: Core) -> None:
    core.media.put("clip.mp4", checked=False)
    core.media.gate = threading.Event()
    calls = [core.submit("post/schedule", order(core)) for _ in range(3)]
    first = [call.first() for call in calls]
    core.media.gate.set()

    assert [reply["status"] for reply in first] == ["accepted", "accepted", "rejected"]
    assert (first[2]["error"]["code"], first[2]["error"]["retry_after_s"]) == ("busy", 5)


def test_there_is_room_again_when_an_order_is_decided(core: Core) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        core.media.put(name, checked=False)
        core.do("post/schedule", order(core, media=name))

    assert len(core.posts()) == 4


def order(core: Core, **more: Any) -> dict[str, Any]:
    at = (core.clock.now() + timedelta(hours=1)).isoformat()
    return {"account": "ada", "media": "clip.mp4", "at": at, "privacy": "SELF_ONLY"} | more


# -- what was sent while nobody was here -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("post/publish_now", {"account": "ada"}),
        ("post/schedule", {"account": "ada", "media": "clip.mp4", "at": "now", "privacy": "SELF_ONLY"}),
        ("session/open", {}),
        ("profiles/login", {}),
        ("task/post", {"task": "t_1"}),
    ],
)
def test_what_acts_at_once_is_not_done_when_it_comes_late(
    core: Core, verb: str, args: dict[str, Any]
) -> None:
    error = core.refusal(verb, args, is_backlog=True)

    assert error["code"] == "stale_backlog"
    assert "ttl_s" in error["message"]


def test_what_has_a_deadline_is_done_until_then(core: Core) -> None:
    core.media.put("clip.mp4")

    assert core.send("post/schedule", order(core, at="now"), is_backlog=True, ttl_s=60)["status"] == "done"


def test_an_order_for_later_is_taken_from_the_backlog(core: Core) -> None:
    core.media.put("clip.mp4")

    assert core.send("post/schedule", order(core), is_backlog=True)["status"] == "done"


def test_a_repeat_from_the_backlog_gets_its_answer(core: Core) -> None:
    core.media.put("clip.mp4")
    first = core.do("post/schedule", order(core, at="now"), id="once")

    again = core.send("post/schedule", order(core, at="now"), id="once", is_backlog=True)

    assert (again["replayed"], again["result"]) == (True, first)
