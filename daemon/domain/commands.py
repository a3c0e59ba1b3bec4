"""The orders tokd takes: one frozen model for each verb, and the one table that names them all."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, StringConstraints

from daemon.domain.account_commands import (
    CheckAccount,
    DisableAccount,
    EnableAccount,
    FinishLink,
    ImportAccount,
    LinkAccount,
    ListAccounts,
    UnlinkAccount,
)  # fmt: skip
from daemon.domain.command import AccountArg, Address, Command, Hashtag, PostArg, ProfileArg, SessionArg
from daemon.domain.post import Kind, LateRule, Mode, State
from daemon.domain.task_commands import ListTasks, PostTask, ShowTask, SubmitTask, UpdateTask
from daemon.domain.times import NOW_WORD

TokenArg = Annotated[str, StringConstraints(pattern=r"^k_[0-9a-f]{16}$")]
UserArg = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")]


class IfLate(Command):
    """What to do where the time has passed by more than `after_s` seconds."""

    policy: LateRule
    after_s: int = Field(default=3600, ge=0, le=30 * 86400)


class SchedulePost(Command):
    """Post a file, an address or photos at a time. Exactly one of `media`, `url` and `photos`."""

    account: AccountArg
    media: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    url: Address | None = None
    photos: Annotated[tuple[Address, ...], Field(min_length=1, max_length=35)] | None = None
    mode: Mode = Mode.DIRECT
    at: Annotated[str, StringConstraints(max_length=64)] | None = None
    zone: Annotated[str, StringConstraints(max_length=64)] | None = None
    draft: bool = False
    if_late: IfLate | None = None
    title: str | None = Field(
        default=None, max_length=8000, validation_alias=AliasChoices("title", "caption")
    )
    expression: str | None = Field(default=None, max_length=8000)
    hashtags: Annotated[tuple[Hashtag, ...], Field(max_length=100)] = ()
    privacy: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, validation_alias=AliasChoices("privacy", "privacy_level")
    )
    cover_ms: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        validation_alias=AliasChoices("cover_ms", "video_cover_timestamp_ms"),
    )
    allow_comment: bool = False
    allow_duet: bool = False
    allow_stitch: bool = False
    brand_content: bool = Field(
        default=False, validation_alias=AliasChoices("brand_content", "brand_content_toggle")
    )
    brand_organic: bool = Field(
        default=False, validation_alias=AliasChoices("brand_organic", "brand_organic_toggle")
    )
    is_aigc: bool = False
    text: str | None = Field(default=None, max_length=16000)
    photo_cover: int = Field(default=0, ge=0, le=34)
    auto_music: bool = False
    consent_by: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None

    @property
    def acts_at_once(self) -> bool:
        """Whether it is to go out now."""
        return self.at == NOW_WORD

    @property
    def kind(self) -> Kind:
        """Return what is posted."""
        return Kind.PHOTO if self.photos is not None else Kind.VIDEO


class ReschedulePost(Command):
    """Give a post another time."""

    post: PostArg
    at: Annotated[str, StringConstraints(max_length=64)]
    zone: Annotated[str, StringConstraints(max_length=64)] | None = None
    if_late: IfLate | None = None


class CancelPost(Command):
    """Stop a post, as long as nothing can have been published."""

    post: PostArg


class PublishPostNow(Command):
    """Make a waiting post due at once: this post, or the account's next one."""

    post: PostArg | None = None
    account: AccountArg | None = None

    @property
    def acts_at_once(self) -> bool:
        """Always."""
        return True


class ShowPost(Command):
    """Tell everything about one post."""

    post: PostArg


class ListPosts(Command):
    """Tell the posts, newest time first; `cursor` continues a list."""

    state: State | None = None
    account: AccountArg | None = None
    cursor: Annotated[str, StringConstraints(max_length=200)] | None = None
    limit: int = Field(default=50, ge=1, le=200)


class ResolvePost(Command):
    """Say what became of an uncertain post: only a person can know."""

    post: PostArg
    outcome: Literal["published", "not_published", "post_again"]
    by: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class OpenSession(Command):
    """Open a window on a clone of a profile: on TikTok, or on any page."""

    profile: ProfileArg | None = None
    url: Address | None = None
    timeout_seconds: int | None = Field(default=None, ge=1, le=3600)
    headless: bool | None = None
    require_login: bool | None = None

    @property
    def acts_at_once(self) -> bool:
        """Always: a window that opens hours later surprises."""
        return True


