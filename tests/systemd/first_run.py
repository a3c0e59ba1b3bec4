"""A newcomer's first day, on a bare Debian: `make run`, the lines that it prints, and the README's browser sessions."""

import json
import os
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import ROOT, make_clip
from tests.e2e.session_stage import FORM, repeat, shows, type_text
from tests.integration.browser_stage import Screen
from tests.readme import fenced
from tests.systemd.bare import PERSON_ID, bare_machine
from tests.systemd.machine import SOURCE
from tests.systemd.newcomer import FOLDER, LONGEST_S, MARKS, SUITES, Newcomer
from tests.waiting import wait_until

pytestmark = MARKS

GROUP = "$HOME/group"
# In a group of processes of its own, as a shell has what is typed at it: Ctrl-C goes to all of them.
STAYS = f"set -m\n%s & echo $! > {GROUP}\nwait $!"


class Hands(Screen):
    """A person's hands at a screen that somebody else has made."""

    def __init__(self, name: str) -> None:
        self.name = name


class Output:
    """What a command that stays has said so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str, within_s: float) -> None:
        wait_until(
            lambda: text in self.text() or self.process.poll() is not None, within_s, 0.2, what=self.text
        )
        assert text in self.text(), self.text()


@dataclass
class Day(Newcomer):
    """The machine, and what runs on it."""

    runs: ExitStack = field(default_factory=ExitStack)
    output: Output | None = None
    hands: Hands | None = None

    def begin(self, command: str) -> None:
        """Start what stays, and wait until it says that it is ready."""
        self.output = Output(self.runs.enter_context(self.running(STAYS % command)))
        self.output.wait_for("tokd is ready", LONGEST_S)

    def interrupt(self) -> None:
        """Press Ctrl-C where it runs."""
        assert self.output is not None
        self.person(f"kill -INT -- -$(cat {GROUP})")
        self.output.process.wait(60)

    def printed(self, pattern: str) -> list[str]:
        """Return the lines to copy that were printed."""
        assert self.output is not None
        wait_until(lambda: "mosquitto_sub" in self.said(), 20)  # the last of them
        return re.findall(rf"^  (.*{pattern}.*)$", self.said(), re.MULTILINE)

    def said(self) -> str:
        assert self.output is not None
        return self.output.text()

    def tokd(self, words: str) -> Any:
        return json.loads(self.person(f".venv/bin/tokd {words} --json").stdout.splitlines()[-1])["result"]

    def site(self) -> str:
        return str(self.tokd("health")["parts"]["simulator"]["url"])

    def simulator(self, path: str, body: bytes | None = None) -> Any:
        """Ask the simulated TikTok, whose network is ours."""
        request = urllib.request.Request(
            f"{self.site()}/_simulator/{path}", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def visit(self, path: str, title: str) -> None:
        assert self.hands is not None
        hands, address = self.hands, f"{self.site()}{path}\n"
        repeat(lambda: type_text(hands, "ctrl+l", address), lambda: shows(hands, title), 60)

    def browsers(self) -> list[str]:
        """Return the command lines of what runs of a browser in there."""
        told = self.machine.sh(
            "for each in /proc/[0-9]*; do tr '\\0' ' ' < $each/cmdline 2>/dev/null || true; echo; done"
        )
        return [line for line in told.splitlines() if "/chromium" in line or "chromedriver" in line]


@pytest.fixture(scope="module", params=SUITES or ["none"])
def day(request: pytest.FixtureRequest) -> Iterator[Day]:
    with bare_machine(str(request.param)) as machine, ExitStack() as runs:
        day = Day(str(request.param), machine, runs)
        day.person(f"git clone -q {SOURCE} {FOLDER}")
        os.chown(make_clip(machine.path(FOLDER) / "clip.mp4"), PERSON_ID, PERSON_ID)
        yield day


def free_screen() -> int:
    """Return a number that no screen has, here or in there: both have one network, and in it the screens' names."""
    names = Path("/proc/net/unix").read_text()
    return next(number for number in range(90, 1000) if f"/.X11-unix/X{number}" not in names)


