"""An account that somebody has linked, and what its platform lets it do."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.ids import AccountName


class Login(StrEnum):
    """Whether the stored tokens work."""

    OK = "ok"
    NEEDS_LOGIN = "needs_login"
    UNLINKED = "unlinked"  # a person has given them back; the name and whose it was are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Creator:
    """What the platform says of an account at this moment (TikTok: creator_info/query)."""

    username: str
    nickname: str
    privacy_options: tuple[str, ...]
    comment_disabled: bool
    duet_disabled: bool
    stitch_disabled: bool
    duration_max_s: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: getattr(self, name) for name in Creator.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A token pair in clear. Lives only inside a job or the platform's adapter, never in a row, event or log."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    access_expires_at: datetime
    refresh_expires_at: datetime
    open_id: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One linked account as it stands in the database; the tokens are sealed."""

    name: AccountName
    platform: str
    open_id: str
    scopes: tuple[str, ...]
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    access_expires_at: datetime
    refresh_expires_at: datetime
    login: Login
    linked_at: datetime
    enabled: bool = True
    token_version: int = 1
    refresh_node: str | None = None  # who is refreshing, or unlinking, right now, on any node, and until when
    refresh_until: datetime | None = None
    creator: Creator | None = None
    detail: str | None = None

    @property
    def has_tokens(self) -> bool:
        """Tell whether a person's tokens are here: linked, or not unlinked to the end yet."""
        return self.login is not Login.UNLINKED or self.is_being_unlinked

    @property
    def is_being_unlinked(self) -> bool:
        """Tell whether the platform is being told; the tokens are there until it has been."""
        return self.login is Login.UNLINKED and bool(self.access_token)

    def is_left_at(self, now: datetime) -> bool:
        """Tell whether it is being unlinked by a node that has not been heard of: any node may go on with it."""
        return self.is_being_unlinked and (self.refresh_until is None or self.refresh_until <= now)
