"""The orders about accounts: link, unlink, look, switch off and on."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints, field_validator

from daemon.domain.command import AccountArg, Command

ScopeArg = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._]{0,63}$")]


class ListAccounts(Command):
    """Tell the linked accounts and whether their tokens work; `all` shows those that were unlinked, too."""

    all: bool = False


class ImportAccount(Command):
    """Link an account by a token pair that was obtained elsewhere. Through the control socket only."""

    account: AccountArg
    platform: Literal["tiktok"] = "tiktok"
    access_token: SecretStr
    refresh_token: SecretStr
    open_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    expires_in: int = Field(default=86400, ge=0, le=10 * 365 * 86400)
    refresh_expires_in: int = Field(default=31536000, ge=0, le=10 * 365 * 86400)
    scope: str = "user.info.basic,video.publish,video.upload"
    token_type: str = "Bearer"  # noqa: S105 - the OAuth field's name, no secret

    @field_validator("access_token", "refresh_token")
    @classmethod
    def _has_no_line_breaks(cls, value: SecretStr) -> SecretStr:
        # A line break would surface the whole token in the HTTP client's exception.
        text = value.get_secret_value().strip()
        if not text or any(ord(letter) < 33 or ord(letter) > 126 for letter in text):  # noqa: PLR2004
            raise ValueError("must be one line of visible ASCII")
        return SecretStr(text)


class LinkAccount(Command):
    """Return the address at which a person agrees in a browser; a new one replaces the one before."""

    account: AccountArg
    scopes: Annotated[tuple[ScopeArg, ...], Field(min_length=1, max_length=20)] | None = None
    disable_auto_auth: bool = False


class FinishLink(Command):
    """Take what TikTok sent a person back with. `account` where the caller knows which one it must be."""

    state: SecretStr = Field(min_length=1, max_length=200)
    code: SecretStr | None = Field(default=None, min_length=1, max_length=2048)
    scopes: Annotated[str, StringConstraints(max_length=1000)] | None = None
    error: Annotated[str, StringConstraints(max_length=200)] | None = None
    error_description: Annotated[str, StringConstraints(max_length=2000)] | None = None
    account: AccountArg | None = None


class UnlinkAccount(Command):
    """Give the tokens back to TikTok and forget them. Posts that wait are held until the account is linked again."""

    account: AccountArg


class EnableAccount(Command):
    """Let an account post again."""

    account: AccountArg


class DisableAccount(Command):
    """Hold an account's posts from now on, without unlinking it."""

    account: AccountArg


class CheckAccount(Command):
    """Ask TikTok now whether the tokens work and what the creator may do."""

    account: AccountArg
