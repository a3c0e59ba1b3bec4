"""The simulated website over real HTTP, one cookie jar for each browser, and in a real Chromium."""

import json
import re
import shutil
import subprocess
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any

import pytest
import requests

from adapters.simulator.site import INFOS, PAGES
from tests.integration.test_simulator import started
from tests.integration.test_simulator_life import restart

INFO = "/passport/web/account/info/"
STUDIO = "/tiktokstudio/upload"
STATE_ID = "__UNIVERSAL_DATA_FOR_REHYDRATION__"
GUEST_COOKIES = {"ttwid", "msToken", "tt_chain_token", "tt_csrf_token", "odin_tt"}
EXPIRED = {
    "message": "error",
    "data": {
        "error_code": 13,
        "name": "session_expired",
        "description": "session expired, please sign in again",
    },
}
MARKERS = ("data-e2e", "captcha", STATE_ID, INFO)
DAYS_60_S = 60 * 86_400
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


class Browser:
    """A cookie jar that follows no redirect by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def get(self, path: str = "/", timeout: float = 10, **query: str) -> requests.Response:
        return self.session.get(self.url + path, params=query, timeout=timeout, allow_redirects=False)

    def post(self, path: str, timeout: float = 10, **form: str) -> requests.Response:
        return self.session.post(self.url + path, data=form, timeout=timeout, allow_redirects=False)

    def log_in(self, user: str = "demo") -> "Browser":
        assert self.post("/login", username=user, password="anything").status_code == 303
        return self

    def put_cookie(self, name: str, value: str) -> "Browser":
        self.session.cookies.set(name, value, domain="127.0.0.1", path="/")
        return self

    def cookie(self, name: str) -> Cookie:
        return next(cookie for cookie in self.session.cookies if cookie.name == name)

    def info(self, **query: str) -> Any:
        return self.get(INFO, **query).json()

    def follow(self, page: requests.Response) -> Any:
        """Make the info call that the page's script would make."""
        return self.session.get(self.url + plan_of(page)["infoUrl"], timeout=10).json()


def json_in(page: requests.Response, name: str) -> Any:
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', page.text, re.DOTALL)
    assert found is not None, page.text
    return json.loads(found[1])


def plan_of(page: requests.Response) -> Any:
    return json_in(page, "simulation-plan")


def user_of(page: requests.Response) -> Any:
    return json_in(page, STATE_ID)["__DEFAULT_SCOPE__"]["webapp.app-context"].get("user")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with started(tmp_path_factory.mktemp("site"), "--user", "demo", "--user", "other") as driver:
        yield driver


@pytest.fixture
def simulator(running):
    running.console("reset")
    return running


@pytest.fixture
def browser(simulator):
    return Browser(simulator.url)


# --- the home page


def test_a_guest_sees_the_logged_out_page(browser):
    page = browser.get()

    assert user_of(page) is None
    assert plan_of(page)["account"] is None
    assert browser.follow(page) == EXPIRED


def test_after_a_login_the_page_and_the_info_call_name_the_same_account(browser):
    page = browser.log_in().get()

    user, info = user_of(page), browser.follow(page)["data"]
    assert (user["uniqueId"], user["nickname"]) == ("demo_creator", "Demo Creator")
    assert (info["username"], info["screen_name"]) == ("demo_creator", "Demo Creator")
    assert (user["uid"], user["secUid"]) == (info["user_id_str"], info["sec_user_id"])
    assert str(info["user_id"]) == info["user_id_str"]


def test_the_page_state_has_the_context_of_every_guest(browser):
    context = json_in(browser.get(), STATE_ID)["__DEFAULT_SCOPE__"]["webapp.app-context"]

    assert all(context[name] for name in ("wid", "odinId", "csrfToken"))


def test_the_plain_page_makes_the_info_call_of_the_real_site(browser):
    url = plan_of(browser.get())["infoUrl"]

    assert url == f"{INFO}?aid=1459&app_language=en&device_platform=web_pc"


def test_every_page_sets_the_guest_cookies(simulator):
    for name in PAGES:
        browser = Browser(simulator.url)
        browser.get(page=name, delay_ms="0")

        assert set(browser.session.cookies.keys()) == GUEST_COOKIES, name


def test_a_guest_keeps_the_cookies_it_has(browser):
    browser.get()
    before = browser.session.cookies.get_dict()

    browser.get()

    assert browser.session.cookies.get_dict() == before


