"""What the core needs for browser sessions: profiles on disk, and browsers."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Protocol

from daemon.domain.ids import ProfileName, SessionId
from daemon.domain.session import (
    EndReason,
    ProfileFacts,
    SessionNews,
    SessionOrder,
    Survey,
    Workplace,
)  # fmt: skip


class Profiles(Protocol):
    """The person's browser profiles on disk, their clones, and who may touch them when. From any thread."""

    def prepare(self, order: SessionOrder, stop: Callable[[], bool] = lambda: False) -> Workplace:
        """Make the session's folder, hold its lock, and clone the profile into it.

        A login gets no clone but the profile itself, made where it is new and held exclusively. Whatever is
        raised, nothing is left behind. Raises Rejected: no_such_profile, user_data_locked, disk_full,
        keyring_unreachable, browser_failed where the disk fails otherwise. `stop` is asked every so often while
        copying; raises Interrupted soon after it said yes, and a later survey removes what could not go at once.
        """

    def release(self, place: Workplace) -> bool:
        """Remove the folder and what belongs to it, let go of the locks. Call when no process is left.

        Return whether all is gone; what would not go is removed by a later survey. Safe twice, never raises.
        """

    def promote(self, place: Workplace, profile: ProfileName) -> str:
        """Make the cleanly closed clone the profile, in one step; return where the old one is kept.

        Raises Rejected: user_data_locked, profile_changed where the profile is newer than its clone.
        """

    def keep(self, place: Workplace, profile: ProfileName) -> str | None:
        """Keep the clone that `promote` has refused beside the old profiles; return where, None where it cannot be."""

    def loss(self, place: Workplace) -> str | None:
        """Return what to tell of a login whose browser has lost the profile's cookies, None where it has not."""

    def facts(self) -> list[ProfileFacts]:
        """Return what is known of each profile, by name. Walks the disk: tenths of a second."""

    def survey(self) -> Survey:
        """Look through the folder of sessions, and lock those that nobody holds; `release` each of them."""


class OpenBrowser(Protocol):
    """One session's browser in its worker process. `news` is for one thread, the others for any."""

    def news(self) -> Iterator[SessionNews]:
        """Yield what happens, waiting for it. The last one is always BrowserEnded, whatever dies."""

    def close(self, reason: EndReason) -> None:
        """Ask for a clean end; forced after a few seconds. Never blocks. The first reason stands."""

    def extend(self, timeout_s: float) -> None:
        """Let the deadline be so many seconds from now."""

    def check(self, token: str) -> None:
        """Read the login state again; the answer comes as LoginSeen with this token."""

    def picture(self, token: str) -> None:
        """Take a picture of the page; the answer comes as Pictured with this token."""


class Browser(Protocol):
    """Starts browsers, each in a worker process of its own."""

    def warm(self) -> None:
        """Do ahead of time what the first session would wait for. Never raises."""

    def check(self, order: SessionOrder) -> None:
        """Find what can be known beforehand, in less than a second.

        Raises Rejected: no_browser, no_display, driver_mismatch.
        """

    def open(self, order: SessionOrder, place: Workplace) -> OpenBrowser:
        """Start the worker process; all else is told in its news. Raises Rejected: session_timeout, browser_failed."""

    def end(self, place: Workplace) -> None:
        """Kill every process that carries exactly this user-data-dir, and the drivers of this session; wait.

        Never for a profile itself that still runs: such a browser is asked to close, and killed as the last resort.
        """

    def stop(self) -> None:
        """Stop the helper processes. Safe twice."""


class Pictures(Protocol):
    """Pictures of pages, on this machine only."""

    def keep(self, session: SessionId, image: bytes, media_type: str, now: datetime) -> str:
        """Store a picture for its owner's eyes only; return its path. Raises OSError."""

    def drop(self, before: datetime) -> None:
        """Forget pictures taken before `before`. Never raises."""