def lines_about_sessions() -> list[str]:
    """Return the README's lines, as they stand there."""
    return [line for line in fenced("**Browser sessions**").splitlines() if line.startswith(".venv/bin/tokd")]


def test_there_is_nothing_of_it_to_begin_with(day: Day) -> None:
    assert day.person("command -v python3 chromium mosquitto Xvfb tokd || true").stdout == ""


def test_make_run_installs_what_is_missing_and_is_ready(day: Day) -> None:
    day.begin("make run")

    assert "TikTok is simulated" in day.said()
    assert day.person("command -v python3 chromium mosquitto Xvfb").stdout.count("\n") == 4


def test_the_lines_that_it_prints_can_be_copied(day: Day) -> None:
    for line in [*day.printed("tokd post schedule"), *day.printed("mosquitto_pub")]:
        day.person(line)

    def states() -> list[str]:
        return sorted(post["state"] for post in day.tokd("post list")["posts"])

    wait_until(
        lambda: states() == ["published", "published", "sent_to_inbox"], 120, 1.0, what=lambda: str(states())
    )
    assert len(day.simulator("ledger")["inits"]) == 3


def test_without_a_screen_a_session_says_what_to_do(day: Day) -> None:
    login, _ = lines_about_sessions()

    done = day.person(login, check=False)

    assert done.returncode != 0
    assert "no_display" in done.stdout + done.stderr
    assert "tokd doctor" in done.stdout + done.stderr


def test_ctrl_c_ends_it(day: Day) -> None:
    day.interrupt()

    assert day.person(".venv/bin/tokd health", check=False).returncode != 0


def test_with_a_screen_of_the_readmes_kind_a_person_logs_in(day: Day) -> None:
    (line,) = re.findall(r"`(Xvfb :9 & DISPLAY=:9 make run)`", (ROOT / "README.md").read_text())
    day.hands = Hands(f":{free_screen()}")
    day.begin(line.replace(":9", day.hands.name))
    login, _ = lines_about_sessions()

    with day.running(login) as process:
        output = Output(process)
        wait_until(day.hands.titles, 60, 0.2, what=output.text)
        day.visit("/login", FORM)
        type_text(day.hands, "", "demo\tsomething\n")
        wait_until(lambda: day.hands is not None and not shows(day.hands, FORM), 20)
        day.hands.press_until("ctrl+shift+w", lambda: process.poll() is not None, 60)
        wait_until(lambda: "closed_by_user" in output.text(), 10, what=output.text)

    assert process.returncode == 0


def test_a_session_is_logged_in_and_its_window_stays_until_it_is_closed(day: Day) -> None:
    assert day.hands is not None
    _, opening = lines_about_sessions()

    with day.running(opening) as process:
        output = Output(process)
        output.wait_for("logged in as demo", 60)
        wait_until(day.hands.titles, 10)
        browsers = day.browsers()
        day.hands.press_until("ctrl+shift+w", lambda: process.poll() is not None, 60)
        wait_until(lambda: "closed_by_user" in output.text(), 10, what=output.text)

    assert process.returncode == 0
    assert browsers
    assert [line for line in browsers if "--no-sandbox" in line] == [], (
        "the sandbox is on for whoever is not root"
    )


def test_a_session_on_a_profile_that_is_logged_out_closes_by_itself(day: Day) -> None:
    _, opening = lines_about_sessions()
    assert day.simulator("site/revoke", b'{"user": "demo"}')["revoked"] >= 1

    done = day.person(opening, check=False)

    assert "not_logged_in" in done.stdout + done.stderr
    assert "profile login master" in done.stdout + done.stderr
    assert done.returncode != 0
    assert "logged_out" in {session["reason"] for session in day.tokd("session list --ended")["sessions"]}


def test_nothing_is_left_of_the_sessions(day: Day) -> None:
    assert day.browsers() == []
    assert day.person("ls user_data/clones").stdout == ""
    day.interrupt()
