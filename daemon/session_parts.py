"""The parts of browser sessions, as the composition root puts them together."""

import os
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from adapters.browser import BrowserSettings, ChromiumBrowsers, LoginMarkers, PageState
from adapters.pictures import PictureFolder
from adapters.profiles import ProfilesSettings, ProfileStore
from config.login_markers import LoginMarkers as ConfiguredMarkers
from config.settings import Settings
from daemon.domain.ids import AccountName, ProfileName
from daemon.domain.policy import SessionPolicy
from daemon.jobs.sessions import LiveSessions, SessionJobs
from daemon.jobs.tools import Tools
from daemon.ports import Clock

MEGABYTE = 1_000_000
RESERVE_S = (
    6.0  # of the daemon's time to stop: for telling the ends, and for all that stops after the windows
)


@dataclass(frozen=True)
class SessionParts:
    """What sessions need: the profiles on disk, the browsers, and who is at it."""

    profiles: ProfileStore
    browsers: ChromiumBrowsers
    live: LiveSessions

    def start(self) -> None:
        """Make the folders. Raises StartRefused."""
        self.profiles.open()

    def stop(self, deadline_s: float) -> bool:
        """Close all windows and wait until they are cleaned up."""
        is_done = self.live.close_all(max(1.0, deadline_s - RESERVE_S))
        self.browsers.stop()
        self.profiles.close()
        return is_done

    def jobs(self, settings: Settings, tools: Tools) -> SessionJobs:
        """Return what the workers run."""
        return SessionJobs(
            tools=tools, profiles=self.profiles, browser=self.browsers, live=self.live,
            pictures=PictureFolder(settings.state_dir / "pictures"),
            creation_timeout_s=settings.session.creation_timeout,
            publishes_pictures=settings.homeassistant.screenshots,
        )  # fmt: skip


def session_parts(
    settings: Settings, markers: ConfiguredMarkers, clock: Clock, site: str | None
) -> SessionParts:
    """Build the parts; nothing is touched yet. `site` is the simulated one, if there is one."""
    found = settings.session
    environ = dict(os.environ)
    profiles = ProfileStore(
        ProfilesSettings(
            root=found.user_data_master_dir, clones_dir=settings.clones_dir, default_profile=found.profile,
            allow_live=found.allow_live, min_free_bytes=found.min_free_mb * MEGABYTE,
            backups=found.profile_backups, password_store=found.password_store, environ=environ,
        ),
        clock,
    )  # fmt: skip
    browsers = ChromiumBrowsers(
        BrowserSettings(
            state_dir=settings.state_dir, backend=found.backend, browser_path=found.browser_path,
            driver_path=found.driver_path, browser_args=found.browser_args, display=found.display,
            password_store=found.password_store,
            proxy=found.proxy.get_secret_value() if found.proxy else None,
            creation_timeout_s=found.creation_timeout, detection_timeout_s=found.login_detection_timeout,
            detection_retries=found.login_detection_retries, negative_grace_s=found.login_negative_grace,
            cookie_absent_decides=found.cookie_absent_decides, keep_uncertain=found.on_uncertain == "keep",
            ending_soon_s=found.ending_soon_s, markers=_markers(markers, site), environ=environ,
        )
    )  # fmt: skip
    return SessionParts(profiles, browsers, LiveSessions())


def session_policy(settings: Settings, markers: ConfiguredMarkers, site: str | None) -> SessionPolicy:
    """Return what a session is, unless its command says otherwise."""
    found = settings.session
    pairs = (pair.split("=", 1) for pair in found.accounts)
    return SessionPolicy(
        profile=ProfileName(found.profile), url=site or found.tiktok_url, hosts=_hosts(markers, site or found.tiktok_url),
        timeout_s=found.max_session_duration, login_timeout_s=found.login_duration, headless=found.headless,
        write_mode=found.write_mode, max_concurrent=found.max_concurrent,
        accounts=MappingProxyType({ProfileName(profile): AccountName(name) for profile, name in pairs}),
    )  # fmt: skip


def _hosts(markers: ConfiguredMarkers, url: str) -> tuple[str, ...]:
    """Return the hosts whose login state is read: the markers', and that of the configured page."""
    host = urlsplit(url).hostname or ""
    known = any(host == found or host.endswith(f".{found}") for found in markers.hosts)
    return markers.hosts if known else (*markers.hosts, host)


def _markers(markers: ConfiguredMarkers, site: str | None) -> LoginMarkers:
    values = markers.model_dump(exclude={"page_state", "hosts"})
    return LoginMarkers(
        **values,
        hosts=_hosts(markers, site) if site else markers.hosts,
        page_states=tuple(PageState(**found.model_dump()) for found in markers.page_state),
    )
