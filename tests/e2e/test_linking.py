"""Linking for real: a command line, a real browser on the simulator's consent page, the callback, a post; and crashes.

What must never happen (S16): tokens in the database that do not belong there, or half an account. The database is
read by an independent reader.
"""

import contextlib
import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from daemon import failpoints
from tests.brokers import free_port
from tests.daemons import ROOT, Daemon, Simulator, make_clip
from tests.e2e.stage import BUSY, LIMITLESS
from tests.waiting import wait_until

CONSENT = '[data-e2e="authorize-button"]'
CANCEL = '[data-e2e="cancel-button"]'
PATIENCE_S = 60.0


class Stage:
    """A simulator and a daemon with HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.simulator = Simulator(
            folder / "simulator", "--discard-uploads", "--user", "demo", "--user", "bob"
        )
        self.simulator.post("settings", LIMITLESS)
        self.port = free_port()
        settings = BUSY | {
            "http.port": str(self.port),
            "tiktok.authorize_url": f"{self.simulator.url}/v2/auth/authorize/",
            "log.level": "debug",
        }
        self.daemon = Daemon(folder / "tokd", settings).use_simulator(self.simulator)
        make_clip(self.daemon.media / "clip.mp4")

    def begin(self, account: str) -> dict[str, Any]:
        found: dict[str, Any] = self.daemon.call("account/link", {"account": account})["result"]
        return found

    def agree(self, begun: dict[str, Any], user: str) -> dict[str, str]:
        """Agree without a browser; return the query of the callback."""
        answer = requests.get(
            f"{begun['auth_url']}&_simulator_user={user}", allow_redirects=False, timeout=30
        )
        query = parse_qs(urlsplit(answer.headers["Location"]).query)
        return {name: values[0] for name, values in query.items()}

    def come_back(self, query: dict[str, str]) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}/tiktok/callback"
        return requests.get(url, params=query, headers={"Sec-Fetch-Site": "cross-site"}, timeout=PATIENCE_S)

    def link(self, account: str, user: str) -> None:
        assert self.come_back(self.agree(self.begin(account), user)).status_code == 200

    def tokens(self) -> dict[str, tuple[str, bool]]:
        """Return each account's login and whether it has tokens, as they stand in the database."""
        rows = self.daemon.rows("SELECT name, login, access_token || refresh_token FROM account")
        return {name: (login, bool(tokens)) for name, login, tokens in rows}

    def live_tokens(self, user: str) -> int:
        """Return how many tokens of a user TikTok would take."""
        database = self.folder / "simulator" / "state.sqlite3"
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as rows:
            found = [
                json.loads(body) for (body,) in rows.execute("SELECT body FROM record WHERE kind = 'token'")
            ]
        return sum(token["user"] == user for token in found)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("linking"))
    stage.daemon.start()
    yield stage
    stage.daemon.kill()
    stage.simulator.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in (
        "--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={folder / 'profile'}",
        *(() if os.geteuid() else ("--no-sandbox",)),
    ):  # fmt: skip
        options.add_argument(word)
    found = webdriver.Chrome(options, Service(str(shutil.which("chromedriver"))))
    found.set_page_load_timeout(PATIENCE_S)
    yield found
    found.quit()


def text_of(browser: webdriver.Chrome) -> str:
    with contextlib.suppress(Exception):  # the page may be on its way to another
        return browser.find_element(By.TAG_NAME, "body").text
    return ""


@contextlib.contextmanager
def tokd(stage: Stage, *words: str) -> Iterator["subprocess.Popen[str]"]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TOKD_", "DISPLAY"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", "--set", f"daemon.state_dir={stage.daemon.state_dir}", *words],
        cwd=stage.folder, env=environ | {"PYTHONPATH": str(ROOT)}, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_person_links_an_account_in_a_browser_and_a_post_goes_out(
    stage: Stage, browser: webdriver.Chrome
) -> None:
    with tokd(stage, "account", "link", "shop", "--no-open") as process:
        assert process.stdout is not None
        browser.get(process.stdout.readline().strip())
        browser.find_element(By.CSS_SELECTOR, CONSENT).click()
        wait_until(lambda: "shop is linked" in text_of(browser), PATIENCE_S, what=lambda: text_of(browser))
        out, err = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, out) == (0, "account shop is linked\n"), err
    assert browser.current_url == f"http://127.0.0.1:{stage.port}/tiktok/callback"
    assert stage.tokens() == {"shop": ("ok", True)}
    post = stage.daemon.schedule(account="shop")["result"]["post"]
    stage.daemon.wait_state(post, "published", within_s=PATIENCE_S)


def test_tokens_that_ended_are_renewed_once_for_many_posts(stage: Stage) -> None:
    stage.simulator.post("expire", {"user": "demo", "what": "access"})
    posts = [stage.daemon.schedule(account="shop")["result"]["post"] for _ in range(16)]

    for post in posts:
        stage.daemon.wait_state(post, "published", within_s=PATIENCE_S)

    assert [row["ok"] for row in stage.simulator.ledger()["refreshes"]] == [True]


def test_a_person_who_cancels_is_told_so_and_nothing_is_linked(
    stage: Stage, browser: webdriver.Chrome
) -> None:
    browser.get(stage.begin("other")["auth_url"])
    browser.find_element(By.CSS_SELECTOR, CANCEL).click()

    wait_until(lambda: "Not linked" in text_of(browser), PATIENCE_S, what=lambda: text_of(browser))
    assert "the person did not agree" in text_of(browser)
    assert "?" not in browser.current_url
    assert set(stage.tokens()) == {"shop"}


