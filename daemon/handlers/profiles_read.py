"""The disk has been read: tell the profiles."""

from dataclasses import replace
from datetime import datetime

from daemon.domain.ids import ProfileName
from daemon.domain.session_reports import ProfilesRead
from daemon.domain.views import profile_view
from daemon.handlers.browsing import OPEN_MAX
from daemon.handlers.context import Context


def handle(report: ProfilesRead, context: Context) -> None:
    """Answer with what the disk says and what was last seen."""
    seen, used = context.unit.sightings(), _last_uses(context)
    views = []
    for facts in report.profiles:
        times = [at for at in (facts.used_at, used.get(facts.name)) if at is not None]
        known = replace(facts, used_at=max(times, default=None))
        views.append(profile_view(facts.name, known, seen.get(facts.name)))
    context.answer(report.request, {"status": "done", "result": {"profiles": views}})


def _last_uses(context: Context) -> dict[ProfileName, datetime]:
    """Return when a session last used each profile: working on a clone leaves no trace in the profile itself."""
    found: dict[ProfileName, datetime] = {}
    for is_over in (False, True):
        for session in context.unit.sessions(is_over=is_over, limit=OPEN_MAX):
            at = session.opened_at or (session.created_at if session.login is not None else None)
            if at is not None:
                found[session.profile] = max(at, found.get(session.profile, at))
    return found
