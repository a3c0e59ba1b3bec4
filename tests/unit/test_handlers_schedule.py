"""post/schedule and post/reschedule through the core: every refusal by its field, and nothing done by a dry run."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.post import LateRule, Mode, Source, State
from tests.core import Core

AT = "2026-12-01T10:00:00Z"
GOOD = {"account": "ada", "media": "clip.mp4", "at": AT, "privacy": "SELF_ONLY"}


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        found.media.put("clip.mp4")
        yield found


def without(*names: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key not in names} | more


def test_a_scheduled_post_says_when_it_goes_out_on_every_clock(core: Core) -> None:
    result = core.do("post/schedule", GOOD | {"at": "2026-12-01T11:00:00", "zone": "Europe/Berlin"})

    assert result["at"] == "2026-12-01T10:00:00.000Z"
    assert result["at_local"] == "2026-12-01T11:00:00+01:00"
    assert (result["state"], result["zone"], result["account"]) == ("scheduled", "Europe/Berlin", "ada")


def test_a_scheduled_post_keeps_all_that_was_said(core: Core) -> None:
    result = core.do(
        "post/schedule",
        GOOD
        | {
            "title": "T",
            "hashtags": ["a", "b"],
            "allow_duet": True,
            "if_late": {"policy": "fail", "after_s": 5},
        },
    )

    post = core.post(result["post"])
    assert (post.state, post.source, post.media, post.mode) == (
        State.SCHEDULED,
        Source.FILE,
        ("clip.mp4",),
        Mode.DIRECT,
    )
    assert (post.description.title, post.description.hashtags, post.description.allow_duet) == (
        "T",
        ("a", "b"),
        True,
    )
    assert (post.late_rule, post.late_after_s) == (LateRule.FAIL, 5)


def test_consent_is_recorded_with_the_post(core: Core) -> None:
    result = core.do("post/schedule", GOOD | {"consent_by": "Ada L."}, actor="generator")

    consent = core.post(result["post"]).consent
    assert (consent.who, consent.actor, consent.at) == ("Ada L.", "generator", "2026-12-01T09:00:00.000Z")
    assert consent.through == "test post/schedule"


def test_a_draft_needs_no_time(core: Core) -> None:
    result = core.do("post/schedule", without("at", draft=True))

    assert (result["state"], core.post(result["post"]).due_at) == ("draft", None)
    assert core.event_types()[-1] == "post.drafted"


def test_an_address_is_scheduled_without_a_file(core: Core) -> None:
    result = core.do("post/schedule", without("media", url="https://media.example/a.mp4"))

    assert core.post(result["post"]).source is Source.URL


@pytest.mark.parametrize(
    ("args", "code", "field"),
    [
        pytest.param(without(account="eve"), "no_such_account", "args.account", id="account"),
        pytest.param(without("media"), "bad_field", "args.media", id="nothing to post"),
        pytest.param(
            without(url="https://media.example/a"), "bad_field", "args.media", id="two things to post"
        ),
        pytest.param(without(media="none.mp4"), "media_missing", "args.media", id="missing file"),
        pytest.param(
            without("media", url="https://evil.example/a"), "media_rejected", "args.url", id="address"
        ),
        pytest.param(
            without("media", photos=["https://media.example/1", "http://x"]),
            "media_rejected",
            "args.photos.1",
            id="photo",
        ),
        pytest.param(
            without("media", photos=["https://media.example/1"], photo_cover=1),
            "bad_field",
            "args.photo_cover",
            id="cover",
        ),
        pytest.param(without("at"), "bad_field", "args.at", id="no time"),
        pytest.param(without(at="2026-12-01T10:00:00"), "bad_time", "args.at", id="no zone"),
        pytest.param(without(at="2026-12-01T08:58:59Z"), "bad_time", "args.at", id="past"),
        pytest.param(without(at="soon"), "bad_time", "args.at", id="no time at all"),
        pytest.param(
            without(at="9999-12-31T23:59:59Z", zone="Pacific/Kiritimati"), "bad_time", "args.at", id="far"
        ),
        pytest.param(without(zone="Europe/Nowhere"), "bad_field", "args.zone", id="zone"),
        pytest.param(without("privacy"), "bad_field", "args.privacy", id="no privacy"),
        pytest.param(without(privacy="FRIENDS"), "bad_field", "args.privacy", id="privacy not offered"),
        pytest.param(without(titel="x"), "unknown_field", "args.titel", id="unknown field"),
        pytest.param(
            without(if_late={"policy": "never"}), "bad_field", "args.if_late.policy", id="late policy"
        ),
        pytest.param(without(hashtags=["a b"]), "bad_field", "args.hashtags.0", id="hashtag"),
    ],
)
def test_every_refusal_names_its_field(core: Core, args: dict[str, Any], code: str, field: str) -> None:
    error = core.refusal("post/schedule", args)

    assert (error["code"], error["field"]) == (code, field)
    assert core.posts() == []


def test_a_file_that_breaks_the_limits_is_refused_with_every_problem(core: Core) -> None:
    core.media.overrides["clip.mp4"] = {"container": "avi", "fps": 10.0}

    error = core.refusal("post/schedule", GOOD)

    assert error["code"] == "media_rejected"
    assert {problem["code"] for problem in error["problems"]} == {"container", "frame_rate"}


def test_a_mode_that_was_not_granted_is_refused(core: Core) -> None:
    core.link("bob", scope="video.upload")

    error = core.refusal("post/schedule", GOOD | {"account": "bob"})

    assert (error["code"], error["field"]) == ("forbidden", "args.mode")


def test_a_platform_without_credentials_is_not_configured(core: Core) -> None:
    core.platform.configured = False

    assert core.refusal("post/schedule", GOOD)["code"] == "not_configured"


def test_a_time_just_past_is_now(core: Core) -> None:
    assert core.do("post/schedule", GOOD | {"at": "2026-12-01T08:59:30Z"})["state"] == "scheduled"


def test_a_file_that_was_posted_before_is_a_warning(core: Core) -> None:
    first = core.scheduled()

    assert core.schedule()["result"]["warnings"] == [f"post {first} has the same file"]


def test_warnings_say_what_will_hold_the_post(core: Core) -> None:
    core.send("system/pause")

    assert "paused" in core.schedule()["result"]["warnings"][0]


# -- dry runs ------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_call_and_changes_nothing(core: Core) -> None:
    before = len(core.events())

    result = core.do("post/schedule", GOOD, dry_run=True, id="")

    assert (result["dry_run"], result["endpoint"]) == (True, "/init")
    assert core.posts() == []
    assert len(core.events()) == before


def test_a_dry_run_checks_a_new_file_as_well(core: Core) -> None:
    core.media.put("new.mp4", checked=False)

    assert core.do("post/schedule", GOOD | {"media": "new.mp4"}, dry_run=True)["dry_run"] is True
    assert core.media.inspections == ["new.mp4"]
    assert core.posts() == []


def test_a_dry_run_refuses_what_the_real_run_would(core: Core) -> None:
    assert core.refusal("post/schedule", without("privacy"), dry_run=True)["field"] == "args.privacy"


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("post/cancel", {}),
        ("post/reschedule", {"at": "2026-12-02T10:00:00Z"}),
        ("post/publish_now", {}),
        ("system/pause", None),
    ],
)
def test_a_dry_run_of_any_other_command_changes_nothing_either(
    core: Core, verb: str, args: dict[str, Any] | None
) -> None:
    post = core.scheduled()
    before, events = core.post(post), len(core.events())

    result = core.do(verb, None if args is None else {"post": post} | args, dry_run=True)

    assert result["dry_run"] is True
    assert core.post(post) == before
    assert len(core.events()) == events
    assert core.do("system/health")["paused"] is False
    core.settle()
    assert core.platform.count("init") == 0


def test_a_dry_run_of_a_command_that_would_be_refused_is_refused(core: Core) -> None:
    assert core.refusal("post/cancel", {"post": "p_none"}, dry_run=True)["code"] == "no_such_post"


# -- a file that must be checked first -----------------------------------------------------------------------


def test_a_new_file_is_accepted_first_and_scheduled_when_it_has_been_checked(core: Core) -> None:
    core.media.put("new.mp4", checked=False)
    core.media.gate = threading.Event()

    call = core.submit("post/schedule", GOOD | {"media": "new.mp4"})

    assert (call.first()["status"], call.first()["final"]) == ("accepted", False)
    assert core.posts() == []
    core.media.gate.set()
    assert call.final()["status"] == "done"
    assert len(core.posts()) == 1


def test_a_new_file_that_is_no_good_refuses_the_accepted_command(core: Core) -> None:
    call = core.submit("post/schedule", GOOD | {"media": "none.mp4"})

    assert call.final()["error"]["code"] == "media_missing"
    assert core.posts() == []


def test_an_accepted_command_is_finished_once_after_a_restart(core: Core) -> None:
    core.media.put("new.mp4", checked=False)
    core.media.gate = threading.Event()
    core.submit("post/schedule", GOOD | {"media": "new.mp4"}, id="order").first()

    # The process is gone while the file is being read; what that worker finds out reaches nobody.
    core.stopping.set()
    core.bus.stop(10)
    core.media.gate.set()
    core.restart(clean=False)
    core.settle()

    assert len(core.posts()) == 1
    again = core.send("post/schedule", GOOD | {"media": "new.mp4"}, id="order")
    assert (again["replayed"], again["result"]["post"]) == (True, core.posts()[0].id)


def test_what_was_fine_when_it_was_accepted_is_checked_again(core: Core) -> None:
    core.media.put("new.mp4", checked=False)
    core.media.gate = threading.Event()
    call = core.submit("post/schedule", GOOD | {"media": "new.mp4"})
    call.first()

    core.platform.configured = False
    core.media.gate.set()

    assert call.final()["error"]["code"] == "not_configured"


# -- reschedule ----------------------------------------------------------------------------------------------


def test_a_post_gets_another_time(core: Core) -> None:
    post = core.scheduled()

    result = core.do("post/reschedule", {"post": post, "at": "2026-12-03T10:00:00+01:00"})

    assert result["at"] == "2026-12-03T09:00:00.000Z"
    core.settle()
    assert core.timer.at == core.post(post).due_at


def test_a_draft_gets_its_first_time(core: Core) -> None:
    post = core.do("post/schedule", without("at", draft=True))["post"]

    assert core.do("post/reschedule", {"post": post, "at": AT})["state"] == "scheduled"


@pytest.mark.parametrize(
    ("args", "code", "field"),
    [
        ({"at": "soon"}, "bad_time", "args.at"),
        ({"at": "2026-12-03T10:00:00"}, "bad_time", "args.at"),
        ({"at": "2020-01-01T00:00:00Z"}, "bad_time", "args.at"),
        ({"at": AT, "zone": "Nowhere"}, "bad_field", "args.zone"),
        ({"at": AT, "post": "p_none"}, "no_such_post", "args.post"),
    ],
)
def test_a_bad_new_time_is_refused_by_name(core: Core, args: dict[str, Any], code: str, field: str) -> None:
    error = core.refusal("post/reschedule", {"post": core.scheduled()} | args)

    assert (error["code"], error["field"]) == (code, field)


def test_a_local_time_is_taken_in_the_zone_of_the_post(core: Core) -> None:
    post = core.do("post/schedule", GOOD | {"zone": "Europe/Berlin"})["post"]

    assert (
        core.do("post/reschedule", {"post": post, "at": "2026-12-03T10:00:00"})["at"]
        == "2026-12-03T09:00:00.000Z"
    )


def test_an_earlier_time_is_met(core: Core) -> None:
    post = core.scheduled(in_s=3600)

    core.do("post/reschedule", {"post": post, "at": (core.clock.now() + timedelta(seconds=5)).isoformat()})
    core.run_for(30)

    assert core.post(post).state is State.PUBLISHED