@pytest.mark.parametrize("path", ["/", INFO, "/login", "/logout", STUDIO, "/elsewhere", "/?page=500"])
def test_every_answer_is_marked_as_simulated(browser, path):
    assert browser.get(path).headers["X-Tokd-Simulator"] == "simulated"


@pytest.mark.parametrize("path", ["/", "/login", "/elsewhere", "/?page=challenge", "/?page=500"])
def test_every_page_says_that_it_is_a_simulation(browser, path):
    assert "Simulation. This is not TikTok" in browser.get(path).text


def test_no_page_loads_anything_from_outside(browser):
    for name in PAGES:
        page = browser.get(page=name, delay_ms="0")

        assert "//" not in page.text, name
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_unknown_page_is_404_and_names_the_known_ones(browser):
    answer = browser.get(page="nope")

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
    assert all(name in answer.text for name in PAGES)


def test_an_unknown_page_name_is_not_repeated_at_length(browser):
    assert len(browser.get(page="x" * 5000).text) < 500


def test_forced_logged_in_needs_no_login_and_the_info_call_agrees(browser):
    page = browser.get(page="logged_in")

    assert user_of(page)["uniqueId"] == "demo_creator"
    assert browser.follow(page)["data"]["username"] == "demo_creator"


def test_forced_logged_in_is_the_one_who_is_logged_in(browser):
    assert user_of(browser.log_in("other").get(page="logged_in"))["uniqueId"] == "other_creator"


def test_forced_logged_out_hides_a_login_and_the_info_call_agrees(browser):
    page = browser.log_in().get(page="logged_out")

    assert user_of(page) is None
    assert browser.follow(page) == EXPIRED


def test_in_a_conflict_the_page_is_logged_in_and_the_info_call_is_not(browser):
    page = browser.log_in().get(page="conflict")

    assert user_of(page)["uniqueId"] == plan_of(page)["account"]["uniqueId"] == "demo_creator"
    assert browser.follow(page) == EXPIRED


@pytest.mark.parametrize(("name", "message"), [("logged_in", "success"), ("conflict", "error")])
def test_a_probe_from_within_a_forced_page_agrees_with_it(browser, name, message):
    answer = browser.session.get(
        browser.url + INFO, headers={"Referer": f"{browser.url}/?page={name}"}, timeout=10
    )

    assert answer.json()["message"] == message


@pytest.mark.parametrize("referer", ["http://[", "x?" + "&".join(["a=1"] * 30), "http://a/?page=nope"])
def test_an_odd_referer_does_not_matter(browser, referer):
    answer = browser.session.get(browser.url + INFO, headers={"Referer": referer}, timeout=10)

    assert answer.json() == EXPIRED


@pytest.mark.parametrize("status", ["401", "403", "429", "500"])
def test_an_error_page_has_its_status_and_no_marker(browser, status):
    answer = browser.log_in().get(page=status)

    assert answer.status_code == int(status)
    assert [marker for marker in MARKERS if marker in answer.text.partition("</style>")[2]] == []


def test_the_neither_page_has_no_marker_and_no_info_call(browser):
    answer = browser.log_in().get(page="neither")

    assert answer.status_code == 200
    assert [marker for marker in MARKERS if marker in answer.text.partition("</style>")[2]] == []


def test_the_challenge_has_the_captcha_and_no_other_marker(browser):
    page = browser.log_in().get(page="challenge").text

    assert (
        '<div class="captcha-verify-container" id="captcha-verify-container-main-page" data-e2e="captcha">'
        in page
    )
    assert page.count("data-e2e") == 1
    assert not [marker for marker in (STATE_ID, INFO) if marker in page]


def test_under_a_challenge_no_info_call_succeeds(browser):
    browser.log_in().put_cookie("sim_page", "challenge")

    assert browser.get(INFO).status_code == 403


def test_the_skeleton_has_a_login_button_and_no_page_state(browser):
    page = browser.log_in().get(page="skeleton")

    assert '<button id="header-login-button" data-e2e="top-login-button"' in page.text.partition("<script")[0]
    assert f'id="{STATE_ID}"' not in page.text


def test_the_skeleton_swaps_when_the_info_call_is_answered(browser):
    plan = plan_of(browser.log_in().get(page="skeleton", swap_ms="250"))

    answer = browser.get(plan["infoUrl"])

    assert plan["putMs"] == 250
    assert answer.elapsed.total_seconds() >= 0.25
    assert answer.json()["message"] == "success"


def test_the_skeleton_swaps_after_600_ms_unless_told(browser):
    assert plan_of(browser.get(page="skeleton"))["putMs"] == 600


