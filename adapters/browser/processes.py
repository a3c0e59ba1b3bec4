"""Which processes belong to a session: told by their exact arguments, never by a program's name.

The person's own browser runs next to ours and must not be touched.
"""

import contextlib
import os
import re
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.browser.clocks import now, pause
from daemon.domain.session import Workplace

_QUIET_PASSES = 3
_PASS_S = 0.02
_END_WITHIN_S = 10.0
_LOOK_WITHIN_S = 0.5
_ON_ITS_WAY_S = 0.1
_LOOK_AGAIN_S = 0.05
_BEFORE_SWITCH = re.compile(r" (?=--)")


@dataclass(frozen=True, slots=True)
class Belonging:
    """Tells what belongs to a session."""

    place: Workplace

    def is_browser(self, arguments: tuple[str, ...]) -> bool:
        """Tell whether it is a browser with exactly this user-data-dir.

        For the profile itself that is not enough: the person may have opened it in a browser of their own.
        """
        if f"--user-data-dir={self.place.user_data_dir}" not in arguments:
            return False
        return not self.place.is_master or session_mark(self.place) in arguments

    def owns(self, pid: int) -> bool:
        """Tell whether the process is this session's browser, crash handler or driver."""
        arguments = arguments_of(pid)
        if any(each.startswith(f"--database={self.place.folder}/") for each in arguments):
            return True
        if any(Path(each).name.startswith("chromedriver") for each in arguments[:4]):
            return self._has_temp_dir(pid)
        return self.is_browser(arguments)

    def _has_temp_dir(self, pid: int) -> bool:
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"TMPDIR={self.place.temp_dir}".encode() in environ.split(b"\0")


def session_mark(place: Workplace) -> str:
    """Return a switch that Chromium does not know, to know the browser by. Its environment it overwrites on desktops."""
    return f"--tokd-session={place.session}"


def pids() -> Iterator[int]:
    """Yield all processes except this one."""
    own = os.getpid()
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if name.isdigit() and int(name) != own:
            yield int(name)


def arguments_of(pid: int) -> tuple[str, ...]:
    """Return the command line; empty for a process that is gone, a zombie, or one of the kernel's.

    Where DBUS_SESSION_BUS_ADDRESS is set, as on every desktop, Chromium writes its arguments anew as one text with
    spaces between them. Its switches can be told apart even so.
    """
    try:
        text = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).rstrip("\0")
    except OSError:
        return ()
    words = tuple(text.split("\0")) if text else ()
    return tuple(_BEFORE_SWITCH.split(text)) if len(words) == 1 else words


def parent_of(pid: int) -> int:
    """Return the parent, 0 for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(text[text.rindex(b")") + 1 :].split()[1])


def browser_of(user_data_dir: str, parent: int) -> int | None:
    """Return the browser process that `parent` has started with exactly this user-data-dir.

    None after looking for a while only: a process that is becoming another program, or is writing its command line
    anew, has none that could be read.
    """
    wanted, until = f"--user-data-dir={user_data_dir}", now() + _LOOK_WITHIN_S
    while True:
        for pid in pids():
            if parent_of(pid) == parent and wanted in arguments_of(pid):
                return pid
        if now() >= until:
            return None
        pause(_PASS_S)


def end_all(place: Workplace, *, ask_s: float) -> None:
    """Kill what belongs to the session until three passes in a row have found nothing.

    A profile's own browser is asked first and has `ask_s` seconds to write down what it knows.
    """
    belonging = Belonging(place)
    if place.is_master:
        _ask(belonging, ask_s)
    until, quiet = now() + _END_WITHIN_S, 0
    while quiet < _QUIET_PASSES and now() < until:
        found = [pid for pid in pids() if _signal(pid, signal.SIGKILL, belonging.owns)]
        quiet = 0 if found else quiet + 1
        pause(_PASS_S)


def _ask(belonging: Belonging, seconds: float) -> None:
    """Interrupt the browsers, and wait for them. Their SIGTERM loses cookies, their SIGINT does not."""

    def is_main(pid: int) -> bool:
        arguments = arguments_of(pid)
        return belonging.is_browser(arguments) and not any(each.startswith("--type=") for each in arguments)

    until = now() + seconds
    for pid in [pid for pid in pids() if is_main(pid)]:
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)
            try:
                # One interruption may be on its way: its worker may have sent it with its last breath.
                if is_main(pid) and not wait_fd(fd, min(seconds, _ON_ITS_WAY_S)):
                    interrupt(pid, fd, until - now())
            finally:
                os.close(fd)


def interrupt(pid: int, pidfd: int, seconds: float) -> bool:
    """Interrupt a browser, but once only, and wait for it; tell whether it has ended.

    It catches a single SIGINT: the next one, and one before it is up, would kill it with its newest cookies.
    """
    until = now() + seconds
    while not catches_interrupt(pid):
        if wait_fd(pidfd, min(_LOOK_AGAIN_S, until - now())):
            return True
        if now() >= until:
            return False
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGINT)
    return wait_fd(pidfd, until - now())


def catches_interrupt(pid: int) -> bool:
    """Tell whether the process has a handler for SIGINT: a browser has one when it is up, until the first SIGINT."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)
    return False


def wait_fd(fd: int, seconds: float) -> bool:
    """Wait until the descriptor is readable: for a pidfd, until the process has ended."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0.0, seconds) * 1000))


def _signal(pid: int, number: signal.Signals, is_meant: Callable[[int], bool]) -> bool:
    """Send a signal to the very process that was looked at: its number may be another's by now."""
    if not is_meant(pid):
        return False
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if is_meant(pid):
            signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
