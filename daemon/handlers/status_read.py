"""A status read came back."""

from daemon.domain.events import EventType
from daemon.domain.post import Post, State
from daemon.domain.reports import StatusRead
from daemon.domain.verdicts import decide_status, decide_unread
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out

READABLE = {
    State.INITIALISED, State.UPLOADING, State.COMMITTING, State.PROCESSING, State.UNCERTAIN,
    State.SENT_TO_INBOX, State.PUBLISHED,
}  # fmt: skip


def handle(report: StatusRead, context: Context) -> None:
    """Adopt the platform's word; a read of an attempt that is over says nothing."""
    post = context.unit.post(report.post)
    if post is None or post.fence != report.fence or post.state not in READABLE:
        return
    attempt = context.unit.attempt(post.id, post.attempt)
    if report.answer is None:
        if report.error is not None:
            carry_out(decide_unread(post, report.error, context.now, context.policy), post, attempt, context)
        return
    decision = decide_status(post, attempt, report.answer, context.now, context.policy)
    ids = report.answer.public_ids
    new_ids = bool(ids) and ids != post.public_ids
    changed = carry_out(decision, post, attempt, context, public_ids=ids, url=_url(post, ids, context))
    if decision.trigger is None and new_ids:
        # Moderation is over: the post has become public.
        context.tell_post(changed, EventType.POST_PUBLIC, post_ids=list(ids), url=changed.url)


def _url(post: Post, ids: tuple[str, ...], context: Context) -> str | None:
    account = context.unit.account(post.account)
    if not ids or account is None or account.creator is None:
        return None
    return context.rules.platforms[post.platform].post_url(account.creator.username, ids[0], post.kind)
