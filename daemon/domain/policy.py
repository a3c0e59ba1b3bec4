"""The house rules in numbers: what the settings say, as the core reads it. Seconds throughout."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from daemon.domain.ids import AccountName, ProfileName
from daemon.domain.post import LateRule

_MASTER = ProfileName("master")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """What a session is, unless its command says otherwise."""

    profile: ProfileName = _MASTER
    url: str = "https://www.tiktok.com/"
    hosts: tuple[str, ...] = ("tiktok.com",)  # these, and what is below them, are TikTok's
    timeout_s: int = 300
    login_timeout_s: int = 1800
    longest_s: int = 86400  # no extension goes beyond
    headless: bool = False
    write_mode: bool = False
    max_concurrent: int = 4
    accounts: Mapping[ProfileName, AccountName] = field(default_factory=lambda: MappingProxyType({}))

    def is_site(self, host: str) -> bool:
        """Tell whether a host is the one whose login state can be read."""
        return any(host == found or host.endswith(f".{found}") for found in self.hosts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient, how late, how often."""

    late_rule: LateRule = LateRule.HOLD
    late_after_s: int = 3600
    past_grace_s: float = 60  # a time this little in the past is "now": clocks and brokers are not exact
    retry_delays_s: tuple[float, ...] = (5, 20, 60, 300, 900)
    remote_retry_delays_s: tuple[float, ...] = (600, 3600)
    chunk_delays_s: tuple[float, ...] = (0.5, 2, 5, 10, 20, 30, 60, 120, 120, 120)
    rate_wait_s: float = 60
    retry_after_max_s: float = 900
    status_delays_s: tuple[float, ...] = (2, 3, 5, 10, 15, 30)
    uncertain_after_s: float = 1800
    # (until, every): read every so often until this long after the state began
    uncertain_steps: tuple[tuple[float, float], ...] = ((60, 15), (1800, 60), (21600, 300), (259200, 1800))
    finished_steps: tuple[tuple[float, float], ...] = ((300, 60), (3600, 300), (259200, 1800))
    cap_hold_s: float = 86400
    duplicate_window_s: float = 86400
    keep_s: float = 30 * 86400
    audit_keep_s: float = 0  # 0 is for ever
    state_keep_s: float = 7 * 86400
    lease_s: float = 600
    refresh_lease_s: float = 300  # longer than any call may take
    refresh_margin_s: float = 2700
    redirect_uri: str | None = None  # where TikTok sends a person back to; None: nobody would be there
    link_scopes: tuple[str, ...] = ("user.info.basic", "video.publish", "video.upload")
    link_s: float = 600
    revoke_delays_s: tuple[float, ...] = (1, 3, 8)
    claim_ahead: int = 1024
    crashes_max: int = 10
    sessions: SessionPolicy = SessionPolicy()
