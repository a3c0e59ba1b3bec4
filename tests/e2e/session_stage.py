"""Sessions over a real daemon: profiles, the windows of a person, and what is left of them on this machine."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import websocket

from tests.brokers import Broker
from tests.daemons import Caller, Daemon, Simulator
from tests.integration.browser_stage import BACKEND, LOOPBACK_ONLY, Screen
from tests.profiles import Chromium, short_folder
from tests.waiting import wait_until

# No desktop of whoever runs the tests: neither its screen nor its keyring. A bus has an address all the same, for
# with one Chromium writes its command line anew, and that is what persons have.
BARE = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "DBUS_SESSION_BUS_ADDRESS": "disabled:", "XDG_RUNTIME_DIR": ""}
QUICK = {
    "session.backend": BACKEND,
    "session.headless": "true",
    "session.browser_args": json.dumps(LOOPBACK_ONLY),
    "session.min_free_mb": "0",
    "session.login_negative_grace": "0.3",
}
NAME = "Größe 日本"
FORM = "Log in | TikTok (simulated)"


class SessionStage:
    """A daemon with a folder of profiles. `folder` has a short path, as a person's has."""

    def __init__(
        self,
        folder: Path,
        site: str,
        screen: Screen | None = None,
        *,
        root: Path | None = None,
        **settings: str,
    ) -> None:
        """Keywords are settings of the section `session`."""
        self.folder = folder
        self.site = site
        self.screen = screen
        own = {f"session.{name}": value for name, value in settings.items()}
        self.daemon = Daemon(
            folder / "d",
            QUICK
            | {"session.user_data_master_dir": str(self.profiles), "session.tiktok_url": f"{site}/"}
            | own,
            **({"root": root} if root else {}),
        )
        self.temp = folder / "tmp"
        home = folder / "home"
        for made in (self.temp, home, self.profiles):
            made.mkdir(mode=0o700)
        self.daemon.environ = BARE | {"TMPDIR": str(self.temp), "HOME": str(home)}
        if screen is not None:
            self.daemon.environ |= {"DISPLAY": screen.name}

    @property
    def profiles(self) -> Path:
        return self.folder / "profiles"

    @property
    def master(self) -> Path:
        return self.profiles / "master"

    @property
    def clones(self) -> Path:
        return self.profiles / "clones"

    def have(self, profile: Path, name: str = "master") -> Path:
        """Put a copy of a profile in place."""
        shutil.rmtree(self.profiles / name, ignore_errors=True)
        return Path(shutil.copytree(profile, self.profiles / name, symlinks=True))

    def page(self, name: str) -> str:
        return f"{self.site}/?page={name}"

    # -- sessions ----------------------------------------------------------------------------------------

    def open(self, page: str | None = None, **args: Any) -> dict[str, Any]:
        """Order a session and return its final reply; `id` names the order."""
        envelope = {"id": args.pop("id")} if "id" in args else {}
        if page is not None:
            args["url"] = self.page(page)
        return self.daemon.call("session/open", args, **envelope)

    def opened(self, page: str | None = None, **args: Any) -> str:
        """Open a session and return its id."""
        reply = self.open(page, **args)
        assert reply["status"] == "done", reply
        return str(reply["result"]["session"])

    def later(self, verb: str, args: dict[str, Any], **envelope: Any) -> "Future[dict[str, Any]]":
        """Send a command whose answer takes its time; the daemon may die meanwhile."""
        promise: Future[dict[str, Any]] = Future()

        def ask() -> None:
            try:
                promise.set_result(self.daemon.call(verb, args, **envelope))
            except Exception as error:  # noqa: BLE001 - it is the caller's
                promise.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        return promise

    def log_in(self, profile: str = "master", **args: Any) -> str:
        """Open a login window on a profile and return the session's id."""
        reply = self.daemon.call("profiles/login", {"profile": profile, **args})
        assert reply["status"] == "done", reply
        return str(reply["result"]["session"])

    def close(self, session: str) -> dict[str, Any]:
        """Close a session and return what its end says."""
        self.daemon.call("session/close", {"session": session})
        return self.end_of(session)

    def sessions(self, *, ended: bool = False) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.daemon.call("session/list", {"ended": ended})["result"]["sessions"]
        return found

    def told(self, session: str) -> list[dict[str, Any]]:
        """Return a session's events in order, from the ledger, whether the daemon lives or not."""
        rows = self.daemon.rows(
            "SELECT payload FROM outbox WHERE kind = 'event' "
            f"AND json_extract(payload, '$.subject') = 'session/{session}' ORDER BY sequence"
        )
        return [json.loads(payload) for (payload,) in rows]

    def kinds(self, session: str) -> list[str]:
        return [event["type"].removeprefix("dev.tokd.session.") for event in self.told(session)]

    def verdict(self, session: str) -> dict[str, Any]:
        """Return what the event session.login_state told."""
        found: dict[str, Any] = next(
            event["data"] for event in self.told(session) if event["type"].endswith("login_state")
        )
        return found

    def ends(self, session: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.told(session) if event["type"] == "dev.tokd.session.ended"]

    def end_of(self, session: str, within_s: float = 15.0) -> dict[str, Any]:
        """Wait for the end and return what it says."""
        ends = wait_until(
            lambda: self.ends(session), within_s, what=lambda: f"the end of {self.told(session)}"
        )
        return ends[0]

    def state(self, session: str) -> str:
        """Return where a session stands, from the ledger."""
        row = self.daemon.rows(f"SELECT json_extract(body, '$.state') FROM session WHERE id = '{session}'")
        return str(row[0][0])

    def newest(self, command: str) -> str | None:
        """Return the session of an order, once there is one."""
        query = f"SELECT id FROM session WHERE json_extract(body, '$.command_id') = '{command}'"
        row = self.daemon.rows(query)
        return str(row[0][0]) if row else None

    def browser(self, session: str) -> int:
        """Return the process id of a session's browser."""
        return browser_on(self.clones / session / "profile")

    def left(self) -> dict[int, str]:
        return carriers(self.folder)

    def clone_files(self) -> list[str]:
        return sorted(path.relative_to(self.clones).as_posix() for path in self.clones.rglob("*"))

    def temp_files(self) -> list[str]:
        return sorted(path.name for path in self.temp.iterdir())

    # -- the person --------------------------------------------------------------------------------------

    def tokd(self, *words: str, within_s: float = 30) -> "subprocess.CompletedProcess[str]":
        """Run a command line to its end."""
        with self.tokd_running(*words) as process:
            out, _ = process.communicate(timeout=within_s)
            return subprocess.CompletedProcess(words, process.returncode, out)

    @contextlib.contextmanager
    def tokd_running(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a command line that stays."""
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=self.daemon.folder,
            env={
                "PATH": os.environ["PATH"], "PYTHONPATH": str(self.daemon.root), "LANG": "C.UTF-8", "COLUMNS": "200",
                "TOKD_DAEMON__STATE_DIR": str(self.daemon.state_dir), **self.daemon.environ,
            },
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def hands(self) -> Screen:
        assert self.screen is not None
        return self.screen

    def type_login(self, user: str = "demo") -> None:
        """Go to the site's form and log in with keys, as a person does: again if the page was not ready for them."""
        hands = self.hands()

        def fill() -> None:
            if shows(hands, FORM):
                self._visit("/elsewhere", "Elsewhere")
            self._visit("/login", FORM)
            type_text(hands, "", f"{user}\tsomething\n")
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not shows(hands, FORM), 3.0)

        fill()
        repeat(fill, lambda: not shows(hands, FORM))

    def _visit(self, path: str, title: str) -> None:
        """Type an address, until its page has come."""
        hands = self.hands()
        repeat(lambda: type_text(hands, "ctrl+l", f"{self.site}{path}\n"), lambda: shows(hands, title))

    def close_window(self, session: str) -> dict[str, Any]:
        """Close the window with a key and return what the session's end says."""
        self.hands().press_until("ctrl+shift+w", lambda: self.ends(session))
        return self.end_of(session)


