"""What `tokd doctor` finds about browser sessions, on real folders, programs and sockets."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.load import load_with_origins
from daemon.cli.app import app
from daemon.cli.browser_checks import check_browser
from daemon.cli.findings import Finding
from tests.integration.control_stage import folder
from tests.profiles import write_cookies
from tests.session_bus import DBUS_DAEMON, SECRETS, a_bus

__all__ = ["folder"]

Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Check the sessions of these settings, on a desktop that is not there."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)

    def run(**settings: str) -> dict[str, Finding]:
        keys = {"daemon.state_dir": str(folder), "session.user_data_master_dir": str(folder / "profiles")}
        keys |= {f"session.{name}": value for name, value in settings.items()}
        return {found.name: found for found in check_browser(load_with_origins(None, keys).settings)}

    return run


@pytest.fixture
def profiles(folder: Path) -> Path:
    found = folder / "profiles"
    found.mkdir(mode=0o700)
    return found


def program(path: Path, prints: str) -> str:
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return str(path)


# -- programs ------------------------------------------------------------------------------------------------


def test_browser_and_driver_are_found_with_their_versions(look: Look, folder: Path) -> None:
    found = look(
        browser_path=program(folder / "browser", "Chromium 156.0.1.2 built on Debian"),
        driver_path=program(folder / "driver", "ChromeDriver 156.0.1.3 (abc)"),
    )

    assert found["browser"].text == f"{folder}/browser, version 156.0.1.2"
    assert (found["browser"].verdict, found["chromedriver"].verdict) == ("ok", "ok")


def test_a_driver_of_another_major_version_fails(look: Look, folder: Path) -> None:
    found = look(
        browser_path=program(folder / "browser", "Chromium 156.0.1.2"),
        driver_path=program(folder / "driver", "ChromeDriver 155.0.1.2"),
    )

    assert found["chromedriver"].verdict == "fail"
    assert "156.0.1.2" in found["chromedriver"].text


def test_a_configured_browser_that_is_not_there_fails(look: Look, folder: Path) -> None:
    assert look(browser_path=str(folder / "none"))["browser"].verdict == "fail"


def test_a_configured_driver_that_is_not_there_fails(look: Look, folder: Path) -> None:
    found = look(
        browser_path=program(folder / "browser", "Chromium 156.0.1.2"), driver_path=str(folder / "none")
    )

    assert found["chromedriver"].verdict == "fail"


def test_a_browser_without_its_sandbox_is_a_warning_for_root_only(look: Look) -> None:
    assert look()["browser sandbox"].verdict == ("warn" if os.geteuid() == 0 else "ok")


# -- the screen ----------------------------------------------------------------------------------------------


def test_a_display_that_answers_is_ok(look: Look) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind("\0/tmp/.X11-unix/X64321")
        server.listen()

        assert look(display=":64321")["display"].verdict == "ok"


def test_a_display_that_does_not_answer_is_a_warning(look: Look) -> None:
    assert look(display=":64322")["display"].verdict == "warn"


def test_no_display_is_a_warning_that_says_what_to_do(look: Look) -> None:
    found = look()["display"]

    assert (found.verdict, "session.display" in found.advice) == ("warn", True)


def test_no_display_is_needed_without_windows(look: Look) -> None:
    assert look(headless="true")["display"].verdict == "ok"


# -- folders -------------------------------------------------------------------------------------------------


def test_folders_that_the_first_start_makes_are_ok(look: Look, folder: Path) -> None:
    found = look()

    assert (found["profiles folder"].verdict, found["clones folder"].verdict) == ("ok", "ok")
    assert list(folder.iterdir()) == []


def test_profiles_that_others_may_read_fail_as_the_start_will(look: Look, profiles: Path) -> None:
    profiles.chmod(0o755)
    assert look()["profiles folder"].verdict == "ok", "the start makes an empty one private"

    (profiles / "master").mkdir()

    found = look()["profiles folder"]
    assert (found.verdict, found.advice) == ("fail", f"chmod 700 {profiles}")


def test_a_browsers_own_folder_fails(look: Look, profiles: Path) -> None:
    (profiles / "Local State").touch()

    found = look()["profiles folder"]
    assert (found.verdict, "session.user_data_master_dir" in found.advice) == ("fail", True)


def test_clones_in_a_profile_fail(look: Look, profiles: Path) -> None:
    found = look(clones_dir=str(profiles / "master" / "clones"))["clones folder"]

    assert (found.verdict, "session.clones_dir" in found.advice) == ("fail", True)


def test_private_profiles_are_ok(look: Look, profiles: Path) -> None:
    assert look()["profiles folder"] == Finding("profiles folder", "ok", f"{profiles}, mode 0700")


def test_a_file_in_the_profiles_place_fails(look: Look, folder: Path) -> None:
    (folder / "profiles").touch()

    assert look()["profiles folder"].verdict == "fail"


@pytest.mark.parametrize("word", ["headless", "lang", "Languages"])
def test_a_clones_path_that_the_driver_misreads_fails(look: Look, folder: Path, word: str) -> None:
    found = look(clones_dir=str(folder / word / "clones"))["clones folder"]

    assert (found.verdict, "session.clones_dir" in found.advice) == ("fail", True)


def test_a_clones_path_that_is_misread_behind_a_link_fails(look: Look, folder: Path) -> None:
    (folder / "language").mkdir()
    (folder / "clones").symlink_to(folder / "language")

    assert look(clones_dir=str(folder / "clones"))["clones folder"].verdict == "fail"


def test_too_little_room_for_a_clone_fails(look: Look) -> None:
    assert look(min_free_mb="10000000")["clones folder"].verdict == "fail"


# -- profiles ------------------------------------------------------------------------------------------------


def test_a_missing_profile_is_a_warning_with_the_command_that_makes_it(look: Look) -> None:
    assert look(profile="shop")["profile shop"].advice == "`tokd profile login shop` makes it"


def test_a_profile_of_any_browser_is_ok(look: Look, profiles: Path) -> None:
    write_cookies(profiles / "master" / "Default" / "Cookies", b"v10")

    found = look()["profile master"]

    assert (found.verdict, found.text.endswith("cookies v10")) == ("ok", True)


def test_a_profile_with_a_keyring_needs_the_session_bus(look: Look, profiles: Path) -> None:
    write_cookies(profiles / "master" / "Default" / "Cookies", b"v11")

    found = look()["profile master"]

    assert (found.verdict, "session bus" in found.text) == ("warn", True)


@pytest.mark.skipif(not DBUS_DAEMON, reason="no dbus-daemon here")
@pytest.mark.parametrize(("keyrings", "verdict"), [([], "warn"), ([SECRETS], "ok")])
def test_a_profile_with_a_keyring_is_ok_beside_a_session_bus_that_has_one(
    look: Look,
    profiles: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    keyrings: list[str],
    verdict: str,
) -> None:
    write_cookies(profiles / "master" / "Default" / "Cookies", b"v11")
    with a_bus(folder, startable=keyrings) as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)

        assert look()["profile master"].verdict == verdict


def test_cookies_that_nobody_can_read_are_a_warning(look: Look, profiles: Path) -> None:
    write_cookies(profiles / "master" / "Default" / "Cookies")
    (profiles / "master" / "Default" / "Cookies").write_text("no database, but long enough for one" * 50)

    found = look()["profile master"]

    assert (found.verdict, "could not be counted" in found.text) == ("warn", True)


def test_a_keyring_that_is_switched_off_is_named(look: Look, profiles: Path) -> None:
    write_cookies(profiles / "master" / "Default" / "Cookies", b"v11")

    assert "session.password_store" in look(password_store="basic")["profile master"].text


def test_a_profile_in_use_elsewhere_is_a_warning(look: Look, profiles: Path) -> None:
    (profiles / "master").mkdir()
    (profiles / "master" / "SingletonLock").symlink_to("another-machine-4711")

    assert "another-machine" in look()["profile master"].text


def test_nothing_is_written(look: Look, profiles: Path) -> None:
    write_cookies(profiles / "master" / "Default" / "Cookies")
    before = sorted((path, path.lstat().st_mtime_ns) for path in profiles.rglob("*"))

    look()

    assert sorted((path, path.lstat().st_mtime_ns) for path in profiles.rglob("*")) == before


def test_doctor_shows_the_browser_with_the_rest(folder: Path) -> None:
    words = [
        "--set",
        f"daemon.state_dir={folder}",
        "--set",
        f"session.user_data_master_dir={folder}/profiles",
    ]
    words += ["--set", "tiktok.api_base=http://127.0.0.1:9", "--set", f"session.browser_path={folder}/none"]

    found = CliRunner().invoke(app, [*words, "doctor", "--json"])

    verdicts = {check["name"]: check["verdict"] for check in json.loads(found.stdout)["checks"]}
    assert (found.exit_code, verdicts["browser"], verdicts["daemon"]) == (1, "fail", "warn")
