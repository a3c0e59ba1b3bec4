"""One session, from the browser's start to its end: what all kinds have in common.

A kind says how the window comes to be handed over. Watching it, ending it and telling about it are the same for all.
"""

import contextlib
import os
import select
import signal
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from adapters.browser import display
from adapters.browser.asking import read_login, take_picture
from adapters.browser.backends import Leash
from adapters.browser.clocks import SLICE_S, now
from adapters.browser.deadline import Deadline
from adapters.browser.facts import no_answer
from adapters.browser.keyring import KeyringWatch
from adapters.browser.launching import PROXY_WARNING, ROOT_WARNING, is_sandboxed, last_words, trim_log
from adapters.browser.letters import Check, Extend, Letter, Picture, Session
from adapters.browser.mailbox import Mailbox
from adapters.browser.processes import browser_of, end_all, wait_fd
from adapters.browser.running import NotOurs, RunningBrowser
from daemon.domain.errors import Code, Problem
from daemon.domain.login import Verdict
from daemon.domain.session import (
    BrowserEnded,
    Closing,
    EndingSoon,
    EndReason,
    HandedOver,
    LoginSeen,
    Pictured,
    SessionKind,
    SessionNews,
)  # fmt: skip

T = TypeVar("T")
_GONE_WITHIN_S = 0.5
_NORMAL = "Normal"
_MISSING = "it ended at once, or was not started with the session's profile"