def repeat(act: Callable[[], object], is_done: Callable[[], object], within_s: float = 20) -> None:
    """Act until it has had its effect: a window that has just come up may not listen yet."""
    end = time.monotonic() + within_s
    while not is_done():
        assert time.monotonic() < end, "it has no effect"
        act()
        with contextlib.suppress(AssertionError):
            wait_until(is_done, 2.0)


def type_text(screen: Screen, key: str, text: str) -> None:
    """Press a key, then type."""
    if key:
        screen.press(key)
    subprocess.run(
        ["xdotool", "type", "--delay", "15", text], check=True, timeout=20,
        env={"DISPLAY": screen.name, "PATH": os.environ["PATH"]},
    )  # fmt: skip


def shows(screen: Screen, title: str) -> bool:
    return any(title in found for found in screen.titles())


# -- what is left --------------------------------------------------------------------------------------------


def command_line(pid: int) -> str:
    """Return a process's arguments with spaces between them; nothing where it is gone or a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def browser_on(profile: Path) -> int:
    """Return the process id of the one browser that has this user-data-dir."""
    wanted = f" --user-data-dir={profile} "
    lines = {pid: f"{command_line(pid)} " for pid in psutil.pids()}
    found = [pid for pid, line in lines.items() if wanted in line and " --type=" not in line]
    assert len(found) == 1, found
    return found[0]


def carriers(folder: Path) -> dict[int, str]:
    """Return every process, however far from the daemon, that has this folder in its arguments or its environment.

    That is all of a daemon's: the folder of its state is in its environment, which all that it starts inherit.
    """
    wanted, found = str(folder).encode(), {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if wanted in words or wanted in (entry / "environ").read_bytes():
                    found[int(entry.name)] = words.replace(b"\0", b" ").decode(errors="replace")[:120]
    return found


# -- setting it up -------------------------------------------------------------------------------------------


def make_profile(folder: Path, url: str, cookies: dict[str, str]) -> Path:
    """Let a real Chromium make a profile that has visited the site and keeps these cookies; its name is not ASCII."""
    with Chromium(folder, folder.parent / "t", url) as browser:
        note = folder / "DevToolsActivePort"
        port, path = wait_until(lambda: len(told := note.read_text().splitlines()) == 2 and told)
        line = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", suppress_origin=True, timeout=10)
        expires = time.time() + 86_400
        wanted = [{"name": n, "value": v, "url": url, "expires": expires} for n, v in cookies.items()]
        line.send(json.dumps({"id": 1, "method": "Storage.setCookies", "params": {"cookies": wanted}}))
        assert "error" not in json.loads(line.recv())
        line.close()
        browser.close()
    preferences = folder / "Default" / "Preferences"
    found = json.loads(preferences.read_bytes())
    found["profile"]["name"] = NAME
    preferences.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return folder


@contextlib.contextmanager
def sessions(
    site: str,
    profile: Path | None = None,
    screen: Screen | None = None,
    *,
    broker: Broker | None = None,
    start: bool = True,
    root: Path | None = None,
    **settings: str,
) -> Iterator[SessionStage]:
    """Put up a daemon whose profile `master` is a copy of this one; end it and all that it has started."""
    with short_folder() as folder:
        stage = SessionStage(folder, site, screen, root=root, **settings)
        if profile is not None:
            stage.have(profile)
        if broker is not None:
            stage.daemon.use_broker(broker.port)
        try:
            if start:
                stage.daemon.start()
            yield stage
            stage.daemon.check_protocol()
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                stage.daemon.stop()
            stage.daemon.kill()
            wait_until(lambda: not stage.left(), 20, what=lambda: f"nothing left: {stage.left()}")


def caller_at(broker: Broker) -> Caller:
    return Caller(broker.port)


def retained(daemon: Daemon, session: str) -> dict[str, Any]:
    """Return what a newcomer at the broker is told about a session, nothing where it is not told of it."""
    newcomer = Caller(int(daemon.settings["mqtt.port"]), "newcomer")
    try:
        wait_until(lambda: any(topic.endswith("/availability") for topic, _, _ in list(newcomer.messages)))
        wanted = f"{newcomer.prefix}/state/session/{session}"
        found = [payload for topic, payload, _ in list(newcomer.messages) if topic == wanted]
        return dict(json.loads(found[-1])) if found else {}
    finally:
        newcomer.close()


def minted(simulator: Simulator, user: str = "demo") -> dict[str, str]:
    """Return the cookies of a fresh login on the simulated site."""
    sessionid = simulator.post("site/login", {"user": user})["sessionid"]
    return {"sessionid": sessionid, "sessionid_ss": sessionid}
