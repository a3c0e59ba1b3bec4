"""Accounts over HTTP: the way to TikTok's page and back, what the page shows and what it never shows."""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from daemon.domain.errors import Fault, PlatformError
from tests.core import POLICY
from tests.integration.http_stage import Answer, Stage, staged

CODE = "a-code-for-nobodys-eyes"
REDIRECT = "http://127.0.0.1:1/tiktok/callback"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path, policy=replace(POLICY, redirect_uri=REDIRECT)) as found:
        yield found


def state_of(stage: Stage, account: str = "ada") -> str:
    state: str = stage.get(f"/tiktok/auth?account={account}").body["state"]
    return state


def come_back(stage: Stage, **query: str) -> Answer:
    """Come back as a browser does: from a foreign page, without a token."""
    found = stage.get(
        f"/tiktok/callback?{urlencode(query)}", user=None, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate",
        Sec_Fetch_Dest="document",
    )  # fmt: skip
    stage.core.settle()
    return found


def test_a_link_begins_with_an_address_and_a_state(stage: Stage) -> None:
    found = stage.get("/tiktok/auth?account=shop")

    assert (found.status, found.body["state"] in found.body["auth_url"]) == (200, True)
    assert found.headers["cache-control"] == "no-store"


def test_a_link_can_lead_to_tiktoks_page_at_once(stage: Stage) -> None:
    found = stage.get("/tiktok/auth?account=shop&redirect=true")

    assert found.status == 302
    assert found.headers["location"].startswith("https://platform.example/authorize?state=")
    assert found.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("query", "user", "status"),
    [
        ("account=shop", None, 401),
        ("", "ann", 422),
        ("account=shop&color=red", "ann", 422),
        ("account=a/b", "ann", 422),
    ],
)
def test_half_a_question_begins_nothing(stage: Stage, query: str, user: str | None, status: int) -> None:
    assert stage.get(f"/tiktok/auth?{query}", user=user).status == status


def test_without_an_app_nothing_begins(stage: Stage) -> None:
    stage.core.platform.configured = False

    found = stage.get("/tiktok/auth?account=shop")

    assert (found.status, found.code) == (503, "not_configured")