class CloseSession(Command):
    """Close a session, those of a profile, or `all` of them. With one session open, none need be named."""

    session: SessionArg | None = None
    profile: ProfileArg | None = None
    all: bool = False


class ListSessions(Command):
    """Tell the sessions that are open, or with `ended` those that were."""

    ended: bool = False
    limit: int = Field(default=50, ge=1, le=200)


class ShowSession(Command):
    """Tell everything about one session, open or over."""

    session: SessionArg


class ExtendSession(Command):
    """Keep a window open for at least so many seconds from now on."""

    session: SessionArg | None = None
    seconds: int = Field(ge=1, le=3600)


class PictureSession(Command):
    """Take a picture of the page: a file on the machine, or with `inline` in the answer, in base64."""

    session: SessionArg | None = None
    inline: bool = False


class CheckSession(Command):
    """Read the login state of an open session once more, in a tab of its own."""

    session: SessionArg | None = None


class ListProfiles(Command):
    """Tell the browser profiles: size, last use, encryption, in use by whom, login state when last seen."""


class LoginProfile(Command):
    """Open a window on the profile itself, so that the person can log in. Made where it is new."""

    profile: ProfileArg | None = None
    url: Address | None = None
    timeout_seconds: int | None = Field(default=None, ge=1, le=86400)

    @property
    def acts_at_once(self) -> bool:
        """Always: a window that opens hours later surprises."""
        return True


class PromoteProfile(Command):
    """Close a session cleanly and make its clone the profile; the old one is kept as a backup."""

    session: SessionArg | None = None
    profile: ProfileArg | None = None


class IssueToken(Command):
    """Make a token for a user of HTTP. Its text is in this answer and kept nowhere."""

    user: UserArg
    days: int = Field(default=365, ge=1, le=3650)


class RevokeToken(Command):
    """Take a token back: nobody gets in with it from now on."""

    token: TokenArg


class ListTokens(Command):
    """Tell the tokens that were issued here, never their texts."""


class ReplayEvents(Command):
    """Return the events after a sequence number: the answer to having been away."""

    after: int = Field(default=0, ge=0, le=2**53 - 1)
    limit: int = Field(default=100, ge=1, le=200)


class Ping(Command):
    """Return the clock, the boot and the protocol."""


class Describe(Command):
    """Return every verb with the JSON schema of its arguments; with `asyncapi` all of the protocol as a document."""

    asyncapi: bool = False


class Health(Command):
    """Return the state of every part."""


class ShowAudit(Command):
    """Tell the audit trail: every order that changes something, who sent it, what came of it; oldest first."""

    after: int = Field(default=0, ge=0, le=2**53 - 1)
    actor: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    verb: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    last: int | None = Field(default=None, ge=1, le=200)
    limit: int = Field(default=100, ge=1, le=200)


class NoteBackup(Command):
    """Note that a backup was made: for the metric, and for whoever watches. `tokd backup` sends it."""

    taken_at: Annotated[str, StringConstraints(pattern=r"^[0-9T:.+Z-]{20,40}$")]
    bytes: int = Field(ge=0)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class SetLogLevel(Command):
    """Log more or less from now on, for `for_s` seconds or until the next start."""

    level: Literal["debug", "info", "warning", "error"]
    for_s: int | None = Field(default=None, ge=1, le=86400)


class ResealSecrets(Command):
    """Read the keys anew and seal a page of secrets under the newest; `after` continues. `tokd keys` sends it."""

    after: Annotated[str, StringConstraints(max_length=200)] | None = None


class Pause(Command):
    """Stop posting: due posts are held until `resume`."""

    reason: Annotated[str, StringConstraints(max_length=200)] | None = None


