"""The service manager wants to know how things stand."""

from typing import Any

from daemon.domain.reports import HealthWanted
from daemon.handlers.context import Context
from daemon.handlers.health import daemon_view


def handle(report: HealthWanted, context: Context) -> dict[str, Any]:  # noqa: ARG001 - it says nothing more
    """Return what system/health answers."""
    return daemon_view(context)
