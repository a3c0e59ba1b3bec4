"""system/backed_up: a backup of the ledger was made."""

from typing import Any

from daemon.domain.commands import NoteBackup
from daemon.domain.events import EventType
from daemon.domain.restored import BACKUP_FLAG
from daemon.handlers.context import Context


def handle(command: NoteBackup, context: Context) -> dict[str, Any]:
    """Remember when, for the metric, and tell it."""
    context.unit.set_flag(BACKUP_FLAG, command.taken_at)
    told = {"taken_at": command.taken_at, "bytes": command.bytes, "sha256": command.sha256}
    context.emit(EventType.DAEMON_BACKED_UP, f"daemon/{context.rules.node}", told)
    return {"taken_at": command.taken_at}
