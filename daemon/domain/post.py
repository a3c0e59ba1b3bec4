"""A post, its attempts, and the one table of its states.

                     cancel                    ┌──────────── retry ─────────────┐
    DRAFT ─▶ SCHEDULED ─claim▶ CLAIMED ─▶ VALIDATING ─▶ INITIALISED ─▶ UPLOADING ─▶ COMMITTING
                ▲ │hold            │requeue        (photo, pull: ───────────────────────┐ │
                │ ▼                ▼                                                    ▼ ▼
               HELD            SCHEDULED                        UNCERTAIN ◀─doubt─ PROCESSING
                                                                    │                   │
                                              PUBLISHED · SENT_TO_INBOX · FAILED ◀──────┘

The point of no return is the move to COMMITTING (for photos and pulled videos: the init call itself).
Before it everything may be repeated; after it only reads may (posts-and-schedulers.md, rules R4 and R5).
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.errors import IllegalMove
from daemon.domain.ids import AccountName, NodeName, PostId, TaskId
from daemon.domain.media import MediaFacts


class State(StrEnum):
    """Where a post stands."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    HELD = "held"
    CLAIMED = "claimed"
    VALIDATING = "validating"
    INITIALISED = "initialised"
    UPLOADING = "uploading"
    COMMITTING = "committing"
    PROCESSING = "processing"
    RETRY_WAIT = "retry_wait"
    UNCERTAIN = "uncertain"
    PUBLISHED = "published"
    SENT_TO_INBOX = "sent_to_inbox"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Trigger(StrEnum):
    """What moves a post."""

    SCHEDULE = "schedule"
    CANCEL = "cancel"
    CLAIM = "claim"
    HOLD = "hold"
    RELEASE = "release"
    REQUEUE = "requeue"
    START = "start"
    INTEND = "intend"  # the init call is about to leave
    ANSWERED = "answered"  # publish_id and upload address are known
    UPLOAD = "upload"
    COMMIT = "commit"  # the last chunk is about to leave
    ACCEPTED = "accepted"  # the platform has all of it
    RETRY = "retry"
    DOUBT = "doubt"
    PUBLISH = "publish"
    INBOX = "inbox"
    FAIL = "fail"
    RESTORE = "restore"  # the ledger came back from a backup: this post may have gone out since
    AGAIN = "again"  # a person has decided to post an uncertain one once more


_S, _T = State, Trigger

MOVES: dict[tuple[State, Trigger], State] = {
    **{(s, _T.SCHEDULE): _S.SCHEDULED for s in (_S.DRAFT, _S.SCHEDULED, _S.HELD, _S.RETRY_WAIT)},
    **{
        (s, _T.CANCEL): _S.CANCELLED
        for s in (
            _S.DRAFT, _S.SCHEDULED, _S.HELD, _S.RETRY_WAIT, _S.CLAIMED,
            _S.VALIDATING, _S.INITIALISED, _S.UPLOADING, _S.PROCESSING, _S.UNCERTAIN,
        )
    },
    **{(s, _T.CLAIM): _S.CLAIMED for s in (_S.SCHEDULED, _S.RETRY_WAIT)},
    **{
        (s, _T.HOLD): _S.HELD
        for s in (
            _S.SCHEDULED, _S.RETRY_WAIT, _S.CLAIMED, _S.VALIDATING, _S.INITIALISED, _S.UPLOADING, _S.PROCESSING,
        )
    },
    (_S.HELD, _T.RELEASE): _S.SCHEDULED,
    **{(s, _T.REQUEUE): _S.SCHEDULED for s in (_S.CLAIMED, _S.VALIDATING)},
    (_S.CLAIMED, _T.START): _S.VALIDATING,
    (_S.VALIDATING, _T.INTEND): _S.INITIALISED,
    (_S.INITIALISED, _T.ANSWERED): _S.INITIALISED,
    (_S.INITIALISED, _T.UPLOAD): _S.UPLOADING,
    (_S.UPLOADING, _T.UPLOAD): _S.UPLOADING,
    **{(s, _T.COMMIT): _S.COMMITTING for s in (_S.INITIALISED, _S.UPLOADING, _S.COMMITTING)},
    **{(s, _T.ACCEPTED): _S.PROCESSING for s in (_S.INITIALISED, _S.UPLOADING, _S.COMMITTING, _S.UNCERTAIN)},
    **{
        (s, _T.RETRY): _S.RETRY_WAIT
        for s in (
            _S.CLAIMED, _S.VALIDATING, _S.INITIALISED, _S.UPLOADING,
            _S.COMMITTING,  # only where the platform itself has said no
            _S.PROCESSING, _S.UNCERTAIN,
        )
    },
    **{(s, _T.DOUBT): _S.UNCERTAIN for s in (_S.INITIALISED, _S.COMMITTING, _S.PROCESSING)},
    # The platform's word counts in every state in which it can be asked, even where it should be impossible:
    # after a restored backup the database may be behind what was posted.
    **{
        (s, _T.PUBLISH): _S.PUBLISHED
        for s in (
            _S.INITIALISED, _S.UPLOADING, _S.COMMITTING, _S.PROCESSING, _S.UNCERTAIN, _S.SENT_TO_INBOX,
        )
    },
    **{
        (s, _T.INBOX): _S.SENT_TO_INBOX
        for s in (_S.INITIALISED, _S.UPLOADING, _S.COMMITTING, _S.PROCESSING, _S.UNCERTAIN)
    },
    **{
        (s, _T.FAIL): _S.FAILED
        for s in (
            _S.SCHEDULED, _S.RETRY_WAIT, _S.CLAIMED, _S.VALIDATING, _S.INITIALISED,
            _S.UPLOADING, _S.COMMITTING, _S.PROCESSING, _S.UNCERTAIN,
        )
    },
    **{
        (s, _T.RESTORE): _S.UNCERTAIN
        for s in (
            _S.DRAFT, _S.SCHEDULED, _S.HELD, _S.RETRY_WAIT, _S.CLAIMED, _S.VALIDATING, _S.INITIALISED,
            _S.UPLOADING, _S.COMMITTING, _S.PROCESSING, _S.UNCERTAIN,
        )
    },
    (_S.UNCERTAIN, _T.AGAIN): _S.SCHEDULED,
}  # fmt: skip

