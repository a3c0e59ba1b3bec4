"""Named places where a crash test can end the process: `TOKD_DAEMON__FAILPOINT=init.sent:kill@3`.

`NAME:kill@N` ends the process at the N-th passage (default 1), without any clean-up, as a power cut would.
`NAME:hang@N` lets the thread that passes hang there for ever, as a deadlock would.
`NAME:die@N` ends the thread that passes, as an error would that nobody foresaw.
`NAME:stop@N` stops the whole process there, as SIGSTOP does, until somebody lets it go on.
"""

import os
import signal
import threading
from collections import Counter

from daemon.domain.errors import StartRefused

EXIT_CODE = 137
ACTIONS = frozenset({"kill", "hang", "die", "stop", ""})

NAMES = (
    "inbox.before_commit", "inbox.after_commit", "inbox.after_reply",
    "claim.before_commit", "claim.after_commit",
    "attempt.before_start", "attempt.after_start", "attempt.after_validation",
    "token.before_refresh", "token.after_refresh", "token.after_commit",
    "link.before_exchange", "link.after_exchange", "link.after_commit",
    "unlink.before_revoke", "unlink.after_revoke",
    "init.before_intent", "init.before_call", "init.after_call", "init.after_commit",
    "upload.before_chunk", "upload.after_chunk",
    "commit.before_intent", "commit.before_call", "commit.after_call", "commit.after_commit",
    "status.before_call", "status.after_call", "status.after_commit",
    "outbox.before_send", "outbox.after_send", "outbox.before_mark",
)  # fmt: skip


class ThreadEnds(BaseException):
    """Ends a thread; no Exception, so that whoever forgives mistakes does not forgive it."""


_armed: dict[str, tuple[str, int]] = {}
_passed: Counter[str] = Counter()


def arm(spec: str | None) -> None:
    """Arm one failpoint. Raises StartRefused for a name that does not exist."""
    _armed.clear()
    _passed.clear()
    if not spec:
        return
    name, _, rest = spec.partition(":")
    action, _, count = rest.partition("@")
    if name not in NAMES or action not in ACTIONS:
        raise StartRefused(f"unknown failpoint {spec!r}; known: {', '.join(NAMES)}")
    _armed[name] = (action, int(count or 1))


def hit(name: str) -> None:
    """Pass a named place; where it is armed and its turn has come, the process or the thread ends, stops or hangs."""
    if not _armed:
        return
    if name in _armed:
        _passed[name] += 1
        action, turn = _armed[name]
        if _passed[name] == turn:
            if action == "hang":
                threading.Event().wait()
            if action == "die":
                raise ThreadEnds(name)
            if action == "stop":
                # Of this very thread: it would go on for a moment where another one takes the signal.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
                return
            os._exit(EXIT_CODE)