class Resume(Command):
    """Post again."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One row of the verb table."""

    name: str
    model: type[Command]
    is_durable: bool  # has an effect: committed before it is acknowledged
    needs_id: bool = False  # each one costs: a repeat must be told from a second order
    is_local: bool = False  # carries secrets: never over a broker
    runs_dry: bool = False  # its handler knows dry runs; the others are carried out and rolled back
    is_secret: bool = False  # has an effect, though its reply must not be stored, and so is not durable

    @property
    def has_effect(self) -> bool:
        """Whether it changes something, and so belongs into the audit trail."""
        return self.is_durable or self.is_secret


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("post/schedule", SchedulePost, is_durable=True, needs_id=True, runs_dry=True),
        Verb("post/reschedule", ReschedulePost, is_durable=True),
        Verb("post/cancel", CancelPost, is_durable=True),
        Verb("post/publish_now", PublishPostNow, is_durable=True, needs_id=True),
        Verb("post/resolve", ResolvePost, is_durable=True, needs_id=True),
        Verb("post/status", ShowPost, is_durable=False),
        Verb("post/list", ListPosts, is_durable=False),
        Verb("task/submit", SubmitTask, is_durable=True, needs_id=True),
        Verb("task/update", UpdateTask, is_durable=True),
        Verb("task/post", PostTask, is_durable=True, needs_id=True, runs_dry=True),
        Verb("task/status", ShowTask, is_durable=False),
        Verb("task/list", ListTasks, is_durable=False),
        Verb("account/list", ListAccounts, is_durable=False),
        Verb("account/import", ImportAccount, is_durable=True, is_local=True),
        # Not durable, though they write: the first one's reply holds the state, which stands nowhere in clear, and
        # the second one's body a code; a repeat of either does no harm.
        Verb("account/link", LinkAccount, is_durable=False, is_secret=True),
        Verb("account/finish_link", FinishLink, is_durable=False, is_secret=True, is_local=True),
        Verb("account/unlink", UnlinkAccount, is_durable=True, needs_id=True),
        Verb("account/enable", EnableAccount, is_durable=True),
        Verb("account/disable", DisableAccount, is_durable=True),
        Verb("account/check", CheckAccount, is_durable=False),
        Verb("session/open", OpenSession, is_durable=True),
        Verb("session/close", CloseSession, is_durable=True),
        Verb("session/list", ListSessions, is_durable=False),
        Verb("session/show", ShowSession, is_durable=False),
        Verb("session/extend", ExtendSession, is_durable=True),
        Verb("session/screenshot", PictureSession, is_durable=False),
        Verb("session/check", CheckSession, is_durable=False),
        Verb("profiles/list", ListProfiles, is_durable=False),
        Verb("profiles/login", LoginProfile, is_durable=True),
        Verb("profiles/promote", PromoteProfile, is_durable=True),
        # Not durable, though it writes: the reply of a durable command is stored, and this one is a secret.
        Verb("token/issue", IssueToken, is_durable=False, is_local=True, is_secret=True),
        Verb("token/revoke", RevokeToken, is_durable=True, is_local=True),
        Verb("token/list", ListTokens, is_durable=False, is_local=True),
        Verb("events/replay", ReplayEvents, is_durable=False),
        Verb("system/ping", Ping, is_durable=False),
        Verb("system/describe", Describe, is_durable=False),
        Verb("system/health", Health, is_durable=False),
        Verb("system/audit", ShowAudit, is_durable=False),
        Verb("system/backed_up", NoteBackup, is_durable=True, is_local=True),
        Verb("system/log_level", SetLogLevel, is_durable=False, is_local=True),
        Verb("keys/reseal", ResealSecrets, is_durable=True, is_local=True),
        Verb("system/pause", Pause, is_durable=True),
        Verb("system/resume", Resume, is_durable=True),
    )
}


# A switch elsewhere has one topic for both of its positions: `{"args": {"on": true}}` here means the first verb,
# `false` the second one. Other arguments are passed on.
SWITCHES: dict[str, tuple[str, str]] = {
    "system/paused": ("system/pause", "system/resume"),
    "account/enabled": ("account/enable", "account/disable"),
}


def describe_verbs() -> list[dict[str, Any]]:
    """Return the verb table as JSON: name, flags, the schema of the arguments."""
    return [
        {
            "verb": verb.name,
            "summary": (verb.model.__doc__ or "").strip(),
            "id_required": verb.needs_id,
            "durable": verb.is_durable,
            "local_only": verb.is_local,
            "args": verb.model.model_json_schema(by_alias=False),
        }
        for verb in VERBS.values()
    ]
