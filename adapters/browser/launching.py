"""With what arguments and in what environment a session's browser is started."""

import contextlib
import json
import os
from pathlib import Path

from adapters.browser import display
from adapters.browser.settings import BrowserSettings
from adapters.browser.wrapper import wrapper_environ
from daemon.domain.session import SessionKind, SessionOrder, Workplace

# undetected-chromedriver takes a path with one of these for a switch, and then opens the person's own profile.
POISON = ("headless", "lang")
LOG_NAME = "browser.log"
PROXY_SWITCH = "--proxy-server"
ROOT_WARNING = "Chromium runs without its sandbox because tokd runs as root"
PROXY_WARNING = (
    "other users of this machine can see session.proxy: it could not be wiped from the browser's command line"
)
# For a clone: it is thrown away, so it has nothing to sync and nothing to update.
_CLONE_ONLY = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-crash-restore-bubble",
)


def is_sandboxed() -> bool:
    """Tell whether the browser's sandbox can be on: Chromium refuses it to root."""
    return os.geteuid() != 0


def profile_of(user_data_dir: str) -> str:
    """Return the name of the one profile, among those in a user data dir, that was used last.

    A browser that finds several and is not told which asks for it in a window of its own; a driver waits for ever then.
    """
    folder = Path(user_data_dir)
    try:
        told = json.loads((folder / "Local State").read_bytes())["profile"]["last_used"]
    except (OSError, ValueError, KeyError, TypeError):
        told = None
    names = sorted(path.parent.name for path in folder.glob("*/Preferences"))
    safe = [name for name in names if not any(word in name for word in POISON)]
    if told in safe:
        return str(told)
    return "Default" if "Default" in safe or not safe else safe[0]


def arguments(order: SessionOrder, place: Workplace, settings: BrowserSettings) -> list[str]:
    """Return the browser's switches, without those that a backend adds, and without the profile."""
    found = ["--no-first-run", "--no-default-browser-check"]
    if not place.is_master:  # of the profiles in a master, the person chooses
        found += [*_CLONE_ONLY, f"--profile-directory={profile_of(place.user_data_dir)}"]
    if order.headless:
        found.append("--disable-gpu")
    store = settings.password_store
    if store == "detect":  # never "basic" where cookies need the keyring: the browser would delete them
        store = "" if place.encryption.needs_keyring else "basic"
    if store:
        found.append(f"--password-store={store}")
    if settings.proxy:
        found.append(f"{PROXY_SWITCH}={settings.proxy}")
    return [*found, *settings.browser_args]


# TOKD_ holds settings and perhaps secrets; SE_ would overrule the driver's path; the rest leads to systemd.
PRIVATE = ("TOKD_", "SE_", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_")


def environ(
    order: SessionOrder, place: Workplace, settings: BrowserSettings, browser: Path
) -> dict[str, str]:
    """Return the environment of the session's worker, which its browser and its driver inherit."""
    found = {name: value for name, value in settings.environ.items() if not name.startswith(PRIVATE)}
    display.apply(settings.display, found)
    home = found.get("HOME", "")
    if not home or not os.access(home, os.W_OK | os.X_OK):
        found["HOME"] = place.folder
    found["TMPDIR"] = place.temp_dir
    found["BREAKPAD_DUMP_LOCATION"] = str(Path(place.folder, "crashes"))
    return found | wrapper_environ(
        browser=browser,
        log=Path(place.folder, LOG_NAME),
        # A profile's own browser may be interrupted once only, and a worker with two threads that is killed sends its
        # death signal once for each: the daemon asks that browser to close, or the next start's sweep.
        death_signal="clear" if order.kind is SessionKind.LOGIN else "KILL",
        is_sandboxed=is_sandboxed(),
        is_headless=order.headless,
    )


_KNOWN_WORDS = (
    (
        "No usable sandbox",
        "its sandbox is not possible here: apt install chromium-sandbox, or allow user namespaces",
    ),
    ("Missing X server", "it found no screen to open its window on"),
    ("cannot open display", "it found no screen to open its window on"),
    ("profile appears to be in use", "another browser has the profile open"),
)
_WORDS_MAX = 200_000


def last_words(place: Workplace) -> str:
    """Return what the browser's own log says about its end, in our words: the log itself may hold private things."""
    try:
        with Path(place.folder, LOG_NAME).open("rb") as file:
            text = file.read(_WORDS_MAX).decode(errors="replace")
    except OSError:
        return ""
    return next((ours for theirs, ours in _KNOWN_WORDS if theirs in text), "")


def trim_log(place: Workplace, most_bytes: int = 5_000_000) -> None:
    """Empty the browser's log where it has grown too large; the browser appends to it."""
    path = Path(place.folder, LOG_NAME)
    with contextlib.suppress(OSError):
        if path.stat().st_size > most_bytes:
            os.truncate(path, 0)
