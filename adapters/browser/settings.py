"""What the browser adapter is told by its owner. It goes to the worker process as it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_MASTER_CLOSE_MAX_S = 12.0  # a system that is shutting down waits no longer
_KILL_WITHIN_S = 1.0
# Every cookie is on disk after 30 s, even while a page that asks "Leave site?" holds up the browser's end.
_FLUSHED_S = 35.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PageState:
    """Where a page keeps the JSON that tells who is logged in."""

    script: str  # the id of a script element, or the name of a global variable
    context: tuple[str, ...]  # the keys that lead to the part that is there for guests, too
    user: tuple[str, ...]  # and from there to the user
    id_keys: tuple[str, ...]  # one of them is filled: logged in
    name_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginMarkers:
    """By what a login is told on the site. Selectors are CSS, paths begin with a slash."""

    hosts: tuple[str, ...] = ()  # a host covers those below it; that of the session's address is always one
    login_paths: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    info_paths: tuple[str, ...] = ()
    info_user_keys: tuple[str, ...] = ()
    info_name_keys: tuple[str, ...] = ()
    info_out_names: tuple[str, ...] = ()
    dom_in: tuple[str, ...] = ()
    dom_out: tuple[str, ...] = ()
    challenge: tuple[str, ...] = ()
    page_states: tuple[PageState, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSettings:
    """The settings of all sessions."""

    state_dir: Path  # `browser/` in it holds the patched driver and the launcher
    backend: Literal["undetected", "selenium"] = "undetected"
    browser_path: Path | None = None
    driver_path: Path | None = None
    browser_args: tuple[str, ...] = ()
    display: str | None = None
    password_store: str = "detect"  # noqa: S105 - the name of a store
    proxy: str | None = field(default=None, repr=False)
    creation_timeout_s: float = 30.0
    detection_timeout_s: float = 8.0
    detection_retries: int = 1
    negative_grace_s: float = 2.0
    cookie_absent_decides: bool = False
    keep_uncertain: bool = False
    ending_soon_s: float = 60.0
    close_timeout_s: float = 5.0
    interrupt_timeout_s: float = 2.0
    master_close_timeout_s: float = 10.0
    master_flushed_s: float = _FLUSHED_S
    markers: LoginMarkers = field(default_factory=LoginMarkers)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> Path:
        """Return the adapter's own folder."""
        return self.state_dir.absolute() / "browser"

    def master_close_s(self, *, is_hurried: bool) -> float:
        """Return how long a profile's own browser may take to close: asked once, it gets the time of two attempts.

        Where nobody is in a hurry it is until its cookies are written down, so that being killed costs none.
        """
        seconds = self.master_close_timeout_s
        hurried = max(seconds, min(2 * seconds, _MASTER_CLOSE_MAX_S))
        return hurried if is_hurried else max(hurried, self.master_flushed_s)

    def close_budget_s(self, *, is_master: bool) -> float:
        """Return how long the closing of a browser may take in all, being killed included."""
        by_asking = self.close_timeout_s + self.interrupt_timeout_s
        asked = self.master_close_s(is_hurried=False) if is_master else by_asking
        return asked + _KILL_WITHIN_S