def test_a_person_who_comes_back_has_a_linked_account(stage: Stage) -> None:
    found = come_back(stage, state=state_of(stage), code=CODE, scopes="user.info.basic", lang="en")

    assert (found.status, found.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"ada is linked" in found.raw
    assert stage.core.event_types("account/ada")[-1] == "account.linked"


def test_the_page_names_what_will_not_work(stage: Stage) -> None:
    stage.core.platform.granted = ("user.info.basic",)

    assert b"nothing can be posted" in come_back(stage, state=state_of(stage), code=CODE).raw


def test_the_page_shows_neither_code_nor_state_nor_tokens(stage: Stage) -> None:
    state = state_of(stage)
    pages = [come_back(stage, state=state, code=CODE).raw for _ in range(2)]

    assert not any(
        secret.encode() in page for page in pages for secret in (state, CODE, "access-1", "refresh-1")
    )


def test_the_page_is_closed_to_everything_from_outside(stage: Stage) -> None:
    found = come_back(stage, state="unknown", code=CODE)

    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", found.raw.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert found.headers["referrer-policy"] == "no-referrer"
    assert found.headers["x-frame-options"] == "DENY"
    assert found.headers["cache-control"] == "no-store"


def test_what_comes_from_outside_is_escaped(stage: Stage) -> None:
    evil = "<script>alert(1)</script>"

    found = come_back(stage, state=state_of(stage), error=evil, error_description=evil)

    assert found.status == 400
    assert b"<script>alert" not in found.raw
    assert b"&lt;script&gt;alert" in found.raw


def failing(stage: Stage, fault: Fault = Fault.AUTH) -> None:
    stage.core.platform.script["exchange"].append(PlatformError(fault, "invalid_grant", "no"))


def no_change(_stage: Stage) -> None:
    """Leave all as it is."""


def other_person(stage: Stage) -> None:
    stage.core.platform.open_id = "open-eve"


@pytest.mark.parametrize(
    ("prepare", "query", "status"),
    [
        pytest.param(no_change, {"code": CODE}, 400, id="no state"),
        pytest.param(no_change, {"state": "x", "code": CODE}, 400, id="unknown state"),
        pytest.param(no_change, {"state": "x" * 201, "code": CODE}, 400, id="long state"),
        pytest.param(no_change, {"state": "", "code": CODE}, 400, id="empty state"),
        pytest.param(no_change, {"state": "ours", "error": "access_denied"}, 400, id="not agreed"),
        pytest.param(no_change, {"state": "ours"}, 400, id="no code"),
        pytest.param(no_change, {"state": "ours", "code": "a\0b"}, 400, id="control character"),
        pytest.param(other_person, {"state": "ours", "code": CODE}, 403, id="another person"),
        pytest.param(failing, {"state": "ours", "code": CODE}, 502, id="refused code"),
    ],
)
def test_a_page_says_that_nothing_was_linked(
    stage: Stage, prepare: Any, query: dict[str, str], status: int
) -> None:
    before = stage.core.account()
    prepare(stage)
    if query.get("state") == "ours":
        query = query | {"state": state_of(stage)}

    found = come_back(stage, **query)

    assert (found.status, b"Not linked" in found.raw) == (status, True)
    assert stage.core.account() == before


def test_a_parameter_that_stands_twice_is_no_callback(stage: Stage) -> None:
    state = state_of(stage)

    found = stage.get(f"/tiktok/callback?state={state}&state={state}&code=c", user=None)

    assert found.status == 400
    assert stage.core.event_types("account/ada") == ["account.linked"]


def test_the_callback_answers_under_its_own_names_only(stage: Stage) -> None:
    found = stage.get(f"/tiktok/callback?state={state_of(stage)}&code=c", user=None, Host="evil.example")

    assert found.status == 421


@pytest.mark.parametrize("origin", ["null", "https://www.tiktok.com"])
def test_a_browser_that_names_where_it_comes_from_is_let_in(stage: Stage, origin: str) -> None:
    found = stage.get(f"/tiktok/callback?state={state_of(stage)}&code=c", user=None, Origin=origin)

    assert found.status == 200


def test_other_endpoints_stay_closed_to_foreign_pages(stage: Stage) -> None:
    assert stage.get("/tiktok/auth?account=ada", Origin="https://www.tiktok.com").status == 403


def test_accounts_are_listed(stage: Stage) -> None:
    assert [found["account"] for found in stage.get("/api/v1/accounts").body["accounts"]] == ["ada"]


def test_an_account_is_unlinked(stage: Stage) -> None:
    found = stage.call("DELETE", "/api/v1/accounts/ada", Idempotency_Key="once")

    assert (found.status, found.body["revoked"]) == (200, True)
    assert stage.get("/api/v1/accounts").body["accounts"] == []
    assert stage.get("/api/v1/accounts?all=true").body["accounts"][0]["login"] == "unlinked"


def test_an_account_is_switched_off_on_and_checked(stage: Stage) -> None:
    answers = [stage.post(f"/api/v1/accounts/ada/{verb}") for verb in ("disable", "enable", "check")]

    assert [found.status for found in answers] == [200, 200, 200]
    assert [found.body["enabled"] for found in answers] == [False, True, True]
    assert answers[2].body["checked"] is True


@pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("POST", "/enable"), ("POST", "/check")])
@pytest.mark.parametrize("name", ["nobody", "a%20b"])
def test_an_account_that_is_not_there_is_404(stage: Stage, method: str, path: str, name: str) -> None:
    assert stage.call(method, f"/api/v1/accounts/{name}{path}").status == 404
