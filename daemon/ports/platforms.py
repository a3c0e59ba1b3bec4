"""What the core needs to post: the platform, the media files, the secrets at rest."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from daemon.domain.account import Creator, Tokens
from daemon.domain.errors import Problem
from daemon.domain.media import MediaFacts, MediaLimits
from daemon.domain.platform import (
    ChunkAnswer,
    Endpoint,
    InitAnswer,
    InitRequest,
    Plan,
    PostOrder,
    Rate,
    StatusAnswer,
)  # fmt: skip
from daemon.domain.post import Description, Kind, Mode


class Vault(Protocol):
    """Secrets at rest. The purpose and the owner are bound into what is sealed."""

    def seal(self, purpose: str, owner: str, clear: str) -> str:
        """Return text that only `open` with the same purpose and owner turns back."""

    def open(self, purpose: str, owner: str, sealed: str) -> str:
        """Return the clear text. Raises AdapterFailed for a wrong key, purpose or owner."""

    def is_newest(self, sealed: str) -> bool:
        """Tell whether this was sealed with the newest key."""

    def read_keys(self) -> None:
        """Read the keys anew. Raises StartRefused where they cannot be read; the old ones stay then."""


class OpenMedia(Protocol):
    """A media file held open: the bytes that are sent are the bytes that were checked."""

    @property
    def size(self) -> int:
        """Return the size in bytes at the time of opening."""

    def window(self, first: int, last: int) -> BinaryIO:
        """Return a reader over bytes first..last (inclusive): `read(n)`, `__len__`, a position of its own."""

    def has_changed(self) -> bool:
        """Tell whether anybody has written to the file since it was opened."""

    def close(self) -> None:
        """Let go of the file. Safe twice."""


class MediaProbe(Protocol):
    """Files inside the configured roots, and addresses within the allowed hosts."""

    def recall(self, name: str) -> MediaFacts | None:
        """Return the facts of an earlier check if the file is provably the same. Fast, never raises."""

    def inspect(self, name: str) -> MediaFacts:
        """Check the file in full: path, type, completeness, hash, streams. Takes seconds for large files.

        Raises Rejected: media_missing, media_outside_roots, media_rejected (with every problem named), and
        shutting_down where the daemon stops meanwhile.
        """

    def open(self, facts: MediaFacts) -> OpenMedia:
        """Open the file and prove by its hash that it is the one that was checked.

        Raises Rejected: media_missing, media_outside_roots, media_rejected with problem `changed`, and
        shutting_down where the daemon stops meanwhile.
        """

    def is_fetched(self, url: str, field: str) -> bool:
        """Tell whether tokd fetches the video at this address itself; False: the platform may be pointed at it.

        Raises Rejected(media_rejected) where it may be neither.
        """

    def check_url(self, url: str, field: str) -> None:
        """Raise Rejected(media_rejected) unless the platform may be pointed at this address."""


class PlatformUploader(Protocol):
    """A platform that posts can be sent to. Stateless: every call may come from any thread.

    Every call that reaches the network raises PlatformError with its fault class, and nothing else.
    """

    name: str
    limits: MediaLimits
    rates: dict[Endpoint, Rate]

    def is_configured(self) -> bool:
        """Tell whether the app's own credentials are there."""

    def advice_if_not_configured(self) -> str:
        """Return what to do about it."""

    def check_description(
        self, description: Description, mode: Mode, kind: Kind
    ) -> tuple[tuple[str, Problem], ...]:
        """Return what is wrong with it, as (argument name, problem) pairs. Pure."""

    def check_creator(
        self, creator: Creator, description: Description, mode: Mode, facts: MediaFacts | None
    ) -> tuple[tuple[str, Problem], ...]:
        """Return what this creator's options forbid, as (argument name, problem) pairs. Pure."""

    def scope_for(self, mode: Mode) -> str:
        """Return the OAuth scope that the mode needs."""

    def prepare(self, order: PostOrder) -> InitRequest:
        """Return the init call that will be sent. Pure."""

    def creator(self, access_token: str) -> Creator:
        """Read what the creator may do now."""

    def init(self, access_token: str, request: InitRequest) -> InitAnswer:
        """Begin a post: sent at most once, never repeated inside."""

    def send_chunk(
        self, upload_url: str, body: BinaryIO, plan: Plan, index: int, mime_type: str
    ) -> ChunkAnswer:
        """Send chunk `index`. Raises UploadUrlDead where the upload can never be finished."""

    def status(self, access_token: str, publish_id: str) -> StatusAnswer:
        """Read how far a post is."""

    def cancel(self, access_token: str, publish_id: str) -> None:
        """Ask to stop a post that the platform is still fetching."""

    @property
    def client_key(self) -> str:
        """Return the app's public name; empty where there is none."""

    def authorize_url(
        self, state: str, scopes: Sequence[str], redirect_uri: str, verifier: str | None = None,
        *, always_asks: bool = False,
    ) -> str:  # fmt: skip
        """Return the page on which a person agrees; a verifier makes it the desktop flow. Pure.

        `always_asks` (web flow only) shows it to who has agreed before, too.
        """

    def why_not_agreed(self, error: str) -> str:
        """Return what an error means that the person came back with instead of a code, and what to do. Pure."""

    def exchange(self, code: str, redirect_uri: str, verifier: str | None) -> Tokens:
        """Turn an authorisation code into tokens."""

    def refresh(self, refresh_token: str) -> Tokens:
        """Renew a token pair. The old refresh token may be dead from now on."""

    def revoke(self, access_token: str) -> None:
        """Give the tokens back."""

    def post_url(self, username: str, public_id: str, kind: Kind) -> str:
        """Return the public address of a post."""
