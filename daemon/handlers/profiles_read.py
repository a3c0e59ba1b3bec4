"""The disk has been read: tell the profiles."""

from daemon.domain.session_reports import ProfilesRead
from daemon.domain.views import profile_view
from daemon.handlers.context import Context


def handle(report: ProfilesRead, context: Context) -> None:
    """Answer with what the disk says and what was last seen."""
    seen = context.unit.sightings()
    views = [profile_view(facts.name, facts, seen.get(facts.name)) for facts in report.profiles]
    context.answer(report.request, {"status": "done", "result": {"profiles": views}})
