"""The kinds of sessions: a clone on TikTok, a clone on any page, and the login into the profile itself."""

import contextlib
import os
from abc import abstractmethod

from adapters.browser import launching
from adapters.browser.asking import address_of
from adapters.browser.backends import BACKENDS, Driven, Launch, spawn, unsafe
from adapters.browser.clocks import now, pause
from adapters.browser.driver import ensure_patched
from adapters.browser.facts import Detection, no_answer
from adapters.browser.keyring import KeyringWatch
from adapters.browser.lifecycle import Lifecycle, Over
from adapters.browser.processes import browser_of, session_mark
from adapters.browser.running import NotOurs, RunningBrowser
from adapters.browser.tabs import Tab
from adapters.browser.wrapper import ensure_wrapper
from daemon.domain.errors import Code, Problem
from daemon.domain.login import Doubt, Login, Verdict, stays_open
from daemon.domain.session import EndReason, LoginSeen, SessionKind, Started

_ON_ITS_WAY_WITHIN_S = 2.0
_UP_WITHIN_S = 3.0
_LOOK_EVERY_S = 0.02
_PORT_WARNING = "the browser's debugging port stays open on loopback: this system does not let tokd close it"


class DrivenLifecycle(Lifecycle):
    """A clone, started under a driver that goes away before the window is handed over."""

    @abstractmethod
    def visit(self, browser: RunningBrowser, driven: Driven, target: str) -> None:
        """Go to the page in this tab. Raises Over where the window is not to be handed over."""

    def open(self) -> RunningBrowser:
        """Start, visit, detach."""
        driven = self.unblocked(self._start, self.job.until)
        self.started()
        self.heed_interruption()
        browser = self._take(driven)
        target = self.unblocked(lambda: driven.driver.current_window_handle, self.job.until)
        self.visit(browser, driven, target)
        self.heed_interruption()
        if not self.order.headless:  # from here on it is the person's, who may want to keep a file
            browser.let_downloads("default")
        browser.detach(driven)
        return browser

    def navigate(self, driven: Driven) -> None:
        """Begin to go to the session's page. Raises Over."""
        self.unblocked(lambda: driven.driver.get(self.order.url), self.job.until)

    def _start(self) -> Driven:
        driver = self.job.driver
        if driver is None:
            raise NotOurs("a session under a driver was ordered without one")
        is_undetected = self.settings.backend == "undetected"
        launch = Launch(
            wrapper=ensure_wrapper(self.settings.folder),
            driver=ensure_patched(driver, self.settings.folder) if is_undetected else driver.path,
            major=driver.major,
            user_data_dir=self.place.user_data_dir,
            arguments=launching.arguments(self.order, self.place, self.settings),
            is_sandboxed=launching.is_sandboxed(),
            is_over=self.is_over,
        )
        return BACKENDS[self.settings.backend](launch, self.leash)

    def _take(self, driven: Driven) -> RunningBrowser:
        """Make sure that this is the browser that was ordered, and tell that it runs. Raises NotOurs, Over."""
        pid = browser_of(self.place.user_data_dir, os.getpid())
        if pid is None:
            raise NotOurs("the browser was not started with the session's profile")
        browser = self.browser = RunningBrowser(pid, self.place, self.leash)
        browser.check_arguments(self.settings.proxy)
        browser.connect(driven, self.is_over)
        browser.let_downloads("deny")  # nobody is there yet to have asked for one
        warnings = self.warnings_about(browser)
        if browser.port is not None and not browser.port.can_be_shut:
            warnings = (*warnings, _PORT_WARNING)
        self.tell(
            Started(
                pid=pid,
                version=self.job.browser.version,
                is_sandboxed=launching.is_sandboxed(),
                warnings=warnings,
            )
        )
        return browser


class TikTokLifecycle(DrivenLifecycle):
    """A clone on TikTok: the login state decides whether the window stays."""

    def visit(self, browser: RunningBrowser, driven: Driven, target: str) -> None:
        """Read the login state."""
        with contextlib.closing(Tab(browser.connected, target)) as tab:
            detection = Detection(
                tab=tab, url=self.order.url, settings=self.settings, is_over=self.is_over,
                keyring=KeyringWatch(self.place),
            )  # fmt: skip
            verdict = detection.run(lambda: self.navigate(driven))
        if verdict is None or verdict.reason is Doubt.BROWSER:
            self.await_end()
            self.heed_interruption()
        self._decide(verdict or no_answer("the session ended before there was an answer"))

    def _decide(self, verdict: Verdict) -> None:
        self.tell(LoginSeen(verdict))
        if not stays_open(
            verdict, require_login=self.order.require_login, keep_uncertain=self.settings.keep_uncertain,
            headless=self.order.headless,
        ):  # fmt: skip
            is_out = verdict.login is Login.LOGGED_OUT
            raise Over(EndReason.LOGGED_OUT if is_out else EndReason.UNCERTAIN)


class PlainLifecycle(DrivenLifecycle):
    """A clone on any page; nothing is read."""

    def visit(self, browser: RunningBrowser, driven: Driven, target: str) -> None:
        """Go there, and do not wait for it: only until the browser is on its way, for the driver is killed then."""
        before = address_of(browser.connected, target)
        self.navigate(driven)
        until = now() + _ON_ITS_WAY_WITHIN_S
        while address_of(browser.connected, target) == before and not self.is_over() and now() < until:
            pause(_LOOK_EVERY_S)


class LoginLifecycle(Lifecycle):
    """The profile itself in a plain browser: no driver, no debugging port, for a person to log in by hand."""

    def open(self) -> RunningBrowser:
        """Start it and wait until it has the profile."""
        wrapper = ensure_wrapper(self.settings.folder)
        arguments = [
            f"--user-data-dir={self.place.user_data_dir}", session_mark(self.place), *unsafe(launching.is_sandboxed()),
            *launching.arguments(self.order, self.place, self.settings), self.order.url,
        ]  # fmt: skip
        process = spawn(wrapper, arguments)
        browser = self.browser = RunningBrowser(process.pid, self.place, self.leash)
        self._wait_until_up(browser)
        browser.check_arguments(self.settings.proxy)
        self.tell(
            Started(
                pid=browser.pid, version=self.job.browser.version, is_sandboxed=launching.is_sandboxed(),
                warnings=self.warnings_about(browser),
            )
        )  # fmt: skip
        return browser

    def _wait_until_up(self, browser: RunningBrowser) -> None:
        enough = now() + _UP_WITHIN_S
        while not (browser.owns_profile and browser.heeds_interrupt) and now() < enough:
            if browser.is_gone:
                words = launching.last_words(self.place) or "it ended at once; is the profile open elsewhere?"
                raise Over(
                    EndReason.FAILED,
                    Problem(Code.BROWSER_FAILED.value, f"the browser did not start: {words}"),
                )
            self.heed_interruption()
            pause(_LOOK_EVERY_S)


KINDS: dict[SessionKind, type[Lifecycle]] = {
    SessionKind.TIKTOK: TikTokLifecycle,
    SessionKind.PLAIN: PlainLifecycle,
    SessionKind.LOGIN: LoginLifecycle,
}
