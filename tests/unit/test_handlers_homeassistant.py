"""What the core tells a home automation: how accounts stand, what tokd consists of, and when it is said again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.homeassistant import HomeAssistant, HomeAssistantSettings
from adapters.mqtt.letters import letter_of
from daemon.domain.errors import Fault
from daemon.domain.ids import AccountName
from daemon.domain.reports import BrokerJoined, NeighbourCame, RefreshFailed
from daemon.domain.session import BrowserEnded, EndReason, Pictured
from daemon.domain.topics import Topics
from tests.core import Core
from tests.fakes.platform import failed
from tests.waiting import wait_until

HUB, ADA = "homeassistant/device/tokd_main/config", "homeassistant/device/tokd_main_ada/config"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    home = HomeAssistant(Topics("tokd", "main"), HomeAssistantSettings())
    with Core(tmp_path, has_broker=True, introducer=home) as found:
        found.media.put("clip.mp4")
        found.settle()
        yield found


def told(core: Core, address: str) -> list[str]:
    core.settle()
    return [message.payload for message in core.publisher.offered if message.address == address]


def account(core: Core) -> dict[str, Any]:
    """Return the account's state as it is told once the moment of waiting is over."""
    core.settle()
    core.clock.advance(2)
    core.tick()
    found = json.loads(told(core, "account/ada")[-1])
    assert isinstance(found, dict)
    return found


# -- how an account stands -----------------------------------------------------------------------------------


def test_an_account_tells_what_waits_for_it(core: Core) -> None:
    core.scheduled(in_s=7200)
    core.scheduled("clip.mp4", in_s=3600, title="second")

    found = account(core)

    assert (found["queued"], found["next_post_at"]) == (2, "2026-12-01T10:00:00.000Z")


def test_many_changes_are_told_in_one_state(core: Core) -> None:
    account(core)
    before = len(told(core, "account/ada"))
    for number in range(5):
        core.scheduled(in_s=3600, title=f"{number}")
    assert len(told(core, "account/ada")) == before

    assert account(core)["queued"] == 5

    assert len(told(core, "account/ada")) == before + 1


def test_an_account_without_anything_says_so_under_every_key(core: Core) -> None:
    found = account(core)

    assert {key: found[key] for key in ("session", "queued", "next_post_at", "last_result", "last_error", "problems")} == {
        "session": "none", "queued": 0, "next_post_at": None, "last_result": None, "last_error": None, "problems": [],
    }  # fmt: skip


def test_the_end_of_a_post_stays_as_the_last_result(core: Core) -> None:
    post = core.scheduled(in_s=0)
    core.run_for(60)

    found = account(core)

    assert (found["last_result"]["post"], found["last_result"]["state"], found["last_error"]) == (
        post,
        "published",
        None,
    )


def test_a_failed_post_stays_as_the_last_error_through_a_restart(core: Core) -> None:
    core.platform.next("status", failed("spam_risk_text", Fault.CONTENT))
    post = core.scheduled(in_s=0)
    core.run_for(60)

    core.restart()
    core.bus.ask(BrokerJoined(has_session=True))

    found = account(core)
    assert found["last_error"]["post"] == post
    assert (found["last_result"]["state"], found["queued"]) == ("failed", 0)


def test_a_session_on_the_accounts_profile_is_its_session(core: Core) -> None:
    core.do("session/open")

    found = account(core)
    assert (found["session"], found["profile"]) == ("open", "master")

    core.browser.opened[0].tell(BrowserEnded(reason=EndReason.CLOSED_BY_USER, exit_status=0))
    wait_until(lambda: core.events("session.ended"))

    assert account(core)["session"] == "none"


def test_what_a_person_has_chosen_is_no_problem(core: Core) -> None:
    core.do("system/pause")

    daemon = json.loads(told(core, "daemon")[-1])

    assert (daemon["degraded"], daemon["problems"]) == (["paused"], [])


