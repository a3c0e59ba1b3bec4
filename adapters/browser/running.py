"""A browser that runs: what holds it, whether it lives, and how it is ended."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from adapters.browser.backends import Driven, Leash
from adapters.browser.clocks import now, pause
from adapters.browser.command_line import wipe
from adapters.browser.debug_port import DebugPort
from adapters.browser.devtools import BrowserLine, DevToolsError, DevToolsGone
from adapters.browser.launching import PROXY_SWITCH, profile_of
from adapters.browser.processes import arguments_of, catches_interrupt, end_all, interrupt, wait_fd
from adapters.browser.settings import BrowserSettings
from daemon.domain.session import Workplace

_REAP_WITHIN_S = 1.0
_LOOK_EVERY_S = 0.01
_LOOK_AT_DAEMON_S = 0.5


class NotOurs(Exception):
    """The process is not the browser that was ordered; nothing may be done with it."""


class RunningBrowser:
    """One browser, child of this process."""

    def __init__(self, pid: int, place: Workplace, leash: Leash) -> None:
        self.pid = pid
        self.place = place
        self.leash = leash
        self.pidfd = os.pidfd_open(pid)  # at once: it keeps the number from becoming another process's
        self.line: BrowserLine | None = None
        self.port: DebugPort | None = None
        self.was_killed = False

    @property
    def is_gone(self) -> bool:
        """Tell whether it has exited."""
        return wait_fd(self.pidfd, 0)

    @property
    def owns_profile(self) -> bool:
        """Tell whether it has taken the profile's lock, which it does when it is up."""
        try:
            holder = Path(self.place.user_data_dir, "SingletonLock").readlink()
        except OSError:
            return False
        return str(holder) == f"{socket.gethostname()}-{self.pid}"

    @property
    def connected(self) -> BrowserLine:
        """Return the line. Raises DevToolsGone before `connect`."""
        if self.line is None:
            raise DevToolsGone("not connected")
        return self.line

    @property
    def heeds_interrupt(self) -> bool:
        """Tell whether it would close when interrupted. In its first moments it would just die of it."""
        return catches_interrupt(self.pid)

    def check_arguments(self, proxy: str | None) -> None:
        """Make sure that it opened this profile and no other, and goes through the proxy. Raises NotOurs.

        undetected-chromedriver drops a switch that it misreads, whatever it was for.
        """
        found = arguments_of(self.pid)
        if f"--user-data-dir={self.place.user_data_dir}" not in found:
            raise NotOurs("the browser was not started with the session's profile")
        if proxy and f"--proxy-server={proxy}" not in found:
            raise NotOurs("the browser was not started with the proxy of session.proxy")

    def hide(self, settings: BrowserSettings) -> bool:
        """Take the proxy out of the command line, which every user may read; tell whether it is out."""
        return settings.proxy is None or wipe(self.pid, PROXY_SWITCH, settings.proxy) or self.is_gone

    def connect(self, driven: Driven, is_over: Callable[[], bool]) -> None:
        """Open the line that stays. Raises NotOurs, DevToolsGone."""
        self.port = DebugPort(self.pid, self.pidfd, driven.port)
        if not self.port.is_owned:
            raise NotOurs("the debugging port belongs to another process")
        self.line = BrowserLine(driven.port, is_over)

    def let_downloads(self, behaviour: str) -> None:
        """Have downloads refused ("deny"), or as the browser has them ("default"). Raises DevToolsGone.

        It lasts as long as the line. An answer that is late changes nothing: the browser takes orders in their order.
        """
        try:
            self.connected.call("Browser.setDownloadBehavior", {"behavior": behaviour})
        except DevToolsGone:
            raise
        except DevToolsError:
            pass

    def detach(self, driven: Driven | None) -> None:
        """Let go of the driver and close the port: from here on only the line is left."""
        self.leash.end()
        if driven is not None:
            with contextlib.suppress(Exception):  # urllib3's, of a driver that is dead
                driven.hang_up()
        if self.port is not None:
            self.port.shut(self.connected.local_port)

    def close(self, settings: BrowserSettings, is_orphaned: Callable[[], bool], *, is_hurried: bool) -> None:
        """End it: asked first, interrupted then, and killed last. A profile itself is not asked, for it has no line."""
        is_master = self.place.is_master
        if not is_master and is_orphaned():
            self._kill()
        elif is_master:
            hurried_s = settings.master_close_s(is_hurried=True)
            spare_s = settings.master_close_s(is_hurried=is_hurried) - hurried_s
            if not interrupt(self.pid, self.pidfd, hurried_s) and not self._ends_within(spare_s, is_orphaned):
                self._kill()
        elif not (self._ask(settings.close_timeout_s) or self._interrupt(settings.interrupt_timeout_s)):
            self._kill()

    def exit_status(self) -> int | None:
        """Return the exit status as Python has it; None where somebody else has reaped it, or it lives."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(status) if pid else None

    def clean_up(self, settings: BrowserSettings) -> None:
        """Leave no process and no descriptor of it; a browser that has restarted itself is one of them."""
        self.leash.end()
        if self.line is not None:
            self.line.close()
        if self.port is not None:
            self.port.shut()
        reap(_REAP_WITHIN_S)
        end_all(self.place, ask_s=settings.master_close_timeout_s)
        reap(0)
        os.close(self.pidfd)

    @property
    def exit_type(self) -> str | None:
        """Return what the browser has noted in the profile about its end; Normal, where it ended as it should."""
        try:
            folder = self.place.user_data_dir
            text = Path(folder, profile_of(folder), "Preferences").read_bytes()
            return str(json.loads(text)["profile"]["exit_type"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _ask(self, seconds: float) -> bool:
        if self.line is None:
            return False
        try:
            self.line.tell("Browser.close")
        except DevToolsGone:
            return self.is_gone
        return wait_fd(self.pidfd, seconds)

    def _interrupt(self, seconds: float) -> bool:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGINT)
        return wait_fd(self.pidfd, seconds)

    def _ends_within(self, seconds: float, is_orphaned: Callable[[], bool]) -> bool:
        """Wait on, as long as the daemon is there, and tell whether it has ended by itself."""
        until = now() + seconds
        while now() < until and not is_orphaned():
            if wait_fd(self.pidfd, min(_LOOK_AT_DAEMON_S, until - now())):
                return True
        return False

    def _kill(self) -> None:
        self.was_killed = True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        wait_fd(self.pidfd, _REAP_WITHIN_S)


def reap(seconds: float) -> None:
    """Wait for the browser's helpers, which we have adopted. What else it started is the person's, and goes on."""
    until = now() + seconds
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if now() >= until:
                return
            pause(_LOOK_EVERY_S)
