"""Who may call and post: tokens, scopes, sliding windows and the 24-hour limits."""

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from .answers import ApiError
from .connections import bearer_of
from .records import Post, User

if TYPE_CHECKING:
    from fastapi import Request

    from .world import World

DAY_SECONDS = 86_400.0
_WINDOW_SECONDS = 60.0
_PER_MINUTE = {
    "creator_info": 20,
    "video_init": 6,
    "inbox_init": 6,
    "photo_init": 6,
    "status": 30,
    "video_list": 600,
}


class RateWindows:
    """One-minute sliding windows per token and endpoint. Kept in memory only."""

    def __init__(self) -> None:
        self._calls: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def clear(self) -> None:
        """Forget all calls."""
        self._calls.clear()

    def admit(self, token: str, endpoint: str, limit: int, now: float) -> bool:
        """Count a call unless the window is full."""
        calls = self._calls[token, endpoint]
        while calls and calls[0] <= now - _WINDOW_SECONDS:
            calls.popleft()
        if len(calls) >= limit:
            return False
        calls.append(now)
        return True


def authorise(world: "World", request: "Request", endpoint: str, *scopes: str) -> User:
    """Return the caller: 401 for the token, 401 for the scopes (any one will do), 429 for the rate."""
    token = world.state.tokens.get(bearer_of(request))
    if token is None or token.use != "access" or token.expires_at <= world.state.now():
        raise ApiError("access_token_invalid")
    if not set(scopes) & set(token.scopes):
        raise ApiError("scope_not_authorized", "The user did not authorize the scope required.")
    limit = world.settings.rate_per_minute.get(endpoint, _PER_MINUTE.get(endpoint))
    is_limited = world.settings.rate_limits and limit is not None
    if is_limited and not world.windows.admit(token.value, endpoint, limit or 0, world.state.now()):
        raise ApiError("rate_limit_exceeded", "The API rate limit was exceeded.")
    return world.state.users[token.user]


def privacy_levels(world: "World", user: User) -> list[str]:
    """Return what creator_info offers this user."""
    if world.settings.unaudited_self_only_options and not world.settings.audited:
        return ["SELF_ONLY"]
    return user.levels


def refuse_direct_post(world: "World", user: User) -> None:
    """Raise when this creator cannot post directly now."""
    world.progress.advance_all()
    if user.banned:
        raise ApiError("spam_risk_user_banned_from_posting")
    limit = world.settings.daily_posts
    if limit is not None and len(_recent_direct_posts(world, user.name)) >= limit:
        raise ApiError("spam_risk_too_many_posts")
    if not world.settings.audited and world.settings.active_users is not None:
        others = [name for name in world.state.users if name != user.name]
        active = sum(1 for name in others if _recent_direct_posts(world, name))
        if active >= world.settings.active_users:
            raise ApiError("reached_active_user_cap")


def refuse_inbox_share(world: "World", user: User) -> None:
    """Raise when no further draft may be sent to this creator."""
    world.progress.advance_all()
    if user.banned:
        raise ApiError("spam_risk_user_banned_from_posting")
    limit = world.settings.pending_shares
    pending = [
        post
        for post in _recent_posts(world, user.name)
        if post.delivery == "inbox" and post.status not in {"PUBLISH_COMPLETE", "FAILED"}
    ]
    if limit is not None and len(pending) >= limit:
        raise ApiError("spam_risk_too_many_pending_share")


def _recent_posts(world: "World", user: str) -> list[Post]:
    start = world.state.now() - DAY_SECONDS
    return [post for post in world.state.posts_of.get(user, []) if post.created_at > start]


def _recent_direct_posts(world: "World", user: str) -> list[Post]:
    return [
        post for post in _recent_posts(world, user) if post.delivery == "direct" and post.status != "FAILED"
    ]