def test_a_slow_page_is_late_by_what_was_asked(browser):
    answer = browser.log_in().get(page="slow", delay_ms="300")

    assert answer.elapsed.total_seconds() >= 0.3
    assert user_of(answer)["uniqueId"] == "demo_creator"


def test_a_slow_page_takes_seconds_unless_told(browser):
    with pytest.raises(requests.ReadTimeout):
        browser.get(page="slow", timeout=1)


@pytest.mark.parametrize(("asked", "used"), [("40", 40), ("-5", 0), ("99999999", 60_000)])
def test_waits_are_bounded(browser, asked, used):
    assert plan_of(browser.get(dom_ms=asked))["putMs"] == used


@pytest.mark.parametrize(
    "query", [{"dom_ms": "soon"}, {"page": "slow", "delay_ms": ""}, {"dom_ms": "1" * 5000}]
)
def test_a_wait_that_is_no_number_is_refused(browser, query):
    assert browser.get(**query).status_code == 400


def test_off_site_leads_to_another_host_name(browser):
    target = browser.get(page="off_site").headers["Location"]

    assert target == browser.url.replace("127.0.0.1", "localhost") + "/elsewhere"
    assert "Another site" in browser.get("/elsewhere").text


def test_off_site_leads_back_from_the_other_name(browser):
    answer = browser.session.get(
        f"{browser.url}/?page=off_site", headers={"Host": "localhost"}, timeout=10, allow_redirects=False
    )

    assert answer.headers["Location"] == f"{browser.url}/elsewhere"


def test_to_login_leads_to_the_form(browser):
    answer = browser.get(page="to_login")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")


def test_browsers_with_different_cookies_see_different_pages(simulator):
    names = ("401", "neither", "logged_in")
    browsers = [Browser(simulator.url).put_cookie("sim_page", name) for name in names]

    pages = [browser.get() for browser in browsers]

    assert [page.status_code for page in pages] == [401, 200, 200]
    assert [STATE_ID in page.text for page in pages] == [False, False, True]


def test_the_query_outweighs_the_cookie(browser):
    browser.put_cookie("sim_page", "500")

    assert browser.get(page="neither").status_code == 200


def test_an_unknown_page_in_the_cookie_is_404(browser):
    assert browser.put_cookie("sim_page", "nope").get().status_code == 404


# --- the info call


def test_a_forged_login_is_answered_like_none(browser):
    browser.put_cookie("sessionid", "0" * 32)

    assert browser.info() == EXPIRED
    assert user_of(browser.get()) is None


@pytest.mark.parametrize("status", ["401", "403", "429", "500"])
def test_the_info_call_can_fail_with_a_status(browser, status):
    assert browser.log_in().get(INFO, info=status).status_code == int(status)


def test_the_info_call_can_answer_garbage(browser):
    answer = browser.log_in().get(INFO, info="garbage")

    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_the_info_call_can_hang(browser):
    with pytest.raises(requests.ReadTimeout):
        browser.get(INFO, info="hang", timeout=1)


def test_browsers_with_different_cookies_get_different_info(simulator):
    browsers = [Browser(simulator.url).put_cookie("sim_info", name) for name in ("429", "200")]

    assert [browser.get(INFO).status_code for browser in browsers] == [429, 200]


def test_the_home_page_hands_its_info_variant_through(browser):
    plan = plan_of(browser.get(page="logged_in", info="403"))

    assert browser.get(plan["infoUrl"]).status_code == 403


@pytest.mark.parametrize("path", ["/", INFO])
def test_unknown_info_is_404_and_names_the_known_ones(browser, path):
    answer = browser.get(path, info="nope")

    assert answer.status_code == 404
    assert all(name in answer.text for name in INFOS)


def test_unknown_force_is_404(browser):
    assert browser.get(INFO, force="up").status_code == 404


# --- login and logout


def test_login_sets_two_hidden_lasting_cookies_and_leads_home(browser):
    answer = browser.post("/login", username="demo", password="x")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    for name in ("sessionid", "sessionid_ss"):
        cookie = browser.cookie(name)
        assert cookie.value == browser.cookie("sessionid").value
        assert cookie.expires is not None
        assert not cookie.discard
        assert cookie.path == "/"
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite", "").lower() == "lax"
    assert f"Max-Age={DAYS_60_S}" in answer.headers["Set-Cookie"]


