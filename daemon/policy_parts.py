"""The house rules that the settings say, as the core reads them."""

from config.settings import Settings
from daemon.domain.gates import Gates
from daemon.domain.policy import Policy
from daemon.domain.post import LateRule


def policy_of(settings: Settings) -> Policy:
    """Return the house rules that the settings say."""
    posts = settings.posts
    return Policy(
        late_rule=LateRule(posts.late_policy),
        late_after_s=int(posts.late_after_s),
        retry_delays_s=posts.retry_delays_s,
        remote_retry_delays_s=posts.remote_retry_delays_s,
        status_delays_s=posts.status_delays_s,
        uncertain_after_s=posts.uncertain_after_s,
        uncertain_steps=posts.uncertain_steps,
        cap_hold_s=posts.cap_hold_s,
        duplicate_window_s=posts.duplicate_window_s,
        keep_s=posts.keep_days * 86400,
        lease_s=posts.lease_s,
        refresh_margin_s=settings.tiktok.refresh_margin_s,
        redirect_uri=settings.redirect_uri,
        link_scopes=settings.tiktok.scopes,
        link_s=settings.tiktok.link_timeout_s,
    )


def gates_of(settings: Settings) -> Gates:
    """Return who may send which commands, and how many."""
    access = settings.access
    return Gates(
        allow=access.allow, guarded=access.guarded, grants=access.grants_by_actor, rate_per_s=access.rate_per_s,
        burst=access.burst, open_max=access.open_max,
    )  # fmt: skip