FINAL = frozenset({State.PUBLISHED, State.SENT_TO_INBOX, State.FAILED, State.CANCELLED})
IN_HAND = frozenset(
    {State.CLAIMED, State.VALIDATING, State.INITIALISED, State.UPLOADING, State.COMMITTING}
)  # a worker drives it; one at a time for an account


class Mode(StrEnum):
    """Direct post, or a draft in the creator's inbox."""

    DIRECT = "direct"
    INBOX = "inbox"


class Kind(StrEnum):
    """What is posted."""

    VIDEO = "video"
    PHOTO = "photo"


class Source(StrEnum):
    """Who moves the bytes: tokd from a file, or the platform from an address."""

    FILE = "file"
    URL = "url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is said about the media, in no platform's words. `privacy` is one of the creator's own options."""

    title: str | None = None
    expression: str | None = None  # what a generator made the clip about; the caption where no title is given
    hashtags: tuple[str, ...] = ()
    privacy: str | None = None
    cover_ms: int | None = None
    allow_comment: bool = False
    allow_duet: bool = False
    allow_stitch: bool = False
    brand_content: bool = False
    brand_organic: bool = False
    is_aigc: bool = False
    text: str | None = None  # the longer text of a photo post
    photo_cover: int = 0
    auto_music: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Who asked for this post, when, and through what. Stored with it for good."""

    who: str
    actor: str
    at: str
    through: str


class LateRule(StrEnum):
    """What to do with a post whose time has passed by more than its allowance."""

    POST = "post"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One post as it stands in the database. Immutable: every change is a new value, saved by the bus."""

    id: PostId
    node: NodeName
    account: AccountName
    platform: str
    mode: Mode
    kind: Kind
    source: Source
    media: tuple[str, ...]  # one file name, one address, or the addresses of the photos
    facts: MediaFacts | None
    description: Description
    consent: Consent
    due_at: datetime | None
    zone: str
    late_rule: LateRule
    late_after_s: int
    state: State
    state_since: datetime
    created_at: datetime
    command_id: str
    wake_at: datetime | None = (
        None  # when the clock must look at it again; what that means depends on the state
    )
    reason: str | None = None  # a code: why it is held, failed or uncertain
    detail: str | None = None  # the same in words, with what to do
    version: int = 1
    fence: int = 0
    claimed_by: NodeName | None = None
    attempt: int = 0
    tries: int = 0  # spent tries of the retry policy
    remote_tries: int = 0  # new attempts made because the platform itself failed
    claims: int = 0  # claims since the last step that got anywhere: finds posts that crash us
    checks: int = 0  # status reads since `state_since`
    publish_id: str | None = None
    public_ids: tuple[str, ...] = ()
    url: str | None = None
    sent_bytes: int = 0
    finished_at: datetime | None = None
    retained: bool = False  # its state stands retained on the broker
    task: TaskId | None = None  # whose video it is

    @property
    def is_final(self) -> bool:
        """Tell whether nothing will be posted any more."""
        return self.state in FINAL

    @property
    def inits_publish(self) -> bool:
        """Tell whether the init call itself is the point of no return (photos and pulled videos)."""
        return self.source is Source.URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run at the platform. `commit_sent_at` is the point of no return of a file upload (rule R4)."""

    post: PostId
    number: int
    fence: int
    node: NodeName
    started_at: datetime
    init_sent_at: datetime | None = None
    init_hash: str | None = None
    publish_id: str | None = None
    upload_url: str | None = field(default=None, repr=False)  # sealed
    url_expires_at: datetime | None = None
    size: int = 0
    chunk_size: int = 0
    chunk_count: int = 0
    stored_bytes: int = 0
    commit_sent_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    error: str | None = None


def advance(post: Post, trigger: Trigger, now: datetime, **changes: Any) -> Post:
    """Return the post after `trigger`; the only function that changes a state.

    Raises IllegalMove where the table has no such move.
    """
    target = MOVES.get((post.state, trigger))
    if target is None:
        raise IllegalMove(f"post {post.id}: {trigger} is not possible in state {post.state}")
    moved = target is not post.state
    if moved:
        changes.setdefault("state_since", now)
        changes.setdefault("checks", 0)
        if target in FINAL:
            changes.setdefault("finished_at", now)
        if target not in IN_HAND:
            changes.setdefault("claimed_by", None)
    return replace(post, state=target, version=post.version + 1, **changes)


def readopt(post: Post, node: NodeName, lease_until: datetime) -> Post:
    """Return the post in the hands of a new worker: same state, new fence, so that the old one can do nothing."""
    return replace(
        post, fence=post.fence + 1, version=post.version + 1, claims=post.claims + 1, claimed_by=node,
        wake_at=lease_until,
    )  # fmt: skip
