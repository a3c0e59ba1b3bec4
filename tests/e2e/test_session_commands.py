"""`tokd session …` and `tokd profile …` with a real daemon, Chromium, and the simulator's website."""

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.daemons import Daemon, Simulator
from tests.integration import browser_stage
from tests.integration.browser_stage import BACKEND, LOOPBACK_ONLY, Screen
from tests.profiles import short_folder
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("chromium", "chromedriver", "Xvfb"))), reason="no browser, or no screen for it"
)
WITHIN_S = 60


@dataclass
class House:
    """A daemon with an empty profile `master`, and a site to log in to."""

    daemon: Daemon
    site: str

    def command(self, *words: str) -> tuple[list[str], dict[str, str]]:
        words = (*words, "--set", f"daemon.state_dir={self.daemon.state_dir}")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOKD_")}
        # A shell that runs the suite in the background has Ctrl-C ignored, and children inherit that.
        start = ["env", "--default-signal=INT", sys.executable, "-m", "daemon"]
        return [*start, *words], environ | {"PYTHONPATH": str(self.daemon.root)}

    def tokd(self, *words: str) -> CompletedProcess[str]:
        command, environ = self.command(*words)
        return subprocess.run(
            command,
            env=environ,
            cwd=self.daemon.folder,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def open(self, *words: str) -> str:
        """Open a session that needs no login, and return its id."""
        found = self.tokd("session", "open", "--headless", "--no-require-login", "--json", *words)
        session = json.loads(found.stdout)["result"]["session"]
        assert isinstance(session, str)
        return session

    def end(self) -> None:
        """Close what a test has left open."""
        self.daemon.call("session/close", {"all": True})
        wait_until(lambda: not self.daemon.call("session/list")["result"]["sessions"], 30, what="no session")


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with browser_stage.screen() as found:
        yield found


@pytest.fixture(scope="module")
def running(screen: Screen) -> Iterator[House]:
    with short_folder() as folder:
        simulator = Simulator(folder / "simulator")
        (folder / "user_data").mkdir(mode=0o700)
        (folder / "user_data" / "master").mkdir()
        settings = {
            "session.tiktok_url": f"{simulator.url}/", "session.user_data_master_dir": str(folder / "user_data"),
            "session.display": screen.name, "session.browser_args": json.dumps(LOOPBACK_ONLY),
            "session.login_negative_grace": "0.2", "session.backend": BACKEND,
        }  # fmt: skip
        daemon = Daemon(folder, settings).use_simulator(simulator).start()
        yield House(daemon, simulator.url)
        daemon.stop()
        simulator.stop()


@pytest.fixture
def house(running: House) -> Iterator[House]:
    yield running
    running.end()


@pytest.fixture
def login_page(house: House) -> Iterator[str]:
    """A page that logs whoever opens it in at the site, as `demo`."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            form = (
                f'<form method="post" action="{house.site}/login"><input name="username" value="demo"></form>'
            )
            body = f"{form}<script>document.forms[0].submit()</script>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_a_logged_out_profile_is_1_with_the_evidence_and_the_way_out(house: House) -> None:
    found = house.tokd("session", "open", "--headless")

    assert (found.returncode, found.stdout) == (1, "")
    assert "logged out (" in found.stderr
    assert "`tokd profile login master` mends it" in found.stderr


def test_a_profile_that_is_not_there_is_1_and_names_those_that_are(house: House) -> None:
    found = house.tokd("session", "open", "--headless", "--profile", "nobody")

    assert (found.returncode, "no_such_profile" in found.stderr, "master" in found.stderr) == (1, True, True)


def test_an_open_session_is_listed_with_its_login(house: House) -> None:
    session = house.open()

    columns = house.tokd("session", "list").stdout.rstrip("\n").split("\t")

    assert columns[:5] == [session, "tiktok", "master", "open", "logged out"]


def test_close_waits_until_nothing_is_left_of_the_session(house: House) -> None:
    session = house.open()

    found = house.tokd("session", "close", session)

    assert found.stdout == f"session {session} ended (closed_by_command): it was told to close\n"
    assert list((house.daemon.folder / "user_data" / "clones").iterdir()) == []


def test_a_session_that_is_waited_for_says_that_its_time_was_over(house: House) -> None:
    found = house.tokd("session", "open", "--headless", "--no-require-login", "--for", "1s", "--wait")

    assert (found.returncode, "ended (timeout): its time was over" in found.stdout) == (0, True)


def test_a_picture_is_written_where_it_was_asked_for(house: House) -> None:
    house.open()

    house.tokd("session", "screenshot", "--out", "page.jpg")

    assert (house.daemon.folder / "page.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_a_check_reads_the_login_again(house: House) -> None:
    session = house.open()

    assert house.tokd("session", "check").stdout.startswith(f"session {session}: logged out (")


def test_an_extension_moves_the_end(house: House) -> None:
    session = house.open("--for", "60")
    before = json.loads(house.tokd("session", "list", "--json").stdout)["result"]["sessions"][0]["ends_at"]

    found = json.loads(house.tokd("session", "extend", session, "10m", "--json").stdout)["result"]

    assert found["ends_at"] > before


def test_a_login_that_ctrl_c_ends_is_kept_and_opens_the_next_session(house: House, login_page: str) -> None:
    command, environ = house.command("profile", "login", "shop", "--url", login_page)
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=house.daemon.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: logins_at(house), 30, what="the login at the site")

    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=WITHIN_S)
    found = house.tokd("session", "open", "--headless", "--profile", "shop")

    assert (process.returncode, told.splitlines()[-1]) == (0, "next: tokd session open --profile shop")
    assert (found.returncode, "logged in as demo_creator (" in found.stderr) == (0, True)


def logins_at(house: House) -> list[object]:
    with urllib.request.urlopen(f"{house.site}/_simulator/site", timeout=10) as answer:
        logins = json.load(answer)["logins"]
    assert isinstance(logins, list)
    return logins


def test_a_promoted_clone_is_the_profile_and_the_old_one_is_kept(house: House) -> None:
    house.open()

    found = house.tokd("profile", "promote")

    told, kept = found.stdout.splitlines()
    assert (found.returncode, told.endswith("is profile master now")) == (0, True)
    assert Path(kept.removeprefix("the old one is kept in ")).is_dir()


def test_profiles_are_listed_with_their_login_when_last_seen(house: House) -> None:
    house.open()

    rows = [line.split("\t") for line in house.tokd("profile", "list").stdout.splitlines()]

    (master,) = [row for row in rows if row[0] == "master"]
    assert master[5].startswith("logged out, ")


def test_the_doctor_knows_the_profiles_beside_the_daemon(house: House) -> None:
    place = f"session.user_data_master_dir={house.daemon.folder}/user_data"

    found = json.loads(house.tokd("doctor", "--json", "--set", place).stdout)

    verdicts = {check["name"]: check["verdict"] for check in found["checks"]}
    assert (verdicts["profile master"], verdicts["profiles folder"]) == ("ok", "ok")
