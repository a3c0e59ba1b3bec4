"""Starting a browser together with its chromedriver, in two ways: undetected-chromedriver, and Selenium alone.

In both the browser is a child of the calling thread, which must be the worker's main thread.
"""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import selenium.webdriver.chromium.service as chromium_service
import undetected_chromedriver as uc
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.chromium.options import ChromiumOptions
from selenium.webdriver.chromium.service import ChromiumService
from selenium.webdriver.chromium.webdriver import ChromiumDriver
from selenium.webdriver.remote.remote_connection import RemoteConnection

from adapters.browser.clocks import pause

_SETPRIV = "/usr/bin/setpriv"
_LOOK_EVERY_S = 0.01
_CALL_WITHIN_S = 5


class StartAborted(Exception):
    """The session ended before its browser was up."""


class Leash:
    """Holds the chromedriver, so that another thread can end it and thereby any call that waits for it."""

    def __init__(self, when_held: Callable[[], None] = lambda: None) -> None:
        self._lock = threading.Lock()
        self._when_held = when_held
        self._process: subprocess.Popen[bytes] | None = None
        self._is_cut = False

    def hold(self, process: "subprocess.Popen[bytes]") -> None:
        """Take hold of a driver that has just been started."""
        with self._lock:
            self._process = process
            if self._is_cut:
                process.kill()
        self._when_held()

    def cut(self) -> None:
        """Kill it, now or when it comes. From any thread."""
        with self._lock:
            self._is_cut = True
            if self._process is not None:
                self._process.kill()

    def end(self) -> None:
        """Kill it and leave nothing of it. From the main thread."""
        self.cut()
        if self._process is not None:
            self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()


class TetheredService(ChromiumService):
    """A chromedriver that dies with us."""

    def __init__(self, driver: str, leash: Leash) -> None:
        self._driver = driver
        self._leash = leash
        self._is_tied = os.access(_SETPRIV, os.X_OK)
        super().__init__(_SETPRIV if self._is_tied else driver)

    def command_line_args(self) -> list[str]:
        """Return the arguments; the driver itself is one of setpriv's."""
        own = super().command_line_args()
        return ["--pdeathsig", "KILL", self._driver, *own] if self._is_tied else own

    def _start_process(self, path: str) -> None:
        super()._start_process(path)
        self._leash.hold(self.process)

    def __del__(self) -> None:
        """Do nothing: the leash ends it, in its own time."""


class _Patched(uc.Patcher):  # type: ignore[misc]
    """Takes the driver as it is: `ensure_patched` has made it, and to read it through again costs 10 ms."""

    def auto(self, *_: object, **__: object) -> None:
        """Do nothing."""


class _Undetected(uc.Chrome):  # type: ignore[misc]
    """uc.Chrome without its ways of ending: they are lossy, and wait for nothing."""

    def quit(self) -> None:
        """Do nothing."""

    def __del__(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start."""

    wrapper: Path
    driver: Path
    major: int
    user_data_dir: str
    arguments: list[str]
    is_sandboxed: bool
    is_over: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Driven:
    """A browser under a driver."""

    driver: ChromiumDriver
    port: int

    def hang_up(self) -> None:
        """Close the connections to the driver."""
        if isinstance(executor := self.driver.command_executor, RemoteConnection):
            executor.close()  # type: ignore[no-untyped-call]


def open_undetected(launch: Launch, leash: Leash) -> Driven:
    """Start the browser by undetected-chromedriver."""
    uc.finalize = lambda *_: None  # it would hold every driver for ever
    _Patched.data_path = str(
        launch.driver.parent
    )  # it makes this folder, which would be one in the person's home
    uc.Patcher = _Patched
    chromium_service.ChromiumService = lambda path: TetheredService(path, leash)  # type: ignore[assignment, misc]
    options = uc.ChromeOptions()
    _prepare(options)
    for argument in launch.arguments:
        options.add_argument(argument)
    driver = _Undetected(
        options=options,
        user_data_dir=launch.user_data_dir,
        driver_executable_path=str(launch.driver),
        browser_executable_path=str(launch.wrapper),
        version_main=launch.major,
        use_subprocess=True,
    )
    _hasten(driver)
    return Driven(driver, int(options.debugger_address.rsplit(":", 1)[1]))


def open_selenium(launch: Launch, leash: Leash) -> Driven:
    """Start the browser ourselves and attach a plain chromedriver to it."""
    note = Path(launch.user_data_dir, "DevToolsActivePort")
    note.unlink(missing_ok=True)
    process = spawn(launch.wrapper, [
        f"--user-data-dir={launch.user_data_dir}", "--remote-debugging-port=0", *unsafe(launch.is_sandboxed),
        "--window-size=1920,1080", *launch.arguments, "about:blank",
    ])  # fmt: skip
    port = _await_port(note, process, launch.is_over)
    options = Options()
    _prepare(options)
    options.debugger_address = f"127.0.0.1:{port}"
    driver = WebDriver(options=options, service=TetheredService(str(launch.driver), leash))  # type: ignore[arg-type]
    _hasten(driver)
    return Driven(driver, port)


BACKENDS: dict[str, Callable[[Launch, Leash], Driven]] = {
    "undetected": open_undetected,
    "selenium": open_selenium,
}


def unsafe(is_sandboxed: bool) -> list[str]:
    """Return what Chromium wants of root."""
    return [] if is_sandboxed else ["--no-sandbox", "--test-type"]


def spawn(wrapper: Path, arguments: list[str]) -> "subprocess.Popen[bytes]":
    """Start the browser through its wrapper."""
    process = subprocess.Popen([str(wrapper), *arguments], stdin=subprocess.DEVNULL)
    _spawned.append(process)  # or Python would reap it at any time, and with it its exit status
    return process


_spawned: list[Any] = []


def _await_port(note: Path, process: "subprocess.Popen[bytes]", is_over: Callable[[], bool]) -> int:
    while True:
        with contextlib.suppress(OSError, ValueError, IndexError):  # it is being written
            return int(note.read_text(encoding="ascii").splitlines()[0])
        if is_over() or os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            raise StartAborted
        pause(_LOOK_EVERY_S)


def _prepare(options: ChromiumOptions) -> None:
    options.page_load_strategy = "none"
    options.unhandled_prompt_behavior = "ignore"  # a dialog is the person's
    options._ignore_local_proxy = True  # noqa: SLF001 - its public setter warns; the driver is on this machine


def _hasten(driver: ChromiumDriver) -> None:
    """Let no call wait longer than seconds; Selenium tries four times."""
    if isinstance(executor := driver.command_executor, RemoteConnection):
        executor.client_config.timeout = _CALL_WITHIN_S