def test_each_login_has_its_own_session(simulator):
    first, second = (Browser(simulator.url).log_in() for _ in range(2))

    assert first.cookie("sessionid").value != second.cookie("sessionid").value


def test_an_unknown_user_gets_the_form_again_with_an_error(browser):
    answer = browser.post("/login", username="nobody", password="x")

    assert answer.status_code == 200
    assert 'data-e2e="login-error"' in answer.text
    assert 'value="nobody"' in answer.text
    assert "sessionid" not in browser.session.cookies


def test_the_login_form_can_be_used_with_keys_only(browser):
    page = browser.get("/login").text
    fields = re.findall(r"<(?:input|button)[^>]*>", page)

    assert ["username" in fields[0], "password" in fields[1], "submit" in fields[2]] == [True] * 3
    assert "autofocus" in fields[0]
    assert 'data-e2e="login-error"' not in page


def test_a_user_name_is_escaped_in_the_form(browser):
    page = browser.post("/login", username='"><script>alert(1)</script>', password="x").text

    assert "<script>alert" not in page
    assert "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_an_accounts_names_are_escaped_in_the_pages(simulator, browser):
    nickname = "<!--</script ><b>&amp;\u2028"
    simulator.console("users", {"name": "demo", "nickname": nickname, "username": "<i>"})
    browser.log_in()

    page, studio = browser.get(), browser.get(STUDIO)

    assert user_of(page)["nickname"] == plan_of(page)["account"]["nickname"] == nickname
    assert [text for text in ("<!--", "</script ", "<b>", "<i>") if text in page.text] == []
    assert "&lt;!--&lt;/script &gt;&lt;b&gt;" in studio.text


def test_a_login_body_is_bounded(browser):
    assert browser.post("/login", username="demo", password="x" * 5000).status_code == 413


def test_a_login_leads_nowhere_else(browser):
    answer = browser.post(
        "/login?next=http://localhost/&redirect_url=//x", username="demo", password="x", next="//x"
    )

    assert answer.headers["Location"] == "/"


@pytest.mark.parametrize("method", ["get", "post"])
def test_logout_ends_the_login_and_takes_the_cookies(browser, method):
    sessionid = browser.log_in().cookie("sessionid").value

    answer = getattr(browser, method)("/logout")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert not {"sessionid", "sessionid_ss"} & set(browser.session.cookies.keys())
    assert browser.put_cookie("sessionid", sessionid).info() == EXPIRED


def test_logout_leaves_other_browsers_logged_in(simulator):
    first, second = (Browser(simulator.url).log_in() for _ in range(2))

    first.get("/logout")

    assert second.info()["message"] == "success"


def test_logout_without_a_login_is_harmless(browser):
    assert browser.get("/logout").status_code == 303


def test_the_studio_stays_for_who_is_logged_in(browser):
    assert browser.log_in().get(STUDIO).status_code == 200


def test_the_studio_sends_a_guest_to_the_login(browser):
    answer = browser.get(STUDIO)

    assert (answer.status_code, answer.headers["Location"]) == (302, f"/login?redirect_url={STUDIO}")


@pytest.mark.parametrize(("name", "status"), [("logged_in", 200), ("logged_out", 302)])
def test_the_studio_agrees_with_the_page_a_cookie_forces(browser, name, status):
    browser.put_cookie("sim_page", name)

    assert browser.get(STUDIO).status_code == status


def test_a_login_ends_after_60_days(simulator, browser):
    browser.log_in()

    simulator.console("clock", {"advance_seconds": DAYS_60_S})

    assert browser.info() == EXPIRED


# --- the console, the ledger, and a restart


def test_a_login_can_be_made_without_a_browser(simulator, browser):
    sessionid = simulator.console("site/login", {"user": "other"})["sessionid"]

    assert browser.put_cookie("sessionid", sessionid).info()["data"]["username"] == "other_creator"


def test_revoked_logins_leave_a_cookie_that_is_worth_nothing(simulator, browser):
    browser.log_in()

    assert simulator.console("site/revoke", {"user": "demo"}) == {"revoked": 1}

    assert browser.cookie("sessionid").value
    assert browser.info() == EXPIRED


def test_revoking_one_user_leaves_the_others(simulator, browser):
    browser.log_in("other")

    simulator.console("site/revoke", {"user": "demo"})

    assert browser.info()["message"] == "success"


@pytest.mark.parametrize("path", ["site/login", "site/revoke"])
def test_the_console_knows_no_login_of_an_unknown_user(simulator, path):
    assert simulator.post(f"/_simulator/{path}", {"user": "nobody"}).status_code == 404


