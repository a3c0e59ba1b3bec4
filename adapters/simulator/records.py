"""The things the simulator remembers: users, codes, tokens, logins of the website and posts."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

Status = Literal[
    "PROCESSING_UPLOAD", "PROCESSING_DOWNLOAD", "SEND_TO_USER_INBOX", "PUBLISH_COMPLETE", "FAILED"
]
PUBLIC_LEVELS = ["PUBLIC_TO_EVERYONE", "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY"]
PRIVATE_LEVELS = ["FOLLOWER_OF_CREATOR", "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY"]


class Record(BaseModel, ABC):
    """Something that survives a restart under its own key."""

    model_config = ConfigDict(extra="forbid")
    kind: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> str:
        """The name it is stored under."""


class User(Record):
    """A creator's account."""

    kind: ClassVar[str] = "user"

    name: str
    open_id: str = ""
    username: str = ""
    nickname: str = ""
    private: bool = False
    privacy_level_options: list[str] | None = None
    comment_disabled: bool = False
    duet_disabled: bool | None = None
    stitch_disabled: bool | None = None
    max_video_post_duration_sec: int = 600
    banned: bool = False

    @property
    def key(self) -> str:
        """A user's name."""
        return self.name

    @classmethod
    def named(cls, name: str, *, private: bool = False) -> "User":
        """Make an account with everything else derived from its name."""
        nickname = f"{name.replace('_', ' ').title()} Creator"
        return cls(
            name=name, open_id=f"open-{name}", username=f"{name}_creator", nickname=nickname, private=private
        )

    @property
    def levels(self) -> list[str]:
        """The privacy levels this account may choose from."""
        if self.privacy_level_options is not None:
            return self.privacy_level_options
        return PRIVATE_LEVELS if self.private else PUBLIC_LEVELS


class Code(Record):
    """An authorization code, good for one exchange."""

    kind: ClassVar[str] = "code"

    value: str
    user: str
    scopes: list[str]
    redirect_uri: str
    challenge: str | None
    expires_at: float

    @property
    def key(self) -> str:
        """The code itself."""
        return self.value


class Token(Record):
    """An access or a refresh token."""

    kind: ClassVar[str] = "token"

    value: str
    use: Literal["access", "refresh"]
    user: str
    scopes: list[str]
    expires_at: float

    @property
    def key(self) -> str:
        """The token itself."""
        return self.value


class SiteLogin(Record):
    """A browser's login on the website; its name is the `sessionid` cookie."""

    kind: ClassVar[str] = "site_login"

    sessionid: str
    user: str
    created_at: float
    expires_at: float

    @property
    def key(self) -> str:
        """The sessionid."""
        return self.sessionid


class Post(Record):
    """One publish_id and all that became of it."""

    kind: ClassVar[str] = "post"

    publish_id: str
    user: str
    open_id: str
    mode: Literal["direct", "inbox", "photo"]
    delivery: Literal["direct", "inbox"]
    source: Literal["FILE_UPLOAD", "PULL_FROM_URL"]
    created_at: float
    status: Status
    is_audited: bool
    title: str = ""
    privacy_level: str | None = None
    upload_id: str | None = None
    upload_token: str | None = None
    url_expires_at: float = 0.0
    size: int = 0
    chunk_size: int = 0
    chunk_count: int = 0
    stored: int = 0
    sha256: str | None = None
    ready_at: float | None = None
    settled_at: float | None = None
    doom: str | None = None
    fail_reason: str | None = None
    post_ids: list[int] = []

    @property
    def key(self) -> str:
        """The publish_id."""
        return self.publish_id

    @property
    def is_processing(self) -> bool:
        """Whether the real service would still say "processing"."""
        return self.status in {"PROCESSING_UPLOAD", "PROCESSING_DOWNLOAD"}