def test_a_popup_closes_itself(stage: Stage, browser: webdriver.Chrome) -> None:
    home = browser.current_window_handle
    browser.execute_script("window.open(arguments[0])", stage.begin("shop")["auth_url"])
    (popup,) = wait_until(lambda: [found for found in browser.window_handles if found != home], PATIENCE_S)
    browser.switch_to.window(popup)
    wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, CONSENT), PATIENCE_S)[0].click()

    wait_until(lambda: browser.window_handles == [home], PATIENCE_S)
    browser.switch_to.window(home)


def test_the_code_of_one_person_with_the_state_of_another_links_nobody(stage: Stage) -> None:
    before = set(stage.tokens())
    mine, theirs = stage.begin("mine"), stage.begin("theirs")
    code = stage.agree(theirs, "bob")["code"]

    answer = stage.come_back({"code": code, "state": mine["state"]})

    assert (answer.status_code, "Not linked" in answer.text) == (502, True)
    assert set(stage.tokens()) == before


def test_an_answer_that_is_replayed_links_nobody_twice_and_leaves_no_trace(stage: Stage) -> None:
    query = stage.agree(stage.begin("bob"), "bob")
    secrets = (query["code"], query["state"])

    answers = [stage.come_back(query) for _ in range(3)]

    assert [found.status_code for found in answers] == [200, 400, 400]
    log = stage.daemon.log.read_text()
    assert "code=" not in log
    files = [path for path in stage.daemon.state_dir.rglob("*") if path.is_file()]
    everything = b"".join(path.read_bytes() for path in files) + log.encode()
    everything += json.dumps(stage.daemon.events()).encode() + b"".join(found.content for found in answers)
    assert [secret for secret in secrets if secret.encode() in everything] == []
    (digest,) = stage.daemon.rows("SELECT state_hash FROM link WHERE account = 'bob'")
    assert digest[0].encode() in everything  # the search finds what is there


def test_a_code_that_was_used_is_worth_nothing_with_a_new_state(stage: Stage) -> None:
    query = stage.agree(stage.begin("bob"), "bob")
    assert stage.come_back(query).status_code == 200
    before = stage.daemon.rows("SELECT access_token, token_version FROM account WHERE name = 'bob'")

    again = stage.come_back({"code": query["code"], "state": stage.begin("bob")["state"]})

    assert again.status_code == 502
    after = stage.daemon.rows("SELECT access_token, token_version FROM account WHERE name = 'bob'")
    assert after == before


def test_an_account_that_is_unlinked_is_unlinked_at_tiktok_too(stage: Stage) -> None:
    assert stage.live_tokens("bob") > 0

    reply = stage.daemon.call("account/unlink", {"account": "bob"}, id="unlink-bob")

    assert (reply["result"]["revoked"], stage.live_tokens("bob")) == (True, 0)
    assert stage.tokens()["bob"] == ("unlinked", False)


def crash_at(stage: Stage, point: str) -> dict[str, str]:
    """Let the daemon end at this place of a link; return the query of its callback."""
    name = point.replace(".", "-")
    stage.simulator.post("users", {"name": name})
    stage.daemon.kill()
    stage.daemon.start(f"{point}:kill")
    query = stage.agree(stage.begin(name), name)
    with contextlib.suppress(requests.RequestException, http.client.HTTPException):
        stage.come_back(query)
    assert stage.daemon.wait_dead() == failpoints.EXIT_CODE
    return query


@pytest.mark.parametrize(
    ("point", "left"), [("link.before_exchange", None), ("link.after_commit", ("ok", True))]
)
def test_a_crash_around_the_exchange_leaves_a_whole_account_or_none(
    stage: Stage, point: str, left: tuple[str, bool] | None
) -> None:
    crash_at(stage, point)

    assert stage.tokens().get(point.replace(".", "-")) == left


def test_tokens_that_a_crash_lost_are_had_again_by_a_new_link(stage: Stage) -> None:
    query = crash_at(stage, "link.after_exchange")
    assert "link-after_exchange" not in stage.tokens()
    stage.daemon.start()

    assert stage.come_back(query).status_code == 400
    stage.link("link-after_exchange", "link-after_exchange")
    assert stage.tokens()["link-after_exchange"] == ("ok", True)


def test_crashes_while_unlinking_are_made_good_by_the_next_start(stage: Stage) -> None:
    stage.simulator.post("users", {"name": "leaver"})
    stage.link("leaver", "leaver")
    stage.daemon.kill()
    stage.daemon.start("unlink.before_revoke:kill")
    order = threading.Thread(
        target=stage.daemon.call_or_none,
        args=("account/unlink", {"account": "leaver"}),
        kwargs={"id": "leave"},
    )
    order.start()  # it asks the next daemon again, and nobody need wait for that
    assert stage.daemon.wait_dead() == failpoints.EXIT_CODE
    stage.daemon.start(
        "unlink.after_revoke:kill", wait=False
    )  # it goes on by itself, and meets the second one
    assert stage.daemon.wait_dead() == failpoints.EXIT_CODE
    stage.daemon.start()

    wait_until(lambda: stage.tokens()["leaver"] == ("unlinked", False), PATIENCE_S)
    assert stage.daemon.call("account/unlink", {"account": "leaver"}, id="leave")["status"] == "done"
    assert stage.live_tokens("leaver") == 0
    order.join(PATIENCE_S)
