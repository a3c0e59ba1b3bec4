"""What the simulator is started with, and what may be changed while it runs."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
ALL_SCOPES = (
    "user.info.basic",
    "user.info.profile",
    "user.info.stats",
    "video.list",
    "video.upload",
    "video.publish",
)


class Settings(BaseModel):
    """The switches of `POST /_simulator/settings`; the defaults suit a first run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    processing_seconds: float = Field(default=1.0, ge=0)
    moderation_seconds: float = Field(default=0.0, ge=0)
    moderation: Literal["normal", "never"] = "normal"
    complete_inbox_seconds: float | None = Field(default=None, ge=0)
    upload_url_seconds: float = Field(default=3600.0, ge=0)

    rate_limits: bool = True
    rate_per_minute: dict[str, int] = Field(default_factory=dict)
    daily_posts: int | None = Field(default=15, ge=0)
    pending_shares: int | None = Field(default=5, ge=0)
    active_users: int | None = Field(default=5, ge=0)
    audited: bool = False
    unaudited_self_only_options: bool = False
    verified_urls: tuple[str, ...] = ("https://",)

    refresh_rotation: Literal["on", "off", "grace"] = "on"
    refresh_grace_seconds: float = Field(default=60.0, ge=0)
    access_token_seconds: int = Field(default=86_400, ge=0)
    refresh_token_seconds: int = Field(default=31_536_000, ge=0)
    code_seconds: int = Field(default=300, ge=0)
    oauth_error_status: int = Field(default=200, ge=200, le=599)

    omit_data_on_error: bool = False
    invalid_param_spelling: Literal["invalid_params", "invalid_param"] = "invalid_params"
    binary_mb: bool = False
    reput_policy: Literal["reject", "accept"] = "reject"
    progress_header: Literal["count", "last_index"] = "count"

    webhook_url: str | None = None
    webhook_duplicates: bool = False
    webhook_out_of_order: bool = False
    webhook_hold_seconds: float = Field(default=0.5, ge=0)
    webhook_retry_seconds: float = Field(default=1.0, gt=0)

    @field_validator("webhook_url")
    @classmethod
    def _stay_on_loopback(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme != "http" or parts.hostname not in LOOPBACK_HOSTS:
            raise ValueError("the simulator sends webhooks to http://127.0.0.1 or localhost only")
        return value


class SimulatorOptions(BaseModel):
    """What is fixed for the life of the process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_key: str = "sim-client"
    client_secret: str = "sim-secret"  # noqa: S105 - the simulated client's public, made-up secret
    users: tuple[str, ...] = ("demo",)
    redirect_uris: tuple[str, ...] = ()
    discard_uploads: bool = False
    fsync: bool = False
    settings: Settings = Settings()
