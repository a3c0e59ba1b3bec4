"""Reading the login state of pages, all in one real Chromium; and what the network's events come to."""

import contextlib
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, cast

import pytest

from adapters.browser import asking
from adapters.browser.asking import read_login
from adapters.browser.clocks import now
from adapters.browser.devtools import BrowserLine, Event
from adapters.browser.facts import Detection
from adapters.browser.network import NetworkView
from adapters.browser.tabs import Tab, TabBusy
from adapters.simulator.site import PAGES
from config.login_markers import load_markers
from daemon.domain.login import Doubt, Login, LoginFacts, Verdict
from daemon.session_parts import _markers
from tests.integration import browser_stage
from tests.integration.browser_stage import INFO_PATH, MARKERS, Pages, Stage
from tests.site_facts import SAVED, Saved
from tests.waiting import wait_until

BUILT_IN = _markers(load_markers(None), None)
NAMES = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"  # the site's two
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
    with browser_stage.line(NAMES) as found:
        yield found


def read(line: BrowserLine, stage: Stage, page: str, **settings: Any) -> Verdict:
    url = page if "://" in page else f"{stage.url}/?page={page}"
    return read_login(line, url, stage.make_settings(**settings), lambda: False)


# -- pages ---------------------------------------------------------------------------------------------------


def test_every_page_of_the_site_has_its_facts() -> None:
    assert {found.page for found in SAVED.values()} == set(PAGES)


@pytest.fixture
def visit(line: BrowserLine, stage: Stage, request: pytest.FixtureRequest) -> Saved:
    """A saved page, and a browser that is a guest's or a member's as it says."""
    found: Saved = SAVED[request.param]
    line.call("Storage.clearCookies")
    if found.is_member:
        sessionid = post(f"{stage.url}/_simulator/site/login", {"user": "demo"})["sessionid"]
        cookie = {"name": "sessionid", "value": sessionid, "url": stage.url, "httpOnly": True}
        line.call("Storage.setCookies", {"cookies": [cookie]})
    return found


def post(url: str, body: dict[str, str]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize("visit", SAVED, indirect=True)
def test_a_page_of_the_site_shows_the_facts_that_were_saved(
    line: BrowserLine, stage: Stage, visit: Saved
) -> None:
    assert facts_of(line, stage, f"{stage.url}/{visit.query}", visit.facts) == visit.facts


def facts_of(line: BrowserLine, stage: Stage, url: str, wanted: LoginFacts) -> LoginFacts:
    """Look at a page until it shows what is wanted, but not for ever; return what it shows."""
    settings, found = stage.make_settings(markers=BUILT_IN), LoginFacts()
    target = asking._own_tab(line)
    tab = Tab(line, target)
    detection = Detection(tab=tab, url=url, settings=settings, is_over=lambda: False)
    view = NetworkView(settings.markers, detection._hosts(), detection._prepare())

    def look() -> bool:
        nonlocal found
        found = detection._look(view, found)
        return found == wanted

    asking._navigate(tab, url)
    with contextlib.suppress(AssertionError):
        wait_until(look, 4)
    line.call("Target.closeTarget", {"targetId": target})
    return found


@pytest.mark.parametrize("visit", SAVED, indirect=True)
def test_a_page_of_the_site_is_judged_as_its_saved_facts_are(
    line: BrowserLine, stage: Stage, visit: Saved
) -> None:
    verdict = read(
        line, stage, f"{stage.url}/{visit.query}", markers=BUILT_IN, detection_timeout_s=2.0, detection_retries=0,
        negative_grace_s=0.5,
    )  # fmt: skip

    assert (verdict.login, verdict.reason) == (visit.login, visit.reason)
    assert verdict.evidence


def test_a_site_that_is_down_is_unreachable(line: BrowserLine, stage: Stage) -> None:
    verdict = read(line, stage, "http://127.0.0.1:8099/", detection_timeout_s=1.0, detection_retries=0)

    assert verdict.reason is Doubt.UNREACHABLE


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


# -- looking once more ---------------------------------------------------------------------------------------


def test_a_page_that_tells_only_when_it_is_loaded_again_is_loaded_again(
    line: BrowserLine, stage: Stage, other: Pages
) -> None:
    other.asked.clear()

    verdict = read(line, stage, f"{other.url}/second", detection_timeout_s=3.0)

    assert (verdict.login, verdict.method) == (Login.LOGGED_IN, "page_state")
    assert verdict.ms > 1500  # the half of the time was the first look's
    assert other.asked.count("/second") == 2


def test_a_page_that_tells_nothing_is_loaded_again_once_and_within_the_time(
    line: BrowserLine, stage: Stage, other: Pages
) -> None:
    other.asked.clear()

    verdict = read(line, stage, f"{other.url}/nothing", detection_timeout_s=3.0)

    assert (verdict.reason, other.asked.count("/nothing")) == (Doubt.NO_EVIDENCE, 2)
    assert 2900 < verdict.ms < 4500


def test_a_page_that_hangs_costs_no_more_than_the_time_and_the_evidence_tells_all_of_it(
    line: BrowserLine, stage: Stage, other: Pages
) -> None:
    verdict = read(line, stage, f"{other.url}/busy", detection_timeout_s=2.0)

    assert (verdict.reason, verdict.ms < 6000) == (Doubt.SLOW, True)
    assert re.match(r"page not complete after [2-5]\.\d s", verdict.evidence[0])


def test_a_challenge_is_left_as_it_is(line: BrowserLine, stage: Stage, other: Pages) -> None:
    other.asked.clear()

    verdict = read(line, stage, f"{other.url}/captcha", detection_timeout_s=2.0)

    assert (verdict.reason, other.asked.count("/captcha")) == (Doubt.CHALLENGE, 1)


# -- pages that are under way --------------------------------------------------------------------------------


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
        detection = Detection(tab=tab, url=url, settings=stage.make_settings(), is_over=lambda: False)
        view = NetworkView(BUILT_IN, (), "main", page_url=page)
        return detection._look(view, LoginFacts()).cookie

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


def test_an_answer_that_came_while_the_page_was_asked_is_not_waited_for(stage: Stage) -> None:
    class Listening(FakeTab):
        waited = 0

        def __init__(self) -> None:
            self.came = [answered("2", INFO_PATH), finished("2")]

        def events(self) -> list[Event]:
            came, self.came = self.came, []
            return came

        def wait(self, seconds: float) -> None:
            self.waited += 1
            time.sleep(seconds)

    tab, view = Listening(), view_of(*PAGE, asked("2", INFO_PATH))
    url, settings = f"http://127.0.0.1{INFO_PATH}", stage.make_settings()
    detection = Detection(tab=cast("Tab", tab), url=url, settings=settings, is_over=lambda: False)

    detection._await_news(view, now() + 5)

    assert (view.info_login, tab.waited) == (True, 0)


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
