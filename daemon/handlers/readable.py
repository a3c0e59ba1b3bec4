"""Posts that wait for an account which cannot be read: look whether it can be by now."""

from daemon.domain.errors import AccountUnreadable, AdapterFailed, StartRefused
from daemon.domain.ids import AccountName
from daemon.domain.post import Post
from daemon.domain.verdicts import HOLD_UNREADABLE, Decision, next_try
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out
from daemon.handlers.release import release_held


def release_readable(context: Context) -> int:
    """Let the posts of this node go on whose account can be read again, look later at the others.

    Return how many go on. That they wait was told when they were held; looking tells nobody anything.
    """
    waiting: dict[AccountName, list[Post]] = {}
    for post in context.unit.held(context.now, (HOLD_UNREADABLE,), None):
        if post.node == context.rules.node:  # another node may have other keys
            waiting.setdefault(post.account, []).append(post)
    released = 0
    for name, posts in waiting.items():
        if _is_readable(name, context):
            released += release_held(context, (HOLD_UNREADABLE,), name, at_once=True)
            continue
        for post in posts:
            wake_at = next_try(post.checks + 1, context.now, context.policy)
            carry_out(Decision(trigger=None, wake_at=wake_at), post, None, context)
    return released


def _is_readable(name: AccountName, context: Context) -> bool:
    if _opens(name, context):
        return True
    try:
        context.rules.vault.read_keys()  # somebody may have brought back the old key
    except StartRefused:
        return False
    return _opens(name, context)


def _opens(name: AccountName, context: Context) -> bool:
    vault = context.rules.vault
    try:
        account = context.unit.account(name)
        if account is not None and account.access_token:  # else the claim says what is wrong
            vault.open("access_token", name, account.access_token)
            vault.open("refresh_token", name, account.refresh_token)
    except (AccountUnreadable, AdapterFailed):
        return False
    return True
