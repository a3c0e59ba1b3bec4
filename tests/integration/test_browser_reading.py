"""Reading the login state of pages, all in one real Chromium; and what the network's events come to."""

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from adapters.browser.asking import read_login
from adapters.browser.clocks import pause
from adapters.browser.devtools import BrowserLine, Event
from adapters.browser.facts import Detection
from adapters.browser.network import NetworkView
from adapters.browser.tabs import Tab, TabBusy
from daemon.domain.login import Doubt, Login, Verdict
from tests.integration import browser_stage
from tests.integration.browser_stage import INFO_PATH, MARKERS, Pages, Stage

USER = json.dumps({"data": {"user_id_str": "77", "username": "demo"}})


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Nothing is opened here; its settings are what is wanted."""
    with browser_stage.site() as url, browser_stage.set_stage(url) as found:
        yield found


@pytest.fixture(scope="module")
def other() -> Iterator[Pages]:
    with browser_stage.pages() as found:
        yield found


@pytest.fixture(scope="module")
def line() -> Iterator[BrowserLine]:
    with browser_stage.line() as found:
        yield found


def read(line: BrowserLine, stage: Stage, page: str, **settings: Any) -> Verdict:
    url = page if "://" in page else f"{stage.url}/?page={page}"
    return read_login(line, url, stage.make_settings(**settings), lambda: False, pause)


# -- pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "doubt"),
    [
        pytest.param("neither", Doubt.NO_EVIDENCE, id="a page that tells nothing"),
        pytest.param("challenge", Doubt.CHALLENGE, id="a challenge"),
        pytest.param("500", Doubt.SERVER_ERROR, id="a server error"),
        pytest.param("429", Doubt.RATE_LIMITED, id="too many requests"),
        pytest.param("conflict", Doubt.CONFLICT, id="two sources that disagree"),
        pytest.param("http://127.0.0.1:8099/", Doubt.UNREACHABLE, id="a site that is down"),
        pytest.param("slow&delay_ms=9000", Doubt.SLOW, id="a page that does not come"),
    ],
)
def test_nobody_can_judge(line: BrowserLine, stage: Stage, page: str, doubt: Doubt) -> None:
    assert read(line, stage, page, detection_timeout_s=1.0, detection_retries=0).reason is doubt


@pytest.mark.parametrize(
    ("page", "login", "method"),
    [
        pytest.param("logged_in&info=garbage", Login.LOGGED_IN, "page_state", id="an info call with garbage"),
        pytest.param("logged_in&info=hang", Login.LOGGED_IN, "page_state", id="an info call that hangs"),
        pytest.param("logged_in&info=500", Login.LOGGED_IN, "page_state", id="an info call that fails"),
        pytest.param("to_login", Login.LOGGED_OUT, "redirect", id="a site that leads to its login page"),
    ],
)
def test_the_other_sources_do_where_one_is_missing(
    line: BrowserLine, stage: Stage, page: str, login: Login, method: str
) -> None:
    verdict = read(line, stage, page, negative_grace_s=0.5)

    assert (verdict.login, verdict.method) == (login, method)


def test_a_shell_page_is_not_taken_for_logged_out(line: BrowserLine, stage: Stage, other: Pages) -> None:
    assert read(line, stage, f"{other.url}/shell").login is Login.LOGGED_IN


def test_a_shell_that_comes_late_is_not_taken_for_logged_out(
    line: BrowserLine, stage: Stage, other: Pages
) -> None:
    verdict = read(
        line,
        stage,
        f"{other.url}/slow_shell",
        negative_grace_s=1.0,
        detection_retries=0,
        detection_timeout_s=2.5,
    )

    # The page itself says "no user": with the call's word that is a conflict, which nobody is logged out by.
    assert (verdict.login, verdict.reason) == (Login.UNCERTAIN, Doubt.CONFLICT)


def test_a_login_page_that_is_being_left_is_not_taken_for_logged_out(
    line: BrowserLine, stage: Stage, other: Pages
) -> None:
    verdict = read(line, stage, f"{other.url}/leaving", negative_grace_s=2.0, detection_timeout_s=15)

    assert (verdict.login, verdict.method) == (Login.LOGGED_IN, "page_state")


def test_a_page_without_a_user_is_logged_out_once_that_has_lasted(
    line: BrowserLine, stage: Stage, other: Pages
) -> None:
    verdict = read(line, stage, f"{other.url}/nobody", negative_grace_s=0.5)

    assert (verdict.login, verdict.method) == (Login.LOGGED_OUT, "page_state")
    assert verdict.ms >= 500


def test_a_cookie_for_https_alone_is_seen_from_an_address_with_http(line: BrowserLine, stage: Stage) -> None:
    target = line.call("Target.createTarget", {"url": "about:blank"})["targetId"]
    tab = Tab(line, target)
    cookie = {"name": "sessionid", "value": "x", "domain": ".tiktok.test", "path": "/", "secure": True}
    tab.call("Network.setCookie", cookie)

    def seen(url: str, page: str = "") -> bool | None:
        detection = Detection(
            tab=tab, url=url, settings=stage.make_settings(), is_over=lambda: False, wait=pause
        )
        return detection._cookie(page, None)

    assert seen("http://www.tiktok.test/") is True
    assert seen("http://another.test/") is False
    assert seen("http://another.test/", "http://www.tiktok.test/") is False  # not one of ours
    line.call("Target.closeTarget", {"targetId": target})


# -- events --------------------------------------------------------------------------------------------------


class FakeTab:
    """Answers every request for a body with the same text."""

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        del params
        if method != "Network.getResponseBody":
            raise TabBusy
        return {"body": USER}


def view_of(*events: Event) -> NetworkView:
    found = NetworkView(MARKERS, ("127.0.0.1",), "main")
    found.feed(list(events), cast("Tab", FakeTab()))
    return found


def feed(view: NetworkView, *events: Event) -> NetworkView:
    view.feed(list(events), cast("Tab", FakeTab()))
    return view


def asked(request: str, path: str, kind: str = "Fetch") -> Event:
    message = {"url": f"http://127.0.0.1{path}", "method": "OPTIONS" if kind == "Preflight" else "GET"}
    return "Network.requestWillBeSent", {
        "requestId": request, "loaderId": f"L{request}", "frameId": "main", "type": kind, "request": message,
    }  # fmt: skip


def answered(request: str, path: str, kind: str = "Fetch", status: int = 200) -> Event:
    response = {"url": f"http://127.0.0.1{path}", "status": status}
    return "Network.responseReceived", {
        "requestId": request, "frameId": "main", "type": kind, "response": response,
    }  # fmt: skip


def finished(request: str) -> Event:
    return "Network.loadingFinished", {"requestId": request}


def failed(request: str, error: str = "net::ERR_ABORTED") -> Event:
    return "Network.loadingFailed", {"requestId": request, "errorText": error}


PAGE = (asked("1", "/", "Document"), answered("1", "/", "Document"))


def test_an_info_call_is_pending_from_its_request_to_its_last_byte() -> None:
    view = view_of(*PAGE, asked("2", INFO_PATH))
    assert view.info_pending
    assert feed(view, answered("2", INFO_PATH)).info_pending

    feed(view, finished("2"))

    assert (view.info_pending, view.info_login, view.username) == (False, True, "demo")


@pytest.mark.parametrize("end", [failed("2"), answered("2", "/elsewhere"), *PAGE[1:]])
def test_an_info_call_that_comes_to_nothing_is_not_pending(end: Event) -> None:
    assert not view_of(*PAGE, asked("2", INFO_PATH), end).info_pending


def test_the_question_whether_the_info_call_may_be_made_is_not_the_call() -> None:
    view = view_of(*PAGE, asked("2", INFO_PATH, "Preflight"), answered("2", INFO_PATH, "Preflight", 403))

    assert (view.info_pending, view.info_status) == (False, None)


def test_a_page_that_is_being_left_has_no_status_and_no_address() -> None:
    view = view_of(*PAGE, asked("2", "/next", "Document"))

    assert (view.page_status, view.page_url, view.loader) == (None, "", "L2")


def test_a_download_leaves_the_page_as_it_was() -> None:
    view = view_of(*PAGE, asked("2", "/file", "Document"), failed("2"))

    assert (view.page_status, view.page_url, view.loader) == (200, "http://127.0.0.1/", "L1")


# -- a tab of our own ----------------------------------------------------------------------------------------


def test_a_question_is_answered_by_the_server_and_by_no_older_answer(
    line: BrowserLine, stage: Stage, other: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, object]] = []
    call = Tab.call

    def listen(self: Tab, method: str, params: dict[str, Any], within_s: float = 2.0) -> dict[str, Any]:
        said.append((method, params))
        return call(self, method, params, within_s)

    monkeypatch.setattr(Tab, "call", listen)
    read(line, stage, f"{other.url}/late")

    assert ("Network.setBypassServiceWorker", {"bypass": True}) in said
    assert ("Network.setCacheDisabled", {"cacheDisabled": True}) in said
