"""The daemon has started: finish what a crash interrupted, tell the world."""

import logging
from dataclasses import replace
from itertools import combinations

from daemon.domain.events import EventType
from daemon.domain.post import State
from daemon.domain.reports import DaemonStarted
from daemon.domain.safe_mode import SafeMode
from daemon.domain.work import SweepSessions
from daemon.handlers.context import Context
from daemon.handlers.health import daemon_view
from daemon.handlers.recovery import recover_post
from daemon.handlers.restoring import take_stock

LOG = logging.getLogger("tokd")
STOPPED_FLAG = "clean_stop"
PAGE = 200


def handle(report: DaemonStarted, context: Context) -> None:  # noqa: ARG001 - it says nothing more
    """Recover posts in hand; the bus itself starts the open commands again."""
    if context.rules.safe_mode is not None:
        _stay_safe(context.rules.safe_mode, context)
        return
    context.publish_safe_mode()
    clean = context.unit.flag(STOPPED_FLAG) is not None
    context.unit.set_flag(STOPPED_FLAG, None)
    context.emit(
        EventType.DAEMON_STARTED,
        f"daemon/{context.rules.node}",
        {"boot": context.rules.boot, "version": context.rules.version, "after_clean_stop": clean},
    )
    take_stock(context)
    _name_twins(context)
    for post in context.unit.in_hand(None):
        recover_post(post, context)
    context.start(SweepSessions())
    for state in (State.PROCESSING, State.UNCERTAIN):
        _look_again(state, context)
    context.wants_clock = True


def _name_twins(context: Context) -> None:
    """Tell of one person under two names, which older versions let happen: its limits are counted twice."""
    linked = [found for found in context.unit.accounts() if found.has_tokens]
    for one, other in combinations(linked, 2):
        if (one.platform, one.open_id) == (other.platform, other.open_id):
            LOG.warning(
                "accounts %s and %s are one TikTok account: each has a queue and limits of its own, and a post may go "
                "out twice. `tokd account unlink` one of them, then link the other again",
                one.name, other.name,
            )  # fmt: skip


def _stay_safe(safe: SafeMode, context: Context) -> None:
    """Tell that nothing is touched. The mark of the last stop stays as it is, for the next true start."""
    rules = context.rules
    if not safe.is_blind:  # in blindness no event is told: its number has been another one's
        told = {"boot": rules.boot, "version": rules.version, "reason": safe.reason}
        context.emit(EventType.DAEMON_SAFE_MODE, f"daemon/{rules.node}", told)
    context.publish_state("daemon", daemon_view(context))
    context.publish_safe_mode()


def _look_again(state: State, context: Context) -> None:
    """Read at once what somebody waits for: a read that the end cut off will not report, and its turn is long."""
    cursor, is_first = None, True
    while cursor is not None or is_first:
        posts, cursor = context.unit.posts(state, None, cursor, PAGE)
        is_first = False
        for post in posts:
            if post.node == context.rules.node and post.wake_at is not None and post.wake_at > context.now:
                context.unit.save_post(replace(post, wake_at=context.now, version=post.version + 1))
