"""What is asked of a platform and what it answers, in no platform's words."""

from dataclasses import dataclass, field
from enum import StrEnum

from daemon.domain.errors import Fault
from daemon.domain.media import MediaFacts
from daemon.domain.post import Description, Kind, Mode, Source


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is cut: `count` chunks of `chunk_size` bytes, the last one carrying the remainder."""

    size: int
    chunk_size: int
    count: int

    def span(self, index: int) -> tuple[int, int]:
        """Return the first and last byte (inclusive) of chunk `index`, counted from 0."""
        first = index * self.chunk_size
        last = self.size - 1 if index == self.count - 1 else first + self.chunk_size - 1
        return first, last


@dataclass(frozen=True, slots=True, kw_only=True)
class PostOrder:
    """A post as the platform's adapter needs it."""

    mode: Mode
    kind: Kind
    source: Source
    description: Description
    facts: MediaFacts | None = None  # for files
    urls: tuple[str, ...] = ()  # for addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class InitRequest:
    """An init call ready to be sent, with the hash that the attempt keeps (rule R9)."""

    endpoint: str
    body: str
    body_hash: str
    plan: Plan | None  # None where the platform fetches the media itself


@dataclass(frozen=True, slots=True, kw_only=True)
class InitAnswer:
    """The platform's answer to an init call. `upload_url` is a secret: seal it before it is stored."""

    publish_id: str
    upload_url: str | None = field(default=None, repr=False)
    upload_url_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class ChunkAnswer:
    """What the upload host said: bytes stored so far as far as it told, and whether it has all of them."""

    stored_bytes: int | None
    is_complete: bool


class Verdict(StrEnum):
    """A platform's status, reduced to what we decide by. Unknown words are `pending`."""

    PENDING = "pending"
    SENT_TO_INBOX = "sent_to_inbox"
    PUBLISHED = "published"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusAnswer:
    """One status read."""

    verdict: Verdict
    raw: str
    fail_code: str | None = None
    fail_fault: Fault | None = None
    fail_advice: str = ""
    public_ids: tuple[str, ...] = ()
    stored_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """A sliding window: at most `count` calls in `seconds`."""

    count: int
    seconds: float


class Endpoint(StrEnum):
    """The calls that a local budget is kept for."""

    CREATOR = "creator"
    INIT = "init"
    STATUS = "status"
