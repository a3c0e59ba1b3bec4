"""What a restored ledger must know of itself: it is behind the world, from the backup until the moment it came back.

Whatever it has in hand or due from before that moment may have gone out since, and nobody can know. So all of that is
doubted (`Trigger.RESTORE`), and nothing is posted until a person has looked and says `system/resume`.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from daemon.domain.post import IN_HAND, Post, State

RESTORED_FLAG = "restored"  # set by `tokd restore`, worked off by the next start
BEHIND_FLAG = "behind"  # from that start until somebody resumes
BACKUP_FLAG = "last_backup"
_WAITING = frozenset({State.SCHEDULED, State.RETRY_WAIT, State.HELD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """When the backup was taken and when it was put back, ISO 8601; posts that the ledger it replaced knew as begun."""

    taken_at: str
    restored_at: str
    begun: tuple[str, ...] = ()

    def as_text(self) -> str:
        """Return it as a flag's value."""
        return json.dumps(asdict(self))


def read_restored(text: str) -> Restored:
    """Return what a flag says."""
    found = json.loads(text)
    return Restored(taken_at=found["taken_at"], restored_at=found["restored_at"], begun=tuple(found["begun"]))


def may_have_gone_out(post: Post, restored: Restored) -> bool:
    """Tell whether a post of a restored ledger may have been sent since the backup was taken."""
    if post.state in IN_HAND or post.state in {State.PROCESSING, State.UNCERTAIN}:
        return True
    if post.state is State.DRAFT:
        return post.id in restored.begun
    if post.state not in _WAITING:
        return False
    moment = datetime.fromisoformat(restored.restored_at)
    return post.id in restored.begun or post.due_at is None or post.due_at <= moment
