"""The daemon's side of browser sessions: checks beforehand, starts workers, and cleans up after them."""

import logging
from dataclasses import replace

from adapters.browser import display
from adapters.browser.chromium import Programs
from adapters.browser.clocks import now
from adapters.browser.handle import Patience, WorkerHandle
from adapters.browser.launching import POISON
from adapters.browser.letters import Session, Warm
from adapters.browser.nursery import Nursery
from adapters.browser.processes import end_all
from adapters.browser.settings import BrowserSettings
from daemon.domain.errors import Code, Rejected
from daemon.domain.session import SessionKind, SessionOrder, Workplace

log = logging.getLogger("tokd.browser")


class ChromiumBrowsers:
    """Implements ports.Browser. From any thread."""

    def __init__(self, settings: BrowserSettings, nursery: Nursery | None = None) -> None:
        self._settings = replace(settings, environ=dict(settings.environ))
        self._programs = Programs(self._settings)
        self._nursery = nursery or Nursery(self._settings.folder)

    def warm(self) -> None:
        """Start the nursery and make the patched driver. Never raises."""
        try:
            self._nursery.start()
            _, driver = self._programs.pair()
            line, _ = self._nursery.employ(
                Warm(settings=self._settings, driver=driver), (), self._settings.creation_timeout_s
            )
            line.close()  # it works on by itself
        except (OSError, Rejected) as error:
            log.warning("browser not warmed: %s", error, extra={"action": "browser_not_warmed"})

    def check(self, order: SessionOrder) -> None:
        """Find what can be known beforehand. Raises Rejected: no_browser, driver_mismatch, no_display."""
        if order.kind is SessionKind.LOGIN:
            self._programs.browser()
        else:
            self._programs.pair()
        if not order.headless and not display.is_reachable(self._settings.display, self._settings.environ):
            raise Rejected(
                Code.NO_DISPLAY,
                "there is no screen to open a window on: start tokd inside a desktop session, set session.display, "
                "or set session.headless for checks without a window",
            )

    def open(self, order: SessionOrder, place: Workplace) -> WorkerHandle:
        """Start the worker process. Raises Rejected: session_timeout, browser_failed."""
        until = now() + self._settings.creation_timeout_s
        if order.kind is SessionKind.LOGIN:
            browser, driver = self._programs.browser(), None
        else:
            _refuse_poison(place)
            browser, driver = self._programs.pair()
        job = Session(
            order=order, place=replace(place, locks=()), settings=self._settings, browser=browser, driver=driver,
            until=until,
        )  # fmt: skip
        line, pid = self._nursery.employ(job, place.locks, self._settings.creation_timeout_s)
        budget = self._settings.close_budget_s(is_master=place.is_master)
        patience = Patience(start_s=self._settings.creation_timeout_s, close_s=budget)
        return WorkerHandle(line, pid, lambda: self.end(place), patience)

    def end(self, place: Workplace) -> None:
        """Kill every process of the session; a profile's own browser is asked first."""
        end_all(place, ask_s=self._settings.master_flushed_s)

    def stop(self) -> None:
        """Stop the nursery. Safe twice."""
        self._nursery.stop()


def _refuse_poison(place: Workplace) -> None:
    found = [word for word in POISON if word in place.user_data_dir]
    if found:
        raise Rejected(
            Code.BROWSER_FAILED,
            f'the path of the clone contains "{found[0]}", which undetected-chromedriver takes for a switch: '
            "set session.clones_dir",
        )
