"""A platform's webhook: ask the platform now instead of at the next turn. No state is changed by what it says."""

import logging
from datetime import timedelta

from daemon.domain.account import Login
from daemon.domain.errors import Code, Rejected
from daemon.domain.hints import Hint, HintKind, HintOutcome
from daemon.domain.post import IN_HAND, Post, State
from daemon.domain.reports import HintReceived
from daemon.domain.work import RefreshAccount
from daemon.handlers.context import Context
from daemon.handlers.looking import look_now

LOG = logging.getLogger("tokd.hints")
KEEP = timedelta(days=7)  # TikTok repeats a webhook for 72 h
WAITING = frozenset({State.PROCESSING, State.UNCERTAIN})


def handle(report: HintReceived, context: Context) -> HintOutcome:
    """Start what the hint is worth, once; return what that was. Raises Rejected(safe_mode)."""
    if context.rules.safe_mode is not None:
        raise Rejected(Code.SAFE_MODE, "tokd is in safe mode; send it again later", retryable=True)
    hint = report.hint
    outcome = _weigh(hint, context)
    LOG.debug("a webhook (%s): %s", hint.kind, outcome, extra={"action": "webhook"})
    return outcome


def _weigh(hint: Hint, context: Context) -> HintOutcome:
    if hint.kind is HintKind.OTHER:
        return HintOutcome.IGNORED
    if hint.kind is HintKind.ACCOUNT_REMOVED:
        return _check_accounts(hint, context)
    posts = [post for post in context.unit.posts_sent_as(hint.publish_id) if _is_whose(post, hint, context)]
    if not posts:
        return HintOutcome.UNKNOWN
    if any(post.state in IN_HAND for post in posts):
        return HintOutcome.BUSY  # not noted: a repeat may come when the worker is through
    wanted = [post for post in posts if _says_news(post, hint)]
    if not wanted:
        return HintOutcome.SETTLED
    if not context.unit.add_hint(hint.key, context.now):
        return HintOutcome.REPEAT
    started = [look_now(post, context) for post in wanted]
    return HintOutcome.READ if any(started) else HintOutcome.DELAYED


def _is_whose(post: Post, hint: Hint, context: Context) -> bool:
    account = context.unit.account(post.account)
    return post.platform == hint.platform and account is not None and account.open_id == hint.open_id


def _says_news(post: Post, hint: Hint) -> bool:
    """Tell whether a status read may tell something that is not known yet."""
    if post.state is State.PUBLISHED:
        is_new = not post.public_ids or (bool(hint.public_id) and hint.public_id not in post.public_ids)
        return hint.kind is HintKind.POST_PUBLIC and is_new
    if post.state is State.SENT_TO_INBOX:
        return hint.kind is not HintKind.POST_IN_INBOX
    return post.state in WAITING


def _check_accounts(hint: Hint, context: Context) -> HintOutcome:
    found = [
        account
        for account in context.unit.accounts()
        if account.platform == hint.platform and account.open_id == hint.open_id
    ]
    if not found:
        return HintOutcome.UNKNOWN
    working = [account for account in found if account.login is Login.OK]
    if not working:
        return HintOutcome.SETTLED
    if not context.unit.add_hint(hint.key, context.now):
        return HintOutcome.REPEAT
    for account in working:
        context.start(RefreshAccount(account.name, is_doubted=True))
    return HintOutcome.CHECK
