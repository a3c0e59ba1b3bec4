"""Linking, unlinking and looking after accounts, in the core: whose tokens are stored, and when none are."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.account import Login
from daemon.domain.errors import Fault, PlatformError, StaleAttempt
from daemon.domain.gates import Gates
from daemon.domain.ids import SELF_ACTOR, AccountName, NodeName
from daemon.domain.linking import flow_of, hash_of, warnings_about
from daemon.domain.reports import TokensGivenBack, UnlinkIntended
from tests.core import POLICY, Core
from tests.fakes.platform import After, Killed
from tests.waiting import wait_until

DESKTOP = "http://127.0.0.1:8080/tiktok/callback"
WEB = "https://tokd.example.com/tiktok/callback"
DENIED = PlatformError(Fault.AUTH, "invalid_grant", "Authorization code is expired.", status=200)
LOST = PlatformError(Fault.UNKNOWN_OUTCOME, "no_answer", "the answer did not come")


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(
        tmp_path, policy=replace(POLICY, redirect_uri=DESKTOP, revoke_delays_s=(0.001, 0.001))
    ) as found:
        yield found


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Core]:
    """A core in which nobody is linked, with a broker."""
    policy = replace(POLICY, redirect_uri=DESKTOP, revoke_delays_s=(0.001, 0.001))
    with Core(tmp_path, policy=policy, link=False, has_broker=True) as found:
        yield found


def begin(core: Core, account: str = "ada", **args: object) -> dict[str, Any]:
    return core.do("account/link", {"account": account} | args)


def finish(core: Core, state: str, code: str | None = "the-code", **args: object) -> dict[str, Any]:
    found = {"state": state, "code": code} | args
    given = {name: value for name, value in found.items() if value is not None}
    reply = core.send("account/finish_link", given, is_local=True)
    core.settle()
    return reply


def names(core: Core) -> list[str]:
    return [str(found.name) for found in core.bus.read(lambda unit: unit.accounts())]


# -- beginning -----------------------------------------------------------------------------------------------


def test_a_link_begins_with_an_address_and_its_end(fresh: Core) -> None:
    found = begin(fresh)

    assert found["auth_url"].startswith("https://platform.example/authorize?")
    assert found["state"] in found["auth_url"]
    assert (found["flow"], found["redirect_uri"]) == ("desktop", DESKTOP)
    assert found["expires_at"] == "2026-12-01T09:10:00.000Z"


def test_no_two_states_and_no_two_verifiers_are_the_same(fresh: Core) -> None:
    states = {begin(fresh)["state"] for _ in range(5)}

    assert len(states) == len(set(fresh.platform.verifiers.values())) == 5
    assert all(len(state) >= 43 for state in states)


def test_the_web_flow_has_no_verifier(tmp_path: Path) -> None:
    with Core(tmp_path, policy=replace(POLICY, redirect_uri=WEB), link=False) as core:
        found = begin(core, disable_auto_auth=True)

        assert found["flow"] == "web"
        assert core.platform.verifiers == {found["state"]: None}
        assert found["auth_url"].endswith("&asks=1")


def test_the_desktop_flow_cannot_be_told_to_ask_again(fresh: Core) -> None:
    error = fresh.refusal("account/link", {"account": "ada", "disable_auto_auth": True})

    assert (error["code"], error["field"]) == ("bad_field", "args.disable_auto_auth")


def test_guesses_at_the_callback_keep_nobody_out_whose_state_counts(tmp_path: Path) -> None:
    policy = replace(POLICY, redirect_uri=DESKTOP)
    gates = Gates(rate_per_s=0.001, burst=2)
    caller = {"id": "", "actor": SELF_ACTOR, "transport": "http", "is_local": True}
    with Core(tmp_path, policy=policy, link=False, gates=gates) as core:
        state = begin(core)["state"]
        guesses = [
            core.refusal("account/finish_link", {"state": f"guess-{number}", "code": "c"}, **caller)["code"]
            for number in range(4)
        ]

        came_back = core.send("account/finish_link", {"state": state, "code": "c"}, **caller)
        again = core.refusal("account/finish_link", {"state": state, "code": "c"}, **caller)

    assert guesses == ["no_such_link", "no_such_link", "rate_limited", "rate_limited"]
    assert (came_back["status"], again["code"]) == ("done", "rate_limited")


def test_neither_state_nor_verifier_stands_in_any_file(fresh: Core) -> None:
    state = begin(fresh)["state"]
    code = "a-code-that-nobody-may-see"
    finish(fresh, state, code)

    fresh.stop()

    content = fresh.stored()
    verifier = fresh.platform.verifiers[state]
    assert verifier is not None
    assert hash_of(state).encode() in content
    assert [word for word in (state, verifier, code) if word.encode() in content] == []


def test_without_an_address_to_come_back_to_nothing_begins(tmp_path: Path) -> None:
    with Core(tmp_path, link=False) as core:
        error = core.refusal("account/link", {"account": "ada"})

    assert error["code"] == "not_configured"
    assert "tiktok.redirect_uri" in error["message"]


def test_without_an_app_nothing_begins(fresh: Core) -> None:
    fresh.platform.configured = False

    assert fresh.refusal("account/link", {"account": "ada"})["code"] == "not_configured"


def test_a_dry_run_of_a_link_begins_nothing(fresh: Core) -> None:
    found = fresh.do("account/link", {"account": "ada"}, dry_run=True)

    assert (found["dry_run"], "state" in found) == (True, False)
    assert fresh.bus.read(lambda unit: unit.link(AccountName("ada"))) is None


@pytest.mark.parametrize(
    ("address", "flow"),
    [
        (DESKTOP, "desktop"),
        ("http://localhost:1/c", "desktop"),
        (WEB, "web"),
        ("https://127.0.0.1:1/c", "desktop"),
    ],
)
def test_the_address_decides_the_flow(address: str, flow: str) -> None:
    assert flow_of(address) == flow


# -- finishing -----------------------------------------------------------------------------------------------


def test_a_code_links_the_account(fresh: Core) -> None:
    state = begin(fresh)["state"]

    reply = finish(fresh, state)

    assert reply["status"] == "done"
    assert (reply["result"]["account"], reply["result"]["login"]) == ("ada", "ok")
    assert reply["result"]["warnings"] == []
    assert fresh.platform.exchanged_with == (DESKTOP, fresh.platform.verifiers[state])
    assert fresh.account().open_id == "open-ada"
    assert fresh.account().creator is not None
    assert fresh.event_types("account/ada") == ["account.linked"]


def test_tokens_of_a_code_that_were_sealed_before_a_rotation_are_stored_under_the_newest_key(
    fresh: Core,
) -> None:
    fresh.vault.rotates_after = "refresh_token"

    assert finish(fresh, begin(fresh)["state"])["status"] == "done"

    assert fresh.vault.is_newest(fresh.account().access_token)
    assert fresh.vault.is_newest(fresh.account().refresh_token)


def test_a_code_is_exchanged_in_one_call(fresh: Core) -> None:
    finish(fresh, begin(fresh)["state"])

    assert [call for call in fresh.platform.calls if call[0] == "exchange"] == [("exchange", "the-code")]


def test_scopes_that_were_not_granted_are_named(fresh: Core) -> None:
    fresh.platform.granted = ("user.info.basic", "video.upload")

    found = finish(fresh, begin(fresh)["state"])["result"]

    assert found["missing"] == ["video.publish"]
    assert "direct posts will be refused" in found["warnings"][0]
    assert fresh.events("account.linked")[0]["data"]["missing"] == ["video.publish"]


def test_an_account_without_any_scope_for_posting_is_warned_about() -> None:
    found = warnings_about(("user.info.basic", "video.publish"), ("user.info.basic",))

    assert any("nothing can be posted" in warning for warning in found)


def test_posts_that_were_held_go_on_after_a_link(core: Core) -> None:
    core.media.put("clip.mp4")
    dead = replace(core.account(), login=Login.NEEDS_LOGIN)
    core.write(lambda unit: unit.save_account(dead))
    post = core.scheduled(in_s=1)
    core.run_for(5)
    assert core.post(post).reason == "account_needs_login"

    finish(core, begin(core)["state"])
    core.run_for(60)

    assert core.post(post).state == "published"


# -- S16: nothing is stored ----------------------------------------------------------------------------------


def test_an_unknown_state_stores_nothing(fresh: Core) -> None:
    begin(fresh)

    assert finish(fresh, "x" * 43)["error"]["code"] == "no_such_link"
    assert (names(fresh), fresh.platform.calls) == ([], [])


def test_a_state_works_once(fresh: Core) -> None:
    state = begin(fresh)["state"]
    finish(fresh, state)
    version = fresh.account().token_version

    error = finish(fresh, state)["error"]

    assert (error["code"], "used already" in error["message"]) == ("no_such_link", True)
    assert fresh.account().token_version == version
    assert sum(method == "exchange" for method, _ in fresh.platform.calls) == 1


def test_a_state_is_spent_before_its_code_is_sent(fresh: Core) -> None:
    gate, called = threading.Event(), threading.Event()
    fresh.platform.script["exchange"].append(lambda: (called.set(), gate.wait(10)))
    state = begin(fresh)["state"]
    call = fresh.submit("account/finish_link", {"state": state, "code": "c"}, is_local=True)
    assert called.wait(10)

    used_at = fresh.bus.read(lambda unit: unit.link(AccountName("ada"))).used_at
    again = fresh.send("account/finish_link", {"state": state, "code": "c"}, is_local=True)
    gate.set()

    assert used_at is not None
    assert again["error"]["code"] == "no_such_link"
    assert call.final()["status"] == "done"


def test_a_state_expires(fresh: Core) -> None:
    state = begin(fresh)["state"]
    fresh.clock.advance(600)

    error = finish(fresh, state)["error"]

    assert (error["code"], "was over at" in error["message"]) == ("no_such_link", True)
    assert (names(fresh), fresh.platform.calls) == ([], [])


def test_a_new_link_takes_the_place_of_the_one_before(fresh: Core) -> None:
    old, new = begin(fresh)["state"], begin(fresh)["state"]

    assert finish(fresh, old)["error"]["code"] == "no_such_link"
    assert finish(fresh, new)["status"] == "done"


def test_the_state_of_one_account_does_not_serve_another(fresh: Core) -> None:
    state = begin(fresh, "ada")["state"]
    begin(fresh, "bob")

    error = finish(fresh, state, account="bob")["error"]

    assert error["code"] == "no_such_link"
    assert (names(fresh), fresh.platform.calls) == ([], [])


def test_another_client_key_ends_the_link(fresh: Core) -> None:
    state = begin(fresh)["state"]
    fresh.platform.key = "another"

    assert finish(fresh, state)["error"]["code"] == "link_refused"
    assert (names(fresh), fresh.platform.calls) == ([], [])


def test_a_person_who_does_not_agree_is_told_of(fresh: Core) -> None:
    state = begin(fresh)["state"]

    error = finish(fresh, state, None, error="access_denied", error_description="The user\x1b[31m said no")[
        "error"
    ]

    assert error["code"] == "link_refused"
    assert "meaning of access_denied (TikTok says access_denied: The user[31m said no)" in error["message"]
    (event,) = fresh.events("account.link_failed")
    assert (event["data"]["account"], event["data"]["code"]) == ("ada", "access_denied")
    assert finish(fresh, state)["error"]["code"] == "no_such_link"


def test_an_answer_without_a_code_ends_the_link(fresh: Core) -> None:
    assert finish(fresh, begin(fresh)["state"], None)["error"]["code"] == "link_refused"


@pytest.mark.parametrize("error", [DENIED, LOST, After(LOST)], ids=["refused", "not sent", "answer lost"])
def test_a_code_that_brings_no_tokens_leaves_the_account_as_it_was(core: Core, error: Any) -> None:
    before = core.account()
    core.platform.script["exchange"].append(error)

    reply = finish(core, begin(core)["state"])

    assert (reply["status"], reply["error"]["code"]) == ("failed", "link_failed")
    assert "start again" in reply["error"]["message"]
    assert core.account() == before
    assert sum(method == "exchange" for method, _ in core.platform.calls) == 1
    assert core.event_types("account/ada")[-1] == "account.link_failed"


def test_another_persons_tokens_are_given_back(core: Core) -> None:
    before = core.account()
    core.platform.open_id = "open-eve"

    reply = finish(core, begin(core)["state"])

    assert reply["error"]["code"] == "forbidden"
    assert core.account() == before
    assert [argument for method, argument in core.platform.calls if method == "revoke"] == ["access-1"]


def test_a_person_is_linked_under_one_name_and_keeps_those_tokens(core: Core) -> None:
    reply = finish(core, begin(core, "shop")["state"])

    assert reply["error"]["code"] == "forbidden"
    assert "linked as ada already" in reply["error"]["message"]
    assert names(core) == ["ada"]
    assert not any(method == "revoke" for method, _ in core.platform.calls)


def test_tokens_of_nobody_are_given_back(fresh: Core) -> None:
    fresh.platform.open_id = ""

    assert finish(fresh, begin(fresh)["state"])["error"]["code"] == "link_failed"
    assert (names(fresh), fresh.platform.calls[-1][0]) == ([], "revoke")


@pytest.mark.parametrize("step", [Killed(), After(Killed())], ids=["not sent", "answer lost"])
def test_a_link_that_a_crash_cut_off_is_over(fresh: Core, step: Any) -> None:
    fresh.platform.script["exchange"].append(step)
    state = begin(fresh)["state"]
    fresh.submit("account/finish_link", {"state": state, "code": "c"}, is_local=True)
    wait_until(lambda: fresh.deaths.found)

    fresh.restart(clean=False)
    fresh.settle()

    assert names(fresh) == []
    assert finish(fresh, state)["error"]["code"] == "no_such_link"
    assert sum(method == "exchange" for method, _ in fresh.platform.calls) == 1


def test_a_code_does_not_come_over_a_broker(fresh: Core) -> None:
    state = begin(fresh)["state"]

    assert fresh.refusal("account/finish_link", {"state": state, "code": "c"})["code"] == "forbidden"


def test_links_are_forgotten_a_day_after_their_end(fresh: Core) -> None:
    begin(fresh)
    fresh.clock.advance(600 + 86401)

    fresh.sweep()

    assert fresh.bus.read(lambda unit: unit.link(AccountName("ada"))) is None


# -- unlinking -----------------------------------------------------------------------------------------------


def unlink(core: Core, account: str = "ada") -> dict[str, Any]:
    reply = core.send("account/unlink", {"account": account})
    core.settle()
    return reply


def test_an_account_that_is_unlinked_gives_its_tokens_back_and_has_none(core: Core) -> None:
    reply = unlink(core)

    assert reply["result"]["revoked"] is True
    assert [argument for method, argument in core.platform.calls if method == "revoke"] == ["access-0"]
    found = core.account()
    assert (found.login, found.access_token, found.refresh_token) == (Login.UNLINKED, "", "")
    assert core.events("account.unlinked")[0]["data"]["revoked"] is True


def test_the_tokens_go_even_where_tiktok_cannot_be_told(core: Core) -> None:
    core.platform.script["revoke"].extend([LOST] * 10)

    reply = unlink(core)

    assert (reply["status"], reply["result"]["revoked"]) == ("done", False)
    assert "could not be told (no_answer" in reply["result"]["detail"]
    assert core.account().access_token == ""
    assert sum(method == "revoke" for method, _ in core.platform.calls) == 3


def test_a_dead_access_token_is_renewed_to_be_given_back(core: Core) -> None:
    core.clock.advance(2 * 86400)

    assert unlink(core)["result"]["revoked"] is True
    assert [argument for method, argument in core.platform.calls if method == "revoke"] == ["access-1"]


def test_an_account_with_a_post_under_way_is_not_unlinked(core: Core) -> None:
    core.media.put("clip.mp4")
    gate, called = threading.Event(), threading.Event()
    core.platform.script["init"].append(lambda: (called.set(), gate.wait(10)))
    post = core.scheduled(in_s=0)
    core.timer.ring()
    assert called.wait(10)

    error = core.send("account/unlink", {"account": "ada"})["error"]
    gate.set()

    assert (error["code"], post in error["message"]) == ("busy", True)
    core.settle()
    assert core.account().login is Login.OK


def test_posts_wait_for_the_same_person_to_come_back(core: Core) -> None:
    core.media.put("clip.mp4")
    post = core.scheduled(in_s=30)
    unlink(core)
    core.run_for(60)
    assert (core.post(post).state, core.post(post).reason) == ("held", "account_needs_login")

    finish(core, begin(core)["state"])
    core.run_for(60)

    assert core.post(post).state == "published"


def test_another_person_does_not_get_the_name_of_an_unlinked_account(core: Core) -> None:
    unlink(core)
    core.platform.open_id = "open-eve"

    assert finish(core, begin(core)["state"])["error"]["code"] == "forbidden"
    assert core.account().access_token == ""


def test_an_unlinked_account_is_listed_where_posts_wait_or_all_are_asked_for(core: Core) -> None:
    unlink(core)

    assert core.do("account/list")["accounts"] == []
    (found,) = core.do("account/list", {"all": True})["accounts"]
    assert (found["login"], "token_days_left" in found) == ("unlinked", False)


def test_an_unlinked_account_with_posts_is_listed(core: Core) -> None:
    core.media.put("clip.mp4")
    core.scheduled()
    unlink(core)

    assert [found["login"] for found in core.do("account/list")["accounts"]] == ["unlinked"]


def test_nothing_new_is_scheduled_for_an_unlinked_account(core: Core) -> None:
    core.media.put("clip.mp4")
    unlink(core)

    error = core.schedule()["error"]

    assert (error["code"], "tokd account link ada" in error["message"]) == ("no_such_account", True)


def test_unlinking_ends_a_link_that_was_begun(core: Core) -> None:
    state = begin(core)["state"]
    unlink(core)

    assert finish(core, state)["error"]["code"] == "no_such_link"


def test_an_account_that_is_being_unlinked_is_not_linked_meanwhile(core: Core) -> None:
    gate, called = threading.Event(), threading.Event()
    core.platform.script["revoke"].append(lambda: (called.set(), gate.wait(10)))
    core.submit("account/unlink", {"account": "ada"})
    assert called.wait(10)

    codes = [
        core.refusal("account/link", {"account": "ada"})["code"],
        core.refusal("account/unlink", {"account": "ada"})["code"],
    ]
    gate.set()
    core.settle()

    assert codes == ["busy", "busy"]


@pytest.mark.parametrize("step", [Killed(), After(Killed())], ids=["not sent", "answer lost"])
def test_an_unlink_that_a_crash_cut_off_is_finished_by_the_next_start(core: Core, step: Any) -> None:
    core.platform.script["revoke"].append(step)
    core.submit("account/unlink", {"account": "ada"}, id="u-1")
    wait_until(lambda: core.deaths.found)
    assert core.account().is_being_unlinked

    core.restart(clean=False)
    core.settle()

    assert core.account().access_token == ""
    assert core.send("account/unlink", {"account": "ada"}, id="u-1")["result"]["revoked"] is True


def test_unlinking_twice_does_it_once(core: Core) -> None:
    unlink(core)

    assert unlink(core)["result"]["detail"] == "it was unlinked before"
    assert sum(method == "revoke" for method, _ in core.platform.calls) == 1


def left_by(core: Core, node: str, *, for_s: float) -> None:
    """Have the account stand as a node has left it that began to unlink it and has so long still to go on."""
    until = core.clock.now() + timedelta(seconds=for_s)

    def leave(unit: Any) -> None:
        begun = {"login": Login.UNLINKED, "refresh_node": node, "refresh_until": until, "token_version": 5}
        unit.save_account(replace(unit.account(AccountName("ada")), **begun))

    core.write(leave)


def revoked(core: Core) -> list[Any]:
    return [argument for method, argument in core.platform.calls if method == "revoke"]


def test_an_unlink_of_a_node_that_is_dead_is_finished_by_the_housekeeping_of_another_one(core: Core) -> None:
    left_by(core, "dead", for_s=0)

    core.sweep()

    assert revoked(core) == ["access-0"]
    assert (core.account().login, core.account().access_token) == (Login.UNLINKED, "")
    assert core.events("account.unlinked")[0]["data"]["revoked"] is True


def test_an_unlink_of_a_node_that_is_alive_is_left_to_it(core: Core) -> None:
    left_by(core, "alive", for_s=1)

    core.sweep()

    assert (revoked(core), core.account().is_being_unlinked) == ([], True)
    assert core.refusal("account/unlink", {"account": "ada"})["code"] == "busy"


def test_an_unlink_of_a_node_that_is_dead_can_be_ordered_of_another_one(core: Core) -> None:
    left_by(core, "dead", for_s=0)

    assert unlink(core)["result"]["revoked"] is True
    assert revoked(core) == ["access-0"]


def test_the_account_of_a_dead_node_can_be_linked_once_it_is_unlinked(core: Core) -> None:
    left_by(core, "dead", for_s=0)
    core.sweep()

    assert finish(core, begin(core)["state"])["status"] == "done"


def test_a_node_that_comes_back_late_makes_no_call_in_an_unlink_that_another_one_has_taken(
    core: Core,
) -> None:
    other = NodeName("other")

    def go_by() -> None:
        core.clock.advance(POLICY.refresh_lease_s + 1)
        assert core.bus.ask(UnlinkIntended(AccountName("ada"), other)) is not None
        raise LOST

    core.platform.script["revoke"].append(go_by)
    order = core.submit("account/unlink", {"account": "ada"})
    wait_until(lambda: core.account().refresh_node == other)
    turn = core.account().token_version
    core.bus.ask(TokensGivenBack(0, AccountName("ada"), None, turn))

    assert order.final()["result"]["detail"] == "there were no tokens any more"
    assert revoked(core) == ["access-0"]
    assert len(core.events("account.unlinked")) == 1


def test_what_a_node_tells_late_of_an_unlink_that_another_one_has_taken_is_refused(core: Core) -> None:
    left_by(core, "other", for_s=300)

    with pytest.raises(StaleAttempt):
        core.bus.ask(TokensGivenBack(0, AccountName("ada"), None, 4))

    assert core.account().is_being_unlinked


# -- looking after -------------------------------------------------------------------------------------------


def test_an_account_is_switched_off_and_on(core: Core) -> None:
    core.media.put("clip.mp4")
    assert core.do("account/disable", {"account": "ada"})["enabled"] is False
    post = core.scheduled(in_s=1)
    core.run_for(5)
    assert core.post(post).reason == "account_disabled"

    assert core.do("account/enable", {"account": "ada"})["enabled"] is True
    core.run_for(60)

    assert core.post(post).state == "published"
    assert core.event_types("account/ada")[-2:] == ["account.disabled", "account.enabled"]


def test_a_new_link_does_not_switch_on_what_a_person_has_switched_off(core: Core) -> None:
    core.media.put("clip.mp4")
    post = core.scheduled(in_s=60)
    core.do("account/disable", {"account": "ada"})
    core.run_for(60)

    core.link(access_token="access-1", refresh_token="refresh-1")
    core.run_for(60)

    assert (core.account().enabled, core.post(post).reason) == (False, "account_disabled")
    assert "tokd account enable ada" in (core.account().detail or "")


def test_a_check_that_failed_before_a_new_link_says_nothing_against_it(core: Core) -> None:
    def link_and_fail() -> None:
        tokens = {"access_token": "access-1", "refresh_token": "refresh-1", "open_id": "open-ada"}
        core.clock.advance(1)
        core.do("account/import", {"account": "ada"} | tokens, is_local=True)
        raise DENIED  # what the old refresh token gets

    core.platform.next("creator", DENIED)
    core.platform.next("refresh", link_and_fail)

    core.do("account/check", {"account": "ada"})

    assert core.account().login is Login.OK


def test_a_check_asks_tiktok_now(core: Core) -> None:
    core.platform.creator_answer = replace(core.platform.creator_answer, nickname="Ada L.")

    found = core.do("account/check", {"account": "ada"})

    assert (found["checked"], found["login"], found["creator"]["nickname"]) == (True, "ok", "Ada L.")
    assert found["token_days_left"] == 365


def test_a_check_finds_dead_tokens(core: Core) -> None:
    core.platform.live_access, core.platform.live_refresh = set(), set()

    found = core.do("account/check", {"account": "ada"})

    assert (found["checked"], found["login"]) == (False, "needs_login")
    assert core.event_types("account/ada")[-1] == "account.needs_login"


def test_a_check_that_tiktok_does_not_answer_says_so(core: Core) -> None:
    core.platform.script["creator"].append(LOST)

    found = core.do("account/check", {"account": "ada"})

    assert (found["checked"], found["login"]) == (False, "ok")
    assert found["problem"].startswith("no_answer")


def test_checks_stay_within_tiktoks_limit(core: Core) -> None:
    for _ in range(20):
        core.do("account/check", {"account": "ada"})

    error = core.refusal("account/check", {"account": "ada"})

    assert (error["code"], error["retryable"]) == ("rate_limited", True)


def test_an_alert_stands_while_an_account_needs_a_login(fresh: Core) -> None:
    def alerts() -> list[str]:
        fresh.settle()
        return [sent.payload for sent in fresh.publisher.offered if sent.address == "alert/needs_login_ada"]

    fresh.link()
    fresh.platform.live_access, fresh.platform.live_refresh = set(), set()
    fresh.do("account/check", {"account": "ada"})
    assert [json.loads(found)["alert"] for found in alerts()] == ["needs_login"]
    fresh.platform.live_access = fresh.platform.live_refresh = None

    finish(fresh, begin(fresh)["state"])

    assert alerts()[1:] == [""]


def test_the_state_of_an_unlinked_account_is_cleared(fresh: Core) -> None:
    fresh.link()
    unlink(fresh)

    states = [sent.payload for sent in fresh.publisher.offered if sent.address == "account/ada"]

    assert states[-1] == ""
