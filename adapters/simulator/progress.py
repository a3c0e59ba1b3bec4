"""The life of a post.

FILE_UPLOAD    PROCESSING_UPLOAD ----+--> PUBLISH_COMPLETE (direct)
PULL_FROM_URL  PROCESSING_DOWNLOAD --+--> SEND_TO_USER_INBOX (inbox) --> PUBLISH_COMPLETE
                                     +--> FAILED

A file counts as published from its last stored byte on: nothing the client does can take it back.
A pull counts when its processing is over, because it can be cancelled until then.
"""

import asyncio
import contextlib
import secrets

from .ledger import Ledger
from .records import Post, Status
from .state import State
from .webhooks import Webhooks

STUCK = "stuck"
_TICK_SECONDS = 0.05
_PUBLISH_TYPE = {"direct": "DIRECT_PUBLISH", "inbox": "INBOX_SHARE"}


def _new_post_id() -> int:
    return 7_600_000_000_000_000_000 + secrets.randbelow(10**17)


class Progress:
    """Moves posts on as time passes; each move is stored, noted and announced once."""

    def __init__(self, state: State, ledger: Ledger, webhooks: Webhooks) -> None:
        self._state = state
        self._ledger = ledger
        self._webhooks = webhooks
        self._moving: dict[str, Post] = {}
        self._wake = asyncio.Event()
        self.watch_all()

    async def run(self) -> None:
        """Move posts on for ever; sleeps while nothing moves."""
        while True:
            self._wake.clear()
            self.advance_all()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TICK_SECONDS if self._moving else None)

    def watch_all(self) -> None:
        """Look at every post again: the settings or the clock have changed."""
        self._moving = {post.key: post for post in self._state.posts.values() if not self._is_resting(post)}
        self._wake.set()

    def watch(self, post: Post) -> None:
        """Look after this post from now on."""
        self._moving[post.key] = post
        self._wake.set()

    def advance_all(self) -> None:
        """Bring every moving post up to date."""
        for post in list(self._moving.values()):
            self.advance(post)

    def advance(self, post: Post) -> None:
        """Bring one post up to date."""
        now, settings = self._state.now(), self._state.settings
        if self._is_due(post.ready_at if post.is_processing else None, settings.processing_seconds, now):
            self._leave_processing(post)
        wait = settings.complete_inbox_seconds
        is_draft = post.status == "SEND_TO_USER_INBOX" and wait is not None
        if is_draft and self._is_due(post.settled_at, wait or 0.0, now):
            self._settle(post, "PUBLISH_COMPLETE")
        waits_for_id = self._may_get_id(post) and post.status == "PUBLISH_COMPLETE"
        if waits_for_id and self._is_due(post.settled_at, settings.moderation_seconds, now):
            self.show(post, [_new_post_id()])
        if self._is_resting(post):
            self._moving.pop(post.key, None)

    @staticmethod
    def _is_due(since: float | None, wait: float, now: float) -> bool:
        return since is not None and now >= since + wait

    def _may_get_id(self, post: Post) -> bool:
        if post.post_ids or self._state.settings.moderation == "never":
            return False
        if post.delivery == "inbox":
            return not self._state.users[post.user].private
        return post.privacy_level == "PUBLIC_TO_EVERYONE" and post.is_audited

    def _is_resting(self, post: Post) -> bool:
        if post.is_processing:
            return post.ready_at is None or post.doom == STUCK
        if post.status == "SEND_TO_USER_INBOX":
            return self._state.settings.complete_inbox_seconds is None
        return post.status == "FAILED" or not self._may_get_id(post)

    def _leave_processing(self, post: Post) -> None:
        if post.doom == STUCK:
            return
        if post.doom is not None:
            self.fail(post, post.doom)
        else:
            self._settle(post, "PUBLISH_COMPLETE" if post.delivery == "direct" else "SEND_TO_USER_INBOX")

    def stored(self, post: Post, sha256: str | None) -> None:
        """Note that the last byte of a file is there: processing starts, and there is no way back."""
        post.sha256 = sha256
        post.ready_at = self._state.now()
        self._ledger.write_once(
            "file", post.publish_id, account=post.user, size=post.size, sha256=sha256, time=post.ready_at
        )
        if post.doom is None:
            self._note_publish(post)
        self._state.put(post)
        self.watch(post)

    def _note_publish(self, post: Post) -> None:
        self._ledger.write_once(
            "publish",
            post.publish_id,
            account=post.user,
            open_id=post.open_id,
            mode=post.mode,
            delivery=post.delivery,
            sha256=post.sha256,
            time=self._state.now(),
        )

    def _settle(self, post: Post, status: Status) -> None:
        self._note_publish(post)
        post.status = status
        post.fail_reason = None
        post.settled_at = self._state.now()
        self._state.put(post)
        is_complete = status == "PUBLISH_COMPLETE"
        self._announce(post, "post.publish.complete" if is_complete else "post.publish.inbox_delivered")

    def fail(self, post: Post, reason: str) -> None:
        """End a post as FAILED."""
        self._ledger.retract_publish(post.publish_id, self._state.now())
        post.status = "FAILED"
        post.fail_reason = reason
        post.settled_at = self._state.now()
        self._state.put(post)
        self._announce(post, "post.publish.failed", reason=reason)

    def show(self, post: Post, ids: list[int]) -> None:
        """Moderation is through: the post is public under these ids."""
        post.post_ids = ids
        self._state.put(post)
        for post_id in ids:
            self._announce(post, "post.publish.publicly_available", post_id=str(post_id))

    def force(self, post: Post, status: Status, reason: str | None, ids: list[int] | None) -> None:
        """Set a status by decree."""
        if status == "FAILED":
            self.fail(post, reason or "internal")
        elif status in {"PUBLISH_COMPLETE", "SEND_TO_USER_INBOX"}:
            self._settle(post, status)
        else:
            self._ledger.retract_publish(post.publish_id, self._state.now())
            post.status, post.doom, post.fail_reason = status, STUCK, None
            self._state.put(post)
        if ids is not None:
            self.show(post, ids)
        self.watch(post)

    def _announce(self, post: Post, event: str, **extra: str) -> None:
        content = {"publish_id": post.publish_id, "publish_type": _PUBLISH_TYPE[post.delivery], **extra}
        self._webhooks.send(event, post.open_id, content)
