"""A fetch goes on: tell it."""

from typing import Any

from daemon.domain.events import EventType
from daemon.domain.reports import FetchProgressed
from daemon.handlers import fetches
from daemon.handlers.context import Context


def handle(report: FetchProgressed, context: Context) -> None:
    """Tell it, unless the order has been answered meanwhile. The task is not named: it is its owner's business."""
    stored = context.unit.command(report.command)
    if stored.reply is not None:
        return
    fetches.remember(stored, report.received, report.total, context)
    told: dict[str, Any] = {"host": report.host, "received": report.received, "command_id": stored.id}
    if report.total is not None:
        told["total"] = report.total
    kind = EventType.MEDIA_FETCHED if report.is_done else EventType.MEDIA_FETCHING
    context.emit(kind, f"command/{stored.id}", told)