def test_the_console_lists_live_logins_and_counts_requests(simulator, browser):
    browser.log_in()
    browser.get(info="403")
    browser.get(page="500")

    seen = simulator.session.get(f"{simulator.url}/_simulator/site", timeout=10).json()

    assert [login["user"] for login in seen["logins"]] == ["demo"]
    assert seen["logins"][0]["created"] > 0
    assert seen["requests"] == {"/login": 1, "/": 2}


def test_reset_forgets_logins_and_counts(simulator, browser):
    browser.log_in()

    simulator.console("reset")

    seen = simulator.session.get(f"{simulator.url}/_simulator/site", timeout=10).json()
    assert seen == {"logins": [], "requests": {}}
    assert browser.info() == EXPIRED


def test_the_ledger_has_logins_logouts_and_revocations_only(simulator, browser):
    browser.get()
    browser.log_in().info()
    browser.get("/logout")
    simulator.console("site/revoke", {"user": "demo"})

    ledger = simulator.ledger()

    assert [row["action"] for row in ledger["site"]] == ["login", "logout", "revoke"]
    assert ledger["calls"] == {}


def test_the_ledger_holds_no_session(simulator, browser):
    sessionid = browser.log_in().cookie("sessionid").value

    assert sessionid not in (simulator.state_dir / "ledger.jsonl").read_text()


def test_the_website_is_outside_the_fault_script(simulator, browser):
    simulator.fault("*", "drop")

    assert browser.get().status_code == 200


@pytest.mark.parametrize("kill", [False, True])
def test_logins_survive_a_restart_and_ended_ones_stay_ended(tmp_path, kill):
    with started(tmp_path) as simulator:
        live, ended = (Browser(simulator.url).log_in() for _ in range(2))
        cookie = ended.cookie("sessionid").value
        ended.get("/logout")

        restart(simulator, kill=kill)

        assert live.info()["message"] == "success"
        assert ended.put_cookie("sessionid", cookie).info() == EXPIRED


# --- a real browser


def dom_of(url: str, profile: Path) -> str:
    """Return the document's markers as Chromium has them in the end."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=3000",
            f"--user-data-dir={profile}", "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    return re.sub(r"<script.*?</script>|<style.*?</style>", "", done.stdout, flags=re.DOTALL)


def markers_in(dom: str) -> set[str]:
    return set(re.findall(r'data-e2e="([^"]*)"', dom))


def log_in_by_page(url: str, folder: Path, profile: Path) -> str:
    """Log Chromium in by a page that submits the form, and return where it ended."""
    page = folder / "login.html"
    page.write_text(
        f'<form method="post" action="{url}/login"><input name="username" value="demo"></form>'
        "<script>document.forms[0].submit()</script>"
    )
    return dom_of(page.as_uri(), profile)


@needs_chromium
def test_chromium_ends_with_the_logged_in_markers(simulator, tmp_path):
    dom = dom_of(f"{simulator.url}/?page=logged_in", tmp_path)

    assert markers_in(dom) == {"profile-icon", "inbox-icon", "nav-profile", "upload-icon"}
    assert re.search(r'<a [^>]*data-e2e="nav-profile" href="/@demo_creator"', dom)


@needs_chromium
def test_chromium_ends_with_the_logged_out_markers(simulator, tmp_path):
    dom = dom_of(f"{simulator.url}/?page=logged_out", tmp_path)

    assert markers_in(dom) == {"top-login-button", "nav-login-button", "nav-profile", "upload-icon"}
    assert re.search(r'<button id="header-login-button" data-e2e="top-login-button"[^>]*>Log in<', dom)
    assert re.search(r'<a [^>]*data-e2e="nav-profile" href="/@"', dom)


@needs_chromium
def test_chromium_makes_the_info_call_on_load(simulator, tmp_path):
    dom_of(simulator.url, tmp_path)

    seen = simulator.session.get(f"{simulator.url}/_simulator/site", timeout=10).json()
    assert seen["requests"][INFO] == 1


@needs_chromium
def test_chromium_keeps_its_login_and_sees_the_skeleton_swap(simulator, tmp_path):
    assert "profile-icon" in markers_in(log_in_by_page(simulator.url, tmp_path, tmp_path / "profile"))

    dom = dom_of(f"{simulator.url}/?page=skeleton", tmp_path / "profile")

    assert markers_in(dom) == {"profile-icon", "inbox-icon", "nav-profile", "upload-icon"}
