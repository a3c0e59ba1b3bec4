"""With which switches a browser is started: an exact list with reasons, held against what really reaches it (S9)."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.browser.wrapper import ensure_wrapper, wrapper_environ
from daemon.domain.session import SessionKind
from tests.integration import browser_stage
from tests.integration.browser_stage import LOOPBACK_ONLY, Stage
from tests.waiting import wait_until

# All that tokd and the library that it starts the browser with may say, and why it is said.
OURS = {
    "--user-data-dir": "the session's own clone, or the profile of a login",
    "--tokd-session": "unknown to Chromium; tokd knows a login's browser by it",
    "--remote-debugging-host": "127.0.0.1: the port below is never on the network",
    "--remote-debugging-port": "chromedriver comes in by it; shut before the window is handed over",
    "--headless": "where the order wants no window",
    "--disable-gpu": "without a window",
    "--no-first-run": "no welcome pages",
    "--no-default-browser-check": "no question on top of the page",
    "--disable-background-networking": "a clone is thrown away: nothing to fetch for it",
    "--profile-directory": "a clone of several profiles opens the one that was used last, and does not ask which",
    "--disable-component-update": "a clone is thrown away: nothing to update in it",
    "--disable-sync": "a clone must not write into the person's other browsers",
    "--hide-crash-restore-bubble": "a clone knows nothing to restore",
    "--password-store": "basic for a profile that no keyring protects: the browser keeps reading its cookies",
    "--proxy-server": "session.proxy",
    "--window-size": "undetected-chromedriver's, and the same without it",
    "--start-maximized": "undetected-chromedriver's",
    "--log-level": "undetected-chromedriver's: 0, to the session's own log file",
}
ONLY_FOR_ROOT = {
    "--no-sandbox": "Chromium refuses to start as root with its sandbox; tokd warns, docs/operations.md says why",
    "--test-type": "without it a window tells root about the switch before",
}
# What Debian's own launcher puts in between, from /etc/chromium.d: the administrator's choice, not tokd's.
DEBIAN = {
    "--show-component-extension-options", "--enable-gpu-rasterization", "--no-default-browser-check", "--disable-pings",
    "--media-router", "--enable-remote-extensions", "--load-extension", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-extensions-except",
}  # fmt: skip
PERSONS = ("--mute-audio", "--force-dark-mode")
PROXY = "socks5://127.0.0.1:1"
ALL = {
    "undetected, no window": {"backend": "undetected"},
    "undetected, a window": {"backend": "undetected", "headless": False, "proxy": PROXY},
    "selenium, no window": {"backend": "selenium", "proxy": PROXY},
    "selenium, a window": {"backend": "selenium", "headless": False},
    "a login": {"kind": SessionKind.LOGIN, "headless": False},
}  # fmt: skip


def switches(line: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in line if word.startswith("-")}


def allowed() -> set[str]:
    return set(OURS) | (set(ONLY_FOR_ROOT) if os.geteuid() == 0 else set())


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Sessions whose browser notes with what it was started, and ends."""
    with browser_stage.set_stage("http://127.0.0.1:1", browser_args=PERSONS) as found:
        browser = found.root / "noting"
        browser.write_text(
            '#!/bin/sh\n[ "$*" = --version ] && exec chromium --version\n'
            'for word do case "$word" in --user-data-dir=*) to=${word#*=} ;; esac; done\n'
            'printf "%s\\0" "$@" >"$to.draft" && mv "$to.draft" "$to.line"\nexit 1\n'
        )
        browser.chmod(0o700)
        found.settings["browser_path"] = browser
        yield found


@pytest.fixture(scope="module")
def lines(stage: Stage) -> dict[str, list[str]]:
    """What the browser of each kind of session was started with."""
    found = {}
    for name, how in ALL.items():
        session = stage.open(**how)
        note = Path(f"{stage.places[-1].user_data_dir}.line")
        wait_until(note.exists, 20, what=lambda: f"{name}: {session.news}")  # noqa: B023 - called at once
        found[name] = note.read_text().split("\0")[:-1]
        session.ended(20)
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_switch_is_on_the_list_or_the_persons_own(lines: dict[str, list[str]], name: str) -> None:
    assert switches(lines[name]) - allowed() - set(PERSONS) == set()


def test_the_list_holds_no_switch_that_is_never_used(lines: dict[str, list[str]]) -> None:
    assert allowed() - set().union(*(switches(line) for line in lines.values())) == set()


@pytest.mark.parametrize("name", ALL)
def test_the_persons_own_switches_come_in(lines: dict[str, list[str]], name: str) -> None:
    assert set(PERSONS) <= set(lines[name])


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_switch_is_the_page_alone(lines: dict[str, list[str]], name: str) -> None:
    assert {word for word in lines[name] if not word.startswith("-")} <= {
        "about:blank",
        "http://127.0.0.1:1/?page=logged_in",
    }


@pytest.mark.parametrize("name", [name for name in ALL if name != "a login"])
def test_the_debugging_port_is_on_loopback(lines: dict[str, list[str]], name: str) -> None:
    hosts = {word for word in lines[name] if word.startswith("--remote-debugging-host=")}

    assert hosts <= {"--remote-debugging-host=127.0.0.1"}  # without it, loopback is Chromium's own choice


def test_a_login_has_no_debugging_port(lines: dict[str, list[str]]) -> None:
    assert [word for word in lines["a login"] if "debugging" in word] == []


@pytest.mark.parametrize("name", ALL)
def test_the_profile_is_told_once(lines: dict[str, list[str]], name: str) -> None:
    assert len([word for word in lines[name] if word.startswith("--user-data-dir")]) == 1


def test_whoever_is_not_root_keeps_the_sandbox(lines: dict[str, list[str]], stage: Stage) -> None:
    """undetected-chromedriver asks for no sandbox always; the launcher drops that."""
    asked = sorted({*lines["undetected, no window"], "--no-sandbox", "--test-type"})
    environ = wrapper_environ(
        browser=Path("/bin/echo"), log=stage.root / "echoed", death_signal="KILL", is_sandboxed=True, is_headless=True
    )  # fmt: skip

    subprocess.run(
        [ensure_wrapper(stage.root), *asked], env=environ | {"PATH": os.environ["PATH"]}, check=True
    )

    told = (stage.root / "echoed").read_text().split()
    assert switches(told) == switches(asked) - set(ONLY_FOR_ROOT) | {"--headless"}


def test_nothing_else_comes_in_on_the_way_to_a_real_browser() -> None:
    """The whole way, Debian's launcher included."""
    with browser_stage.site() as url, browser_stage.set_stage(url) as stage:
        session = stage.open()
        line = browser_stage.arguments_of(session.opened())
        session.closed()

    assert switches(line[1:]) - allowed() - DEBIAN - switches([*LOOPBACK_ONLY]) == set()
