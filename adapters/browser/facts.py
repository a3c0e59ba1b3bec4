"""Looks at a page until its login state is known. It only collects: daemon.domain.login decides."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adapters.browser.clocks import now
from adapters.browser.devtools import Request
from adapters.browser.keyring import KeyringWatch
from adapters.browser.network import NetworkView, covers
from adapters.browser.settings import BrowserSettings, LoginMarkers
from adapters.browser.tabs import SCRIPT_WITHIN_S, Tab, TabBusy, TabGone, returned, script
from daemon.domain.login import (
    Doubt,
    Login,
    LoginFacts,
    LoginRules,
    Verdict,
    judge,
    may_reload,
    negative_signs,
    without_page,
)  # fmt: skip

LOOK_EVERY_S = 0.03
_PROBE = Path(__file__).with_name("probe.js").read_text(encoding="utf-8")
_WEB = {"http:", "https:"}


def no_answer(text: str) -> Verdict:
    """Return the verdict where the browser cannot be asked."""
    return Verdict(login=Login.UNCERTAIN, method="none", evidence=(text,), reason=Doubt.BROWSER)


@dataclass(slots=True)
class _Clock:
    """Knows since when there is this page, and since when the signs of a logout are what they are."""

    rules: LoginRules
    started: float  # of the first look, before any reload
    since: float
    document: str | None = None
    signs: frozenset[str] = frozenset()
    signs_since: float = 0.0

    def read(self, facts: LoginFacts, document: str | None, at: float) -> None:
        """Note what is seen now."""
        if facts.page_status is not None and document != self.document:
            self.document, self.since = document, at
        if (signs := negative_signs(facts)) != self.signs:
            self.signs, self.signs_since = signs, at

    def judge(self, facts: LoginFacts, at: float, *, is_last: bool) -> Verdict | None:
        """Return the verdict of this moment."""
        age_s = at - max(self.signs_since, self.since)
        return judge(
            facts, at - self.since, self.rules, is_last=is_last, sign_age_s=age_s, looked_s=at - self.started
        )


@dataclass(slots=True, kw_only=True)
class Detection:
    """One reading of the login state, at most `detection_timeout_s` long."""

    tab: Tab
    url: str
    settings: BrowserSettings
    is_over: Callable[[], bool]  # the session is to end: stop looking
    tick: Callable[[], None] | None = None  # called after each look in vain
    keyring: KeyringWatch | None = None

    def run(self, navigate: Callable[[], None]) -> Verdict | None:
        """Navigate and return the verdict; None where the session is to end first."""
        started = now()
        try:
            frame = self._prepare()
            navigate()
            verdict = self._rounds(frame, started)
        except TabGone:
            verdict = no_answer("the browser did not answer")
        return None if verdict is None else replace(verdict, ms=round((now() - started) * 1000))

    def _prepare(self) -> str:
        try:
            self.tab.call("Network.enable", {})
            tree = self.tab.call("Page.getFrameTree", {})
        except TabBusy as error:
            raise TabGone(str(error)) from error
        return str(tree["frameTree"]["frame"]["id"])

    def _rounds(self, frame: str, started: float) -> Verdict | None:
        parts = self.settings.detection_retries + 1
        verdict: Verdict | None = None
        for part in range(1, parts + 1):
            until = started + self.settings.detection_timeout_s * part / parts
            verdict = self._round(frame, started, until)
            if verdict is None or part == parts or not may_reload(verdict):
                break
            self._reload()
        return verdict

    def _reload(self) -> None:
        self.tab.events()  # those of the page as it was
        self.tab.tell("Page.reload", {})

    def _round(self, frame: str, started: float, until: float) -> Verdict | None:
        """Look at one page load until it is judged."""
        rules = LoginRules(
            grace_s=self.settings.negative_grace_s, cookie_absent_decides=self.settings.cookie_absent_decides
        )
        view = NetworkView(self.settings.markers, self._hosts(), frame)
        clock, facts = _Clock(rules, started, now()), LoginFacts()
        while not self.is_over():
            self._await_news(view, until)
            facts = self._look(view, facts)
            at = now()
            clock.read(facts, view.loader, at)
            verdict = clock.judge(facts, at, is_last=at >= until)
            if verdict is not None:
                return self._without_keyring(verdict, facts, clock, at)
            if self.tick is not None:
                self.tick()
        return None

    def _await_news(self, view: NetworkView, until: float) -> None:
        """Wait until it is time to look again: at once when the network has an answer."""
        again, known = min(now() + LOOK_EVERY_S, until), view.answers
        view.feed(self.tab.events(), self.tab)  # what came while the page was asked
        while view.answers == known and now() < again and not self.is_over():
            self.tab.wait(again - now())
            view.feed(self.tab.events(), self.tab)

    def _without_keyring(self, verdict: Verdict, facts: LoginFacts, clock: _Clock, at: float) -> Verdict:
        """Look twice before a profile with a keyring is called logged out."""
        if (
            self.keyring is None
            or verdict.login is not Login.LOGGED_OUT
            or not self.keyring.is_lost_at_last()
        ):
            return verdict
        return clock.judge(replace(facts, keyring_lost=True), at, is_last=True) or verdict

    def _hosts(self) -> tuple[str, ...]:
        return (*self.settings.markers.hosts, urlsplit(self.url).hostname or "")

    def _look(self, view: NetworkView, before: LoginFacts) -> LoginFacts:
        """Return the facts as they are now; what could not be asked stays as it was. Raises TabGone."""
        view.feed(self.tab.events(), self.tab)
        if view.has_turned() or view.page_status is None:
            before = without_page(before)
        is_answered = view.page_status is not None  # before, the page would answer only after its server has
        requests: list[Request] = [("Network.getCookies", {"urls": self._addresses(view.page_url)})]
        if is_answered:
            requests += [("Page.getFrameTree", {}), script(_PROBE, _argument(self.settings.markers))]
        # At once: each answer waits for the page, which is busy loading.
        cookies, tree, probe = (*self.tab.ask(requests, SCRIPT_WITHIN_S), None, None)[:3]
        cookie = before.cookie if cookies is None else self._holds_login(cookies)
        is_there = is_answered and _shows(tree, view.loader)
        seen = returned(probe) if is_there and tree is not None else {}
        known = _page(seen, view, self._hosts(), self.settings.markers) if is_there else {}
        is_lost = self.keyring is not None and self.keyring.is_lost()
        return replace(
            before, **known, page_status=view.page_status, load_error=view.load_error, cookie=cookie,
            info_status=view.info_status, info_login=view.info_login, info_pending=view.info_pending,
            username=view.username or seen.get("username"), keyring_lost=is_lost,
        )  # fmt: skip

    def _holds_login(self, cookies: dict[str, Any]) -> bool | None:
        """Tell whether a login cookie is there. Its value is looked at for emptiness only."""
        names = self.settings.markers.cookies
        if not names:
            return None
        return any(each.get("name") in names and each.get("value") for each in cookies.get("cookies", ()))

    def _addresses(self, page_url: str) -> list[str]:
        """Return where to look for cookies. An address with http does not see those that are only for https."""
        page = urlsplit(page_url)
        is_ours = page.scheme and covers(self._hosts(), page.hostname or "")
        own = urlsplit(self.url)
        found = {self.url, own._replace(scheme="https").geturl()}
        return sorted(found | ({page._replace(scheme="https").geturl()} if is_ours else set()))


def _shows(tree: dict[str, Any] | None, loader: str | None) -> bool:
    """Tell whether the tab shows the document that was answered: for a moment it still shows the one before."""
    shown = None if tree is None else tree.get("frameTree", {}).get("frame", {}).get("loaderId")
    return tree is None or loader in {None, shown}


def _argument(markers: LoginMarkers) -> dict[str, Any]:
    whole = asdict(markers)
    return {key: whole[key] for key in ("dom_in", "dom_out", "challenge", "page_states")}


def _page(
    seen: dict[str, Any], view: NetworkView, hosts: tuple[str, ...], markers: LoginMarkers
) -> dict[str, Any]:
    """Return the facts about the page itself, none where it is still the one before."""
    if not seen and view.page_url:  # a dialog is open: at least the network knows where we are
        address = urlsplit(view.page_url)
        return _whereabouts(address.hostname or "", address.path, hosts, markers)
    if seen.get("protocol") not in _WEB:
        return {}
    known = {key: seen[key] for key in ("is_complete", "dom_in", "dom_out", "challenge", "state_login")}
    return known | _whereabouts(seen["host"], seen["path"], hosts, markers)


def _whereabouts(host: str, path: str, hosts: tuple[str, ...], markers: LoginMarkers) -> dict[str, Any]:
    is_on_site = covers(hosts, host)
    is_login = is_on_site and any(
        path == each or path.startswith(f"{each.rstrip('/')}/") for each in markers.login_paths
    )
    return {"host": host, "path": path, "is_on_site": is_on_site, "is_login_page": is_login}