def test_a_dead_login_is_a_problem_of_the_account_and_of_the_daemon(core: Core) -> None:
    core.settle()
    core.bus.ask(
        RefreshFailed(AccountName("ada"), core.account().token_version, is_final=True, detail="revoked")
    )

    assert account(core)["problems"] == ["needs_login"]
    assert json.loads(told(core, "daemon")[-1])["problems"] == ["account ada needs a login"]


def test_the_sweep_gives_a_sign_of_life(core: Core) -> None:
    before = len(told(core, "daemon"))

    core.sweep()

    assert len(told(core, "daemon")) == before + 1


# -- the introduction ----------------------------------------------------------------------------------------


def test_an_account_is_introduced_when_it_is_linked(core: Core) -> None:
    assert json.loads(told(core, ADA)[-1])["device"]["name"] == "TikTok ada"


def test_what_has_not_changed_is_not_said_again(core: Core) -> None:
    before = len(told(core, ADA))
    core.link()

    assert len(told(core, ADA)) == before

    core.restart()
    core.link()

    assert len(told(core, ADA)) == before


@pytest.mark.parametrize("report", [BrokerJoined(has_session=True), NeighbourCame()])
def test_states_are_said_before_the_introduction(core: Core, report: object) -> None:
    core.settle()
    before = len(core.publisher.offered)

    core.bus.ask(report)

    said = [message.address for message in core.publisher.offered[before:]]
    assert said == ["daemon", "account/ada", HUB, ADA]


def test_an_introduction_goes_to_the_broker_only(core: Core) -> None:
    core.settle()

    assert {message.transport for message in core.publisher.offered if message.kind == "discovery"} == {
        "mqtt"
    }


def test_the_ledger_knows_what_was_said(core: Core) -> None:
    core.settle()

    found = core.bus.read(lambda unit: unit.discoveries())

    assert found.keys() == {HUB, ADA}
    assert found[ADA].components["enabled"] == "switch"


# -- pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_picture_goes_to_the_broker_where_that_is_wanted_and_is_stored_nowhere(
    tmp_path: Path, is_wanted: bool
) -> None:
    with Core(tmp_path, has_broker=True, publishes_pictures=is_wanted) as core:
        core.do("session/open")
        browser = core.browser.opened[0]
        picture = core.submit("session/screenshot", {})
        browser.tell(Pictured(token=wait_until(lambda: browser.asked)[0][1], image=b"jpeg"))
        assert picture.final()["status"] == "done"
        core.settle()

        found = [message for message in core.publisher.offered if message.kind == "screenshot"]

    expected = [("ada", "anBlZw==", 0)] if is_wanted else []
    assert [(message.address, message.payload, message.row) for message in found] == expected
    for message in found:
        letter = letter_of(message, Topics("tokd", "main"))
        assert (letter.topic, letter.retain) == ("tokd/v1/main/screenshot/ada", False)


# -- orders of a home automation -----------------------------------------------------------------------------


def test_the_sessions_of_a_profile_can_be_closed_together(core: Core) -> None:
    calls = [core.submit("session/open", {"profile": "master"}) for _ in range(2)]
    assert [call.first()["status"] for call in calls] == ["accepted", "accepted"]

    assert core.do("session/close", {"profile": "other"}) == {"closing": []}
    assert len(core.do("session/close", {"profile": "master"})["closing"]) == 2
    refusal = core.refusal("session/close", {"profile": "master", "session": "0000000000000001"})
    assert refusal["code"] == "bad_field"


def test_a_switch_has_one_topic_for_both_of_its_positions(core: Core) -> None:
    assert core.do("system/paused", {"on": True}) == {"paused": True}
    reply = core.send("system/paused", {"on": False})

    assert (reply["command"], reply["result"]["paused"]) == ("system.resume", False)


@pytest.mark.parametrize("args", [{}, {"on": "ON"}, {"on": 1}, [], {"on": None}])
def test_a_switch_without_a_position_is_refused(core: Core, args: object) -> None:
    assert core.refusal("system/paused", args)["code"] == "bad_field"


def test_a_switch_is_described_with_its_verbs(core: Core) -> None:
    assert core.do("system/describe")["switches"]["system/paused"] == {
        "on": "system/pause",
        "off": "system/resume",
    }
