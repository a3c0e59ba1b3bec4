"""Real browsers on a stage of their own: a private screen, a simulated site, folders that vanish, and a person's hands."""

import contextlib
import fcntl
import http.server
import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import psutil

from adapters.browser import BrowserSettings, ChromiumBrowsers, LoginMarkers, PageState
from adapters.browser.devtools import BrowserLine
from adapters.browser.handle import WorkerHandle
from adapters.browser.nursery import Nursery
from adapters.simulator.child import SimulatorChild
from daemon.domain.ids import ProfileName, SessionId
from daemon.domain.session import (
    BrowserEnded,
    EndReason,
    HandedOver,
    LoginSeen,
    SessionKind,
    SessionNews,
    SessionOrder,
    Started,
    Workplace,
)  # fmt: skip
from tests.waiting import wait_until

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
# Of sessions whose test does not choose one: `make test-selenium` runs them all with the other.
BACKEND = os.environ.get("TOKD_BACKEND", "undetected")
LOOPBACK_ONLY = (
    "--disable-gpu",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
INFO_PATH = "/passport/web/account/info/"
MARKERS = LoginMarkers(
    hosts=("127.0.0.1",),
    login_paths=("/login",),
    cookies=("sessionid", "sessionid_ss"),
    info_paths=(INFO_PATH,),
    info_user_keys=("user_id_str", "user_id"),
    info_name_keys=("username",),
    info_out_names=("session_expired",),
    dom_in=('[data-e2e="profile-icon"]', '[data-e2e="inbox-icon"]'),
    dom_out=('[data-e2e="top-login-button"]', '[data-e2e="nav-login-button"]'),
    challenge=('[data-e2e="captcha"]',),
    page_states=(
        PageState(
            script="__UNIVERSAL_DATA_FOR_REHYDRATION__",
            context=("__DEFAULT_SCOPE__", "webapp.app-context"),
            user=("user",),
            id_keys=("uid",),
            name_keys=("uniqueId",),
        ),
    ),
)


class Recorder:
    """Reads one session's news in a thread, as the daemon does."""

    def __init__(self, handle: WorkerHandle) -> None:
        self.handle = handle
        self.place: Workplace  # of a session that many tests share
        self.news: list[SessionNews] = []
        self.times: list[float] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for each in self.handle.news():
            self.times.append(time.monotonic())
            self.news.append(each)

    def all(self, kind: type[T]) -> list[T]:
        return [each for each in list(self.news) if isinstance(each, kind)]

    def wait_for(self, kind: type[T], within_s: float = 15.0, count: int = 1) -> T:
        """Return the news of this kind; fail at once where the session has ended without."""

        def look() -> T | None:
            found = self.all(kind)
            if len(found) >= count:
                return found[count - 1]
            assert kind is BrowserEnded or not self.all(BrowserEnded), f"ended: {self.news}"
            return None

        found = wait_until(look, within_s, what=lambda: f"no {kind.__name__} in {self.news}")
        assert found is not None
        return found

    def seen(self, token: str) -> LoginSeen:
        """Wait for the answer to a question."""
        return wait_until(
            lambda: next((each for each in self.all(LoginSeen) if each.token == token), None), 15,
            what=lambda: f"no answer in {self.news}",
        )  # type: ignore[return-value]  # fmt: skip

    def ended(self, within_s: float = 15.0) -> BrowserEnded:
        found = self.wait_for(BrowserEnded, within_s)
        self._thread.join(5)
        assert not self._thread.is_alive()
        return found

    def opened(self) -> int:
        """Wait for the hand-over; return the browser's process id."""
        self.wait_for(HandedOver)
        return self.all(Started)[0].pid

    def closed(self) -> BrowserEnded:
        """End the session if it has not ended, and return its end."""
        self.handle.close(EndReason.CLOSED_BY_COMMAND)
        return self.ended()


@dataclass
class Stage:
    """Folders, settings and sessions. All ends with it."""

    root: Path
    url: str
    screen: "Screen | None" = None
    settings: dict[str, Any] = field(default_factory=dict)
    recorders: list[Recorder] = field(default_factory=list)
    places: list[Workplace] = field(default_factory=list)
    nursery: Nursery = field(default_factory=Nursery)
    _browsers: dict[str, ChromiumBrowsers] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def browsers(self, **changes: Any) -> ChromiumBrowsers:
        """Return the browsers with these settings, always the same for the same."""
        key = repr(sorted(changes.items()))
        if key not in self._browsers:
            self._browsers[key] = ChromiumBrowsers(self.make_settings(**changes), self.nursery)
        return self._browsers[key]

    def make_settings(self, **changes: Any) -> BrowserSettings:
        environ = {key: value for key, value in os.environ.items() if "DISPLAY" not in key}
        if self.screen is not None:
            environ["DISPLAY"] = self.screen.name
        found: dict[str, Any] = {
            "state_dir": self.root / "state", "backend": BACKEND, "browser_args": LOOPBACK_ONLY, "markers": MARKERS,
            "environ": environ | {"HOME": str(self.home)}, "detection_timeout_s": 5.0,
        }  # fmt: skip
        return BrowserSettings(**(found | self.settings | changes))

    @property
    def home(self) -> Path:
        path = self.root / "home"
        path.mkdir(exist_ok=True)
        return path

    def order(self, page: str = "logged_in", **changes: Any) -> SessionOrder:
        found = SessionOrder(
            session=SessionId(f"s{next(self._numbers):03d}"), kind=SessionKind.TIKTOK, profile=ProfileName("master"),
            url=page if "://" in page else f"{self.url}/?page={page}", headless=self.screen is None,
            require_login=True, timeout_s=30.0,
        )  # fmt: skip
        return replace(found, **changes)

    def place(self, order: SessionOrder, **changes: Any) -> Workplace:
        """Make the session's folder with an empty profile, and lock it."""
        folder = self.root / order.session
        (folder / "profile").mkdir(parents=True)
        (folder / "t").mkdir()
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        place = Workplace(
            session=order.session, folder=str(folder), user_data_dir=str(folder / "profile"),
            temp_dir=str(folder / "t"), locks=(lock,),
        )  # fmt: skip
        self.places.append(place)
        return replace(place, **changes)

    def open(self, page: str = "logged_in", *, place: Workplace | None = None, **changes: Any) -> Recorder:
        """Open a session; keywords change the order, or the settings where they are theirs."""
        ours = {key: value for key, value in changes.items() if key in BrowserSettings.__slots__}
        order = self.order(page, **{key: value for key, value in changes.items() if key not in ours})
        if order.kind is SessionKind.LOGIN and place is None:
            place = self.place(order, is_master=True)
        handle = self.browsers(**ours).open(order, place or self.place(order))
        recorder = Recorder(handle)
        self.recorders.append(recorder)
        return recorder

    def release(self, place: Workplace) -> None:
        """Let go of a place as its owner would."""
        if place in self.places:
            self.places.remove(place)
            for lock in place.locks:
                os.close(lock)
            shutil.rmtree(place.folder)

    def strike(self) -> None:
        """End every session, remove every folder."""
        for recorder in self.recorders:
            if not recorder.all(BrowserEnded):
                recorder.closed()
        self.nursery.stop()
        for place in self.places:
            for lock in place.locks:
                os.close(lock)


@contextlib.contextmanager
def set_stage(url: str, screen: "Screen | None" = None, **settings: Any) -> Iterator[Stage]:
    """Give a stage. Its folder's name must not come from a test's: it may contain words that are poison."""
    root = Path(tempfile.mkdtemp(prefix="tb-"))
    stage = Stage(root, url, screen, settings)
    try:
        yield stage
    finally:
        try:
            stage.strike()
        finally:
            shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def site() -> Iterator[str]:
    """Give the address of the simulated site."""
    folder = Path(tempfile.mkdtemp(prefix="ts-"))
    simulator = SimulatorChild(folder)
    simulator.start()
    try:
        yield simulator.url
    finally:
        simulator.stop()
        shutil.rmtree(folder, ignore_errors=True)


STATE = '<script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">{}</script>'.format(
    json.dumps({"__DEFAULT_SCOPE__": {"webapp.app-context": {"user": {"uid": "7", "uniqueId": "demo"}}}})
)


NO_USER = '<script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">{}</script>'.format(
    json.dumps({"__DEFAULT_SCOPE__": {"webapp.app-context": {"region": "DE"}}})
)


class Pages(http.server.ThreadingHTTPServer):
    """A few pages that a site should not have."""

    PAGES: ClassVar = {
        "/alert": f"<p>Look.</p>{STATE}<script>setTimeout(() => alert('Stop'), 1000)</script>",
        "/alert_at_once": f"<p>Look.</p>{STATE}<script>alert('Stop')</script>",
        "/shell": (
            "<div id=a><button data-e2e='top-login-button'>Log in</button></div><script>setTimeout(() => {"
            "a.innerHTML = '<button data-e2e=profile-icon>D</button>'}, 1000)</script>"
        ),
        "/late": f"<p>At last.</p>{STATE}",
        "/slow_shell": f"<p>Shell.</p>{NO_USER}<script>fetch('{INFO_PATH}')</script>",
        "/login": "<p>One moment.</p><script>setTimeout(() => location.replace('/late'), 200)</script>",
        "/nobody": NO_USER,
        INFO_PATH: '{"message": "success", "data": {"user_id_str": "77", "username": "demo"}}',
        "/nothing": "<p>Nothing to see yet.</p>",
        "/busy": "<p>Look.</p><script>addEventListener('load', () => { for (;;); })</script>",
        "/second": "<p>Nothing to see yet.</p>",
        "/leave": STATE,
        "/captcha": "<p data-e2e='captcha'>Drag the slider.</p>",
        "/plain": "<title>Plain</title><p style='color:red'>Some other page.</p>",
    }

    AGAIN: ClassVar = {"/second": STATE, "/leave": NO_USER}  # from the second time on

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body = (self.server.AGAIN if path in self.server.asked else {}).get(path, "") or Pages.PAGES.get(
            path, ""
        )
        self.server.asked.append(path)
        if path in {"/late", INFO_PATH}:
            threading.Event().wait(2.2 if path == "/late" else 0.4)
        self.send_response(302 if path == "/leaving" else 200 if body else 404)
        if path == "/leaving":
            self.send_header("Location", "/login")
        self.send_header("Content-Type", "application/json" if path == INFO_PATH else "text/html")
        self.send_header("Set-Cookie", "sessionid=not-a-real-one; Max-Age=86400")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        if path == "/slow_shell":
            self.wfile.flush()
            threading.Event().wait(1.2)
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def pages() -> Iterator[Pages]:
    server = Pages()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Screen:
    """A private X server, and the hands of the person in front of it."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self.process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24", "-nolisten", "tcp", "-noreset"],
            pass_fds=(write,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(write)
        with os.fdopen(read) as told:
            self.name = f":{int(told.readline())}"

    def press(self, *keys: str) -> None:
        """Press keys, in whatever window is under the pointer."""
        subprocess.run(
            ["xdotool", "mousemove", "400", "400", "key", "--clearmodifiers", *keys], check=True, timeout=10,
            env={"DISPLAY": self.name, "PATH": os.environ["PATH"]},
        )  # fmt: skip

    def press_until(self, key: str, is_done: Callable[[], object], within_s: float = 10) -> None:
        """Press a key until it has had its effect: a window that has just come up may not listen yet."""
        end = time.monotonic() + within_s
        while not is_done():
            assert time.monotonic() < end, f"{key} has no effect"
            self.press(key)
            with contextlib.suppress(AssertionError):
                wait_until(is_done, 1.0)

    def titles(self) -> list[str]:
        """Return the titles of the windows that can be seen."""
        done = subprocess.run(
            ["xdotool", "search", "--onlyvisible", "--name", ".", "getwindowname", "%@"], check=False, timeout=10,
            env={"DISPLAY": self.name, "PATH": os.environ["PATH"]}, capture_output=True, text=True,
        )  # fmt: skip
        return sorted(done.stdout.splitlines())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def line(*options: str) -> Iterator[BrowserLine]:
    """Give the line to a browser of its own, for whatever only looks at pages; of two like options the last counts."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    safe = () if os.geteuid() else ("--no-sandbox",)
    process = subprocess.Popen(
        ["chromium", "--headless=new", f"--user-data-dir={folder}", "--remote-debugging-port=0", *safe, "--no-first-run",
         *LOOPBACK_ONLY, *options, "about:blank"],
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "TMPDIR": str(folder)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    note = folder / "DevToolsActivePort"
    try:
        port = wait_until(lambda: note.exists() and note.read_text().split()[:1])
        found = BrowserLine(int(port[0]), lambda: False)  # type: ignore[index]
        yield found
        found.close()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def screen() -> Iterator[Screen]:
    found = Screen()
    try:
        yield found
    finally:
        found.stop()


def family() -> dict[int, str]:
    """Return the processes that we have started, and theirs, with their names."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found[process.pid] = f"{process.name()} {process.status()}"
    return found


def alive(pids: list[int]) -> list[int]:
    """Return those that live; a zombie does not."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def descendants(pid: int) -> dict[int, list[str]]:
    """Return the command lines of all that a process has started."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found[process.pid] = process.cmdline()
    return found


def mentions(text: str) -> list[int]:
    """Return the processes that have this text in their arguments."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(text in each for each in process.cmdline()):
                found.append(process.pid)
    return found


def arguments_of(pid: int) -> list[str]:
    return psutil.Process(pid).cmdline()


def debug_port_of(pid: int, place: Workplace) -> int:
    wanted = [each for each in arguments_of(pid) if each.startswith("--remote-debugging-port=")]
    port = int(wanted[-1].split("=")[1])
    return port or int(Path(place.user_data_dir, "DevToolsActivePort").read_text().split()[0])


OWNER = """
import json, sys
from tests.integration.browser_stage import set_stage, descendants
from daemon.domain.session import SessionKind, Started
import os
told = json.loads(sys.argv[1])
with set_stage(told["url"]) as stage:
    session = stage.open(**(told["order"] | {"kind": SessionKind(told["order"].get("kind", "tiktok"))}))
    pid = session.wait_for(Started).pid if "slow" in told["order"].get("page", "") else session.opened()
    print(json.dumps({"root": str(stage.root), "browser": pid, "started": session.news[0].is_sandboxed,
                      "all": list(descendants(os.getpid()))}), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def owner(
    url: str, prefix: tuple[str, ...] = (), python: str = "", **order: Any
) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """Run a session in a process of its own; give it, and what it told about the session."""
    argv = [*prefix, python or sys.executable, "-c", OWNER, json.dumps({"url": url, "order": order})]
    packages = f"{ROOT}:{sysconfig.get_path('purelib')}"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": packages, "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, cwd="/"
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told = None
    try:
        line = process.stdout.readline()
        told = json.loads(line)
        yield process, told
        process.stdin.close()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(OSError):
            process.stdin.close()
        if told is not None:
            shutil.rmtree(told["root"], ignore_errors=True)


def last_verdict(recorder: Recorder) -> Any:
    return recorder.all(LoginSeen)[-1].verdict
