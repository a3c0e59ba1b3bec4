"""What a person has on a bad day: the site has new pages, the screen dies, an upgrade has left half a browser."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.session_stage import SessionStage, sessions
from tests.integration import browser_stage

# The page `neither` has a heading, of which the built-in markers know nothing; the captcha they do know.
MARKERS = """\
dom_in = ["main h1"]
challenge = []
"""


@dataclass
class Day:
    """All that happened, in its order."""

    told: dict[str, dict[str, Any]] = field(default_factory=dict)  # verdicts
    lost: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, tuple[dict[str, Any], float]] = field(default_factory=dict)

    def refuse(self, name: str, stage: SessionStage, **args: Any) -> None:
        began = time.monotonic()
        self.refused[name] = (stage.open(**args), time.monotonic() - began)


@pytest.fixture(scope="module")
def day(site: str, logged_in: Path) -> Iterator[Day]:
    with browser_stage.screen() as screen, sessions(site, logged_in, screen, start=False) as stage:
        browser, driver = programs(stage.folder)
        markers = stage.folder / "markers.toml"
        markers.write_text(MARKERS)
        stage.daemon.settings |= {
            "session.browser_path": str(browser), "session.driver_path": str(driver),
            "session.login_markers_file": str(markers), "session.login_detection_timeout": "2",
        }  # fmt: skip
        found = Day()
        stage.daemon.start()
        for page in ("neither", "challenge"):
            session = reply_of(stage, page)
            found.told[page] = stage.verdict(session)
        session = stage.opened(headless=False)
        screen.stop()
        found.lost = stage.end_of(session)
        found.refuse("no screen", stage, headless=False)
        found.refuse("no profile", stage, profile="nobody")
        driver.unlink()
        driver.write_text("#!/bin/sh\necho ChromeDriver 99.1.2.3\n")
        driver.chmod(0o755)
        found.refuse("another driver", stage)
        driver.unlink()
        found.refuse("no driver", stage)
        browser.unlink()
        found.refuse("no browser", stage)
        stage.daemon.stop()
        for name in ("browser_path", "driver_path"):
            del stage.daemon.settings[f"session.{name}"]
        stage.daemon.settings["session.min_free_mb"] = "10000000"
        stage.daemon.start()
        found.refuse("no room", stage)
        yield found


def programs(folder: Path) -> tuple[Path, Path]:
    """Give names of a browser and its driver that can be taken away."""
    found = []
    for name in ("chromium", "chromedriver"):
        at = shutil.which(name)
        assert at is not None
        (folder / name).symlink_to(at)
        found.append(folder / name)
    return found[0], found[1]


def reply_of(stage: SessionStage, page: str) -> str:
    """Open a session and end it; return its id, whatever was said."""
    reply = stage.open(page)
    if reply["status"] == "done":
        stage.close(reply["result"]["session"])
        return str(reply["result"]["session"])
    return str(reply["error"]["session"])


def test_a_marker_in_the_persons_own_file_decides(day: Day) -> None:
    verdict = day.told["neither"]

    assert (verdict["state"], verdict["method"]) == ("logged_in", "dom")
    assert verdict["evidence"] == ["visible: main h1"]


def test_a_marker_that_the_persons_own_file_leaves_out_counts_no_more(day: Day) -> None:
    verdict = day.told["challenge"]

    assert (verdict["state"], verdict["reason"]) == ("uncertain", "no_evidence")


def test_a_screen_that_dies_under_a_window_is_told_as_such(day: Day) -> None:
    assert (day.lost["reason"], day.lost["login"]) == ("display_lost", "logged_in")


WHY = {
    "no screen": "no_display", "no profile": "no_such_profile", "another driver": "driver_mismatch",
    "no driver": "driver_mismatch", "no browser": "no_browser", "no room": "disk_full",
}  # fmt: skip


@pytest.mark.parametrize("name", WHY)
def test_what_can_be_known_beforehand_has_its_own_code(day: Day, name: str) -> None:
    reply, _ = day.refused[name]

    assert (reply["status"], reply["error"]["code"]) == ("rejected", WHY[name])


@pytest.mark.parametrize("name", WHY)
def test_what_can_be_known_beforehand_is_known_within_a_second(day: Day, name: str) -> None:
    _, took_s = day.refused[name]

    assert took_s < 1
