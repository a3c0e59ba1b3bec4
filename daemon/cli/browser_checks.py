"""The doctor's look at browser sessions: programs, screen, folders, profiles. All read-only; no browser is started.

What only sessions need is a warning where it is missing: posts go out without it. What is set, and wrong, fails.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.scheduler.clock import SystemClock
from config.session_section import SessionSettings
from config.settings import Settings
from daemon.cli.findings import Finding, fail, ok, warn
from daemon.cli.output import as_size
from daemon.domain.errors import Rejected
from daemon.domain.session import ProfileFacts

if TYPE_CHECKING:
    from adapters.profiles import ProfileStore

_NO_SANDBOX = (
    "run tokd as your own user: a page that breaks out of the browser would have all of root's rights"
)


def check_browser(settings: Settings) -> Iterator[Finding]:
    """Yield what is found about everything that browser sessions need."""
    found = settings.session
    yield from _programs(settings)
    yield _sandbox()
    yield _display(found)
    store = _store(found)
    yield from _profiles_folder(store, found.user_data_master_dir)
    yield from _clones_folder(store, settings)
    yield from _profiles(store, found.profile)


def _store(found: SessionSettings) -> "ProfileStore":
    from adapters.profiles import ProfilesSettings, ProfileStore  # noqa: PLC0415

    return ProfileStore(
        ProfilesSettings(
            root=found.user_data_master_dir, clones_dir=found.clones_dir, password_store=found.password_store,
            environ=dict(os.environ),
        ),
        SystemClock(),
    )  # fmt: skip


def _programs(settings: Settings) -> Iterator[Finding]:
    from adapters.browser.chromium import Programs  # noqa: PLC0415 - only here the browsers' adapter is needed
    from adapters.browser.settings import BrowserSettings  # noqa: PLC0415

    found = settings.session
    programs = Programs(
        BrowserSettings(
            state_dir=settings.state_dir, browser_path=found.browser_path, driver_path=found.driver_path,
            environ=dict(os.environ),
        )
    )  # fmt: skip
    try:
        browser = programs.browser()
        yield ok("browser", f"{browser.path}, version {browser.version}")
    except Rejected as refusal:
        yield (fail if found.browser_path else warn)("browser", refusal.message, "sessions need it")
        return
    try:
        driver = programs.driver()
    except Rejected as refusal:
        advice = "sessions need it, the login of a profile does not"
        yield (fail if found.driver_path else warn)("chromedriver", refusal.message, advice)
        return
    try:
        programs.pair()
        yield ok("chromedriver", f"{driver.path}, version {driver.version}")
    except Rejected as refusal:
        yield fail("chromedriver", refusal.message, "install both from the same source")


def _sandbox() -> Finding:
    from adapters.browser.launching import is_sandboxed  # noqa: PLC0415

    name = "browser sandbox"
    if not is_sandboxed():
        return warn(name, "off: Chromium has none for root", _NO_SANDBOX)
    return ok(name, "on, because this user is not root")


def _display(found: SessionSettings) -> Finding:
    from adapters.browser import display  # noqa: PLC0415

    if found.headless:
        return ok("display", "not needed: session.headless is on, and nobody can browse")
    if display.is_reachable(found.display, os.environ):
        return ok("display", "a window can be opened")
    told = "that of session.display does not answer" if found.display else "none answers here"
    return warn(
        "display", told,
        "windows need one: start tokd inside the desktop session, or set session.display to what `echo $DISPLAY` "
        "prints there",
    )  # fmt: skip


def _profiles_folder(store: "ProfileStore", folder: Path) -> Iterator[Finding]:
    from adapters.profiles import ROOT_SETTING  # noqa: PLC0415

    name = "profiles folder"
    if not _is_there(folder):
        parent = next(above for above in folder.absolute().parents if _is_there(above))
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok(name, f"{folder} is not there yet; the first start makes it")
        else:
            yield fail(name, f"{folder} cannot be made", f"make it, or let this user write to {parent}")
        return
    troubles = [trouble for trouble in store.problems() if trouble.setting == ROOT_SETTING]
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield fail(name, f"{folder} cannot be written", f"chown it to the user that tokd runs as: {folder}")
    elif troubles:
        yield from (fail(name, trouble.text, trouble.advice) for trouble in troubles)
    else:
        yield ok(name, f"{folder}, mode {stat.S_IMODE(folder.stat().st_mode):04o}")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that this user may not look into
        return False


def _clones_folder(store: "ProfileStore", settings: Settings) -> Iterator[Finding]:
    from adapters.profiles import CLONES_SETTING  # noqa: PLC0415

    name, folder = "clones folder", settings.clones_dir.absolute()
    if troubles := [trouble for trouble in store.problems() if trouble.setting == CLONES_SETTING]:
        yield from (fail(name, trouble.text, trouble.advice) for trouble in troubles)
        return
    there = next(place for place in (folder, *folder.parents) if _is_there(place))
    free, floor = shutil.disk_usage(there).free, settings.session.min_free_mb * 1_000_000
    if free < floor:
        yield fail(
            name, f"{as_size(free)} free, session.min_free_mb asks for {as_size(floor)}",
            "make room: no session is opened until then",
        )  # fmt: skip
        return
    root = settings.session.user_data_master_dir
    if _is_there(root) and root.stat().st_dev != there.stat().st_dev:
        yield warn(
            name, f"{folder} is not on the disk of {root}: cloning and promoting copy all the bytes",
            "set session.clones_dir to a folder on the same disk",
        )  # fmt: skip
        return
    yield ok(name, f"{folder}, {as_size(free)} free")


def _profiles(store: "ProfileStore", default: str) -> Iterator[Finding]:
    profiles = store.facts()
    if not any(facts.name == default for facts in profiles):
        yield warn(f"profile {default}", "not there yet", f"`tokd profile login {default}` makes it")
    for facts in profiles:
        yield _profile(store, facts)


def _profile(store: "ProfileStore", facts: ProfileFacts) -> Finding:
    name = f"profile {facts.name}"
    try:
        store.refuse_risk(facts.name)
    except Rejected as refusal:
        return warn(name, refusal.message, "doctor sees what its own shell sees: run it where tokd runs")
    text = f"{as_size(facts.size)}, cookies {facts.encryption.label}"
    if facts.encryption.needs_keyring:
        text += ", and the session bus has a keyring for them"
    if facts.in_use_by:
        return warn(name, f"{text}; in use by {facts.in_use_by}", "close that browser before a session")
    return ok(name, text)
