"""How an account stands: what waits for it, how its last post ended, which window is open on its profile."""

import json
from typing import Any

from daemon.domain.account import Account, Login
from daemon.domain.events import EventType, as_json
from daemon.domain.ids import AccountName, ProfileName
from daemon.domain.login import Login as SeenLogin
from daemon.domain.policy import SessionPolicy
from daemon.domain.post import Post
from daemon.domain.session import Session, Sighting
from daemon.domain.times import iso
from daemon.ports import Unit

NO_SESSION = "none"
SESSIONS_MAX = 200
_ENDS = frozenset(
    {EventType.POST_PUBLISHED, EventType.POST_SENT_TO_INBOX, EventType.POST_FAILED, EventType.POST_CANCELLED}
)
_TROUBLES = frozenset({EventType.POST_FAILED, EventType.POST_UNCERTAIN, EventType.POST_HELD})


def remember(post: Post, event: EventType, unit: Unit) -> None:
    """Keep the end of a post, or its trouble, as the last one of its account."""
    since = iso(post.state_since)
    if event in _ENDS:
        told = {"state": post.state.value, "post": post.id, "at": since, "url": post.url}
        unit.set_flag(_flag("last_result", post.account), as_json(told))
    if event in _TROUBLES:
        trouble = {
            "code": post.reason or post.state.value,
            "message": post.detail,
            "post": post.id,
            "at": since,
        }
        unit.set_flag(_flag("last_error", post.account), as_json(trouble))


def profile_of(account: AccountName, unit: Unit, policy: SessionPolicy) -> ProfileName:
    """Return the profile on which a session for this account is opened.

    The configured one; else the one of its name, or the one last seen logged in as it; else the default profile.
    """
    for profile, name in policy.accounts.items():
        if name == account:
            return profile
    seen, own = unit.sightings(), ProfileName(account)
    if own in seen:
        return own
    mine = {profile: found for profile, found in seen.items() if found.account == account}
    return max(mine, key=lambda profile: mine[profile].seen_at, default=policy.profile)


def standing(
    account: Account, sighting: Sighting | None, unit: Unit, policy: SessionPolicy
) -> dict[str, Any]:
    """Return what is added to an account's view. Every key is always there: null where there is nothing to tell."""
    profile = profile_of(account.name, unit, policy)
    sessions = unit.sessions(is_over=False, limit=SESSIONS_MAX)
    session: Session | None = next((found for found in sessions if found.profile == profile), None)
    queued, due_at = unit.queue_of(account.name)
    return {
        "profile": profile,
        "session": session.state.value if session else NO_SESSION,
        "session_id": session.id if session else None,
        "session_ends_at": iso(session.ends_at) if session and session.ends_at else None,
        "queued": queued,
        "next_post_at": iso(due_at) if due_at else None,
        "last_result": _last("last_result", account.name, unit),
        "last_error": _last("last_error", account.name, unit),
        "problems": _problems(account, sighting),
    }


def _problems(account: Account, sighting: Sighting | None) -> list[str]:
    found = []
    if account.login is not Login.OK:
        found.append("needs_login")
    if not account.enabled:
        found.append("disabled")
    if sighting is not None and sighting.login is SeenLogin.LOGGED_OUT:
        found.append("browser_logged_out")
    return found


def _flag(name: str, account: AccountName) -> str:
    return f"{name}:{account}"


def _last(name: str, account: AccountName, unit: Unit) -> dict[str, Any] | None:
    found = unit.flag(_flag(name, account))
    return json.loads(found) if found is not None else None
