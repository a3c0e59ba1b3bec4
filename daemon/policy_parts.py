"""What the settings say, as the core and its platform read it."""

from adapters.tiktok.settings import TikTokSettings
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
        audit_keep_s=settings.audit.keep_days * 86400,
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


def tiktok_settings(settings: Settings) -> TikTokSettings:
    """Return how TikTok is spoken with."""
    found = settings.tiktok
    return TikTokSettings(
        api_base=found.api_base, authorize_url=found.authorize_url, upload_hosts=found.upload_hosts,
        client_key=found.client_key,
        client_secret=found.client_secret.get_secret_value() if found.client_secret else None,
        connect_timeout_s=found.connect_timeout_s, read_timeout_s=found.read_timeout_s,
        call_deadline_s=found.call_deadline_s, single_chunk_max=found.single_chunk_max,
        chunk_size=found.chunk_size, file_size_max=found.file_size_max,
        creator_per_minute=found.rate_creator_per_min, init_per_minute=found.rate_init_per_min,
        status_per_minute=found.rate_status_per_min, webhook_max_age_s=found.webhook_max_age_s,
    )  # fmt: skip
