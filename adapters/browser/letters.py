"""What daemon and worker process say to each other, besides the news."""

from dataclasses import dataclass

from adapters.browser.chromium import Program
from adapters.browser.settings import BrowserSettings
from daemon.domain.session import EndReason, SessionOrder, Workplace


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The worker's job: one session, to be handed over before `until` (clocks.now)."""

    order: SessionOrder
    place: Workplace
    settings: BrowserSettings
    browser: Program
    driver: Program | None
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """The worker's job: do what does not change from session to session."""

    settings: BrowserSettings
    driver: Program


@dataclass(frozen=True, slots=True)
class Close:
    """End the session."""

    reason: EndReason


@dataclass(frozen=True, slots=True)
class Extend:
    """Let the deadline be so many seconds from now."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Check:
    """Read the login state again."""

    token: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Take a picture of the page."""

    token: str


Letter = Close | Extend | Check | Picture
