"""How posts and accounts look from outside: the same JSON in replies, events and retained states. No secrets."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from daemon.domain.account import Account, Login
from daemon.domain.addresses import shown_url
from daemon.domain.post import Attempt, Post, Source
from daemon.domain.session import ProfileFacts, Session, Sighting
from daemon.domain.times import iso


def _time(value: datetime | None) -> str | None:
    return None if value is None else iso(value)


def local_time(post: Post) -> str | None:
    """Return the post's time on the wall clock of its zone."""
    if post.due_at is None:
        return None
    return post.due_at.astimezone(ZoneInfo(post.zone)).isoformat(timespec="seconds")


def post_view(post: Post) -> dict[str, Any]:
    """Return a post as everybody may see it."""
    view: dict[str, Any] = {
        "post": post.id,
        "task": post.task,
        "account": post.account,
        "platform": post.platform,
        "state": post.state.value,
        "mode": post.mode.value,
        "kind": post.kind.value,
        "media": [shown_url(name) if post.source is Source.URL else name for name in post.media],
        "title": post.description.title or post.description.expression,
        "privacy": post.description.privacy,
        "at": _time(post.due_at),
        "at_local": local_time(post),
        "zone": post.zone,
        "if_late": {"policy": post.late_rule.value, "after_s": post.late_after_s},
        "reason": post.reason,
        "detail": post.detail,
        "attempt": post.attempt,
        "publish_id": post.publish_id,
        "post_ids": list(post.public_ids),
        "url": post.url,
        "size": post.facts.size if post.facts else None,
        "sent_bytes": post.sent_bytes,
        "next_look_at": _time(post.wake_at),
        "created_at": iso(post.created_at),
        "state_since": iso(post.state_since),
        "finished_at": _time(post.finished_at),
        "command_id": post.command_id,
        "rev": post.version,
    }
    return {key: value for key, value in view.items() if value is not None and value != []}


def full_view(post: Post, attempts: list[Attempt]) -> dict[str, Any]:
    """Return a post with its consent, its file and its attempts."""
    consent = post.consent
    view = post_view(post) | {
        "consent": {"who": consent.who, "actor": consent.actor, "at": consent.at, "through": consent.through},
        "attempts": [attempt_view(attempt) for attempt in attempts],
    }
    if post.facts:
        view["file"] = post.facts.as_dict() | {"identity": None}
        del view["file"]["identity"]
    return view


def attempt_view(attempt: Attempt) -> dict[str, Any]:
    """Return one attempt; the upload address stays here."""
    view = {
        "number": attempt.number,
        "started_at": iso(attempt.started_at),
        "init_sent_at": _time(attempt.init_sent_at),
        "publish_id": attempt.publish_id,
        "size": attempt.size or None,
        "chunks": attempt.chunk_count or None,
        "stored_bytes": attempt.stored_bytes or None,
        "commit_sent_at": _time(attempt.commit_sent_at),
        "ended_at": _time(attempt.ended_at),
        "outcome": attempt.outcome,
        "error": attempt.error,
    }
    return {key: value for key, value in view.items() if value is not None}


def account_view(account: Account, now: datetime, sighting: Sighting | None = None) -> dict[str, Any]:
    """Return an account; the tokens stay here. `sighting` is what its browser profile was last seen as."""
    view: dict[str, Any] = {
        "account": account.name,
        "platform": account.platform,
        "open_id": account.open_id,
        "login": account.login.value,
        "enabled": account.enabled,
        "scopes": list(account.scopes),
        "linked_at": iso(account.linked_at),
        "detail": account.detail,
        "browser_login": sighting.as_dict() if sighting else None,
    }
    if account.login is not Login.UNLINKED:
        view["access_expires_at"] = iso(account.access_expires_at)
        view["refresh_expires_at"] = iso(account.refresh_expires_at)
        view["token_days_left"] = max(0, (account.refresh_expires_at - now).days)
    if account.creator:
        view["creator"] = account.creator.as_dict() | {
            "privacy_options": list(account.creator.privacy_options)
        }
    return {key: value for key, value in view.items() if value is not None}


def needs_login_alert(account: Account) -> dict[str, Any]:
    """Return the alert of an account whose tokens are dead: what is wrong, and what to do."""
    return {
        "alert": "needs_login",
        "account": account.name,
        "message": account.detail or "the tokens do not work any more",
        "todo": f"tokd account link {account.name}",
    }


def session_view(session: Session) -> dict[str, Any]:
    """Return a session as everybody may see it: the same in replies and in its retained state."""
    view: dict[str, Any] = {
        "session": session.id,
        "kind": session.kind.value,
        "profile": session.profile,
        "url": shown_url(session.url),
        "state": session.state.value,
        "state_since": iso(session.state_since),
        "headless": session.headless,
        "created_at": iso(session.created_at),
        "opened_at": _time(session.opened_at),
        "ends_at": _time(session.ends_at),
        "login": session.verdict,
        "warnings": list(session.warnings),
        "ended_at": _time(session.ended_at),
        "reason": session.reason.value if session.reason else None,
        "error": session.error.as_dict() if session.error else None,
        "command_id": session.command_id,
    }
    return {key: value for key, value in view.items() if value is not None and value != []}


def profile_view(name: str, facts: ProfileFacts | None, sighting: Sighting | None) -> dict[str, Any]:
    """Return a browser profile: what the disk says, and its login state when last seen."""
    view: dict[str, Any] = {"profile": name, "login": sighting.as_dict() if sighting else None}
    if sighting is not None and sighting.account is not None:
        view["account"] = sighting.account
    if facts is not None:
        view |= {
            "size": facts.size,
            "files": facts.files,
            "used_at": _time(facts.used_at),
            "in_use_by": facts.in_use_by,
            "encryption": facts.encryption.label,
        }
    return {key: value for key, value in view.items() if value is not None}