class Over(Exception):
    """The session is to end for this reason; None: the browser has ended by itself."""

    def __init__(self, reason: EndReason | None, error: Problem | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class Lifecycle(ABC):
    """One session. `run` takes all its steps and always tells its end."""

    def __init__(self, job: Session, mailbox: Mailbox, tell: Callable[[SessionNews], None]) -> None:
        self.job = job
        self.order = job.order
        self.place = job.place
        self.settings = job.settings
        self.mailbox = mailbox
        self.tell = tell
        self.leash = Leash(self._watch_start)
        self._early: int | None = None
        self._is_missing = False  # when its driver was there, no browser was to be found
        self.browser: RunningBrowser | None = None
        self.deadline = Deadline(self.settings.ending_soon_s)

    @abstractmethod
    def open(self) -> RunningBrowser:
        """Start the browser and bring it to where it is the person's. Raises Over; NotOurs."""

    def run(self) -> None:
        """Live through the session."""
        try:
            browser = self.open()
            self._hand_over()
            self._watch(browser)
        except Exception as error:  # noqa: BLE001 - whatever breaks, the browser must end and be told about
            self._finish(self._over(error))

    def _over(self, error: Exception) -> Over:
        if isinstance(error, Over):
            return error
        if isinstance(error, NotOurs):
            return Over(EndReason.FAILED, Problem(Code.BROWSER_FAILED.value, str(error)))
        self._note(error)
        self.await_end()
        try:
            self.heed_interruption()  # what broke may have been broken by that
        except Over as over:
            return over
        words = last_words(self.place) or (_MISSING if self._is_missing else type(error).__name__)
        return Over(
            EndReason.FAILED, Problem(Code.BROWSER_FAILED.value, f"the browser did not start: {words}")
        )

    # -- before the hand-over ----------------------------------------------------------------------------

    def unblocked(self, call: Callable[[], T], until: float) -> T:
        """Return what a blocking call returns. It is aborted when the session is to end. Raises Over."""
        try:
            with self.mailbox.guard(self.leash.cut, until):
                return call()
        except Exception:
            self.heed_interruption()
            raise

    def _watch_start(self) -> None:
        """Have the start aborted where the browser ends: its driver would look for it for a minute."""
        pid = browser_of(self.place.user_data_dir, os.getpid())
        if pid is None:
            self._is_missing = True
            self.leash.cut()
        elif self._early is None:
            self._early = os.pidfd_open(pid)
            self.mailbox.watch(self._early)

    def started(self) -> None:
        """End that watch."""
        self.mailbox.watch(None)
        if self._early is not None:
            os.close(self._early)
            self._early = None

    def warnings_about(self, browser: RunningBrowser) -> tuple[str, ...]:
        """Hide what need not be seen of it, and return what the person should know. Once it is up, not before."""
        found = () if is_sandboxed() else (ROOT_WARNING,)
        return found if browser.hide(self.settings) else (*found, PROXY_WARNING)

    def heed_interruption(self) -> None:
        """Raise Over where the session is to end before it is open."""
        if self.mailbox.is_orphaned:
            raise Over(EndReason.ORPHANED)
        if self.mailbox.closing is not None:
            raise Over(self.mailbox.closing)
        if now() >= self.job.until:
            seconds = self.settings.creation_timeout_s
            told = f"the session was not open within {seconds:g} s"
            raise Over(
                EndReason.FAILED, Problem(Code.SESSION_TIMEOUT.value, told, "see session.creation_timeout")
            )
        if self.browser is not None and self.browser.is_gone:
            raise Over(None)

    def await_end(self) -> None:
        """Give a browser that has broken off the time to be gone: its line is cut a moment before."""
        if self.browser is not None:
            wait_fd(self.browser.pidfd, _GONE_WITHIN_S)

    def is_over(self) -> bool:
        """Tell whether to stop whatever is going on."""
        return (
            self.mailbox.is_interrupted
            or (self.browser is not None and self.browser.is_gone)
            or (self.deadline.has_come() if self.deadline.is_running else now() >= self.job.until)
        )

    # -- while the person has it ---------------------------------------------------------------------------

    def _hand_over(self) -> None:
        self.deadline.set(self.order.timeout_s)
        self.mailbox.heed_extensions(self.deadline.set)
        self.tell(HandedOver(self.order.timeout_s))

    def _watch(self, browser: RunningBrowser) -> None:
        """Wait for whatever comes first. Raises Over."""
        poller = select.poll()
        poller.register(browser.pidfd, select.POLLIN)
        poller.register(self.mailbox.wake, select.POLLIN)
        while True:
            letter = self.mailbox.take()  # before the look: what comes after it wakes the poll
            self._look(browser)
            if letter is not None:
                self._heed(letter, browser)
                continue
            poller.poll(min(self.deadline.seconds_to_next(), SLICE_S) * 1000 + 1)
            trim_log(self.place)

    def _look(self, browser: RunningBrowser) -> None:
        if self.mailbox.is_orphaned:
            raise Over(EndReason.ORPHANED)
        if browser.is_gone:
            raise Over(None)
        if self.mailbox.closing is not None:
            raise Over(self.mailbox.closing)
        if self.deadline.has_come():
            raise Over(EndReason.TIMEOUT)
        self._warn()

    def _warn(self) -> None:
        if (left := self.deadline.take_warning()) is not None:
            self.tell(EndingSoon(round(left, 1)))

    def _heed(self, letter: Letter, browser: RunningBrowser) -> None:
        match letter:
            case Extend(timeout_s):  # it came before the hand-over
                self.deadline.set(timeout_s)
            case Check(token):
                self.tell(LoginSeen(self._read_again(browser), token))
            case Picture(token) if browser.line is not None:
                self.tell(take_picture(browser.line, token))
            case Picture(token):
                self.tell(Pictured(token=token, refusal="a login's window is the person's alone"))

    def _read_again(self, browser: RunningBrowser) -> Verdict:
        if browser.line is None or self.order.kind is not SessionKind.TIKTOK:
            return no_answer(f"a session of kind {self.order.kind.value} cannot be asked")
        return read_login(
            browser.line, self.order.url, self.settings, self.is_over, self._warn, KeyringWatch(self.place)
        )

    # -- the end -------------------------------------------------------------------------------------------

    def _finish(self, over: Over) -> None:
        """End what still runs, leave nothing, and tell it."""
        browser = self.browser
        if browser is None:
            self.leash.end()
            end_all(self.place, ask_s=self.settings.master_close_timeout_s)
            self.tell(BrowserEnded(reason=over.reason or EndReason.FAILED, error=over.error))
            return
        error = over.error
        if not browser.is_gone:
            self.tell(Closing(over.reason or EndReason.FAILED))
            is_hurried = over.reason in {EndReason.SHUTDOWN, EndReason.ORPHANED}
            browser.close(self.settings, lambda: self.mailbox.is_orphaned, is_hurried=is_hurried)
        status = browser.exit_status()
        if self.place.is_master and (
            browser.was_killed or status == -signal.SIGINT
        ):  # that is a killing, too
            told = (
                "the browser did not close when asked (a page may have asked whether to leave it) and was killed: "
                "what was typed there is lost, and its newest cookies may be"
            )
            error = error or Problem(Code.BROWSER_FAILED.value, told)
        noted = browser.exit_type
        is_clean = status == 0 and not browser.was_killed and noted == _NORMAL
        browser.clean_up(self.settings)
        reason = over.reason or self._why(status, noted)
        if reason is EndReason.CRASHED and status == 0:
            error = error or Problem(
                Code.BROWSER_FAILED.value, "the browser was ended by a signal from outside"
            )
        self.tell(BrowserEnded(reason=reason, exit_status=status, is_clean=is_clean, error=error))

    def _why(self, status: int | None, noted: str | None) -> EndReason:
        """Return why a browser ended that nobody had told to.

        Its exit status is 0, too, when the display dies, and when somebody sends it SIGTERM; that one it notes.
        """
        if not self.order.headless and not display.is_reachable(self.settings.display, self.settings.environ):
            return EndReason.DISPLAY_LOST
        is_as_usual = not status and noted in {None, _NORMAL}
        return EndReason.CLOSED_BY_USER if is_as_usual else EndReason.CRASHED

    def _note(self, error: Exception) -> None:
        with contextlib.suppress(OSError), Path(self.place.folder, "worker.log").open("a") as file:
            file.write("".join(traceback.format_exception(error)))
