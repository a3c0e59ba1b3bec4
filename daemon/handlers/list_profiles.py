"""profiles/list: the browser profiles on disk."""

from daemon.domain.commands import ListProfiles
from daemon.domain.work import SurveyProfiles
from daemon.handlers.context import Context, Deferred


def handle(command: ListProfiles, context: Context) -> Deferred:  # noqa: ARG001 - it has no arguments
    """Defer to a worker: walking the disk takes longer than the bus may wait."""
    return Deferred(SurveyProfiles())
