"""What a start notes before anything else: how the last ones ended, and whether this one must be in safe mode."""

import logging
import shutil
from collections.abc import Callable

from adapters.storage.starts import StartLog
from adapters.storage.store import ledger_file
from config.settings import Settings
from daemon.domain.figures import Figures, Look
from daemon.ports import Clock

LOG = logging.getLogger("tokd")


def note_start(settings: Settings, clock: Clock, figures: Figures) -> tuple[StartLog, str | None]:
    """Return where the end is noted, and why this start is one in safe mode. Raises StartRefused."""
    found = settings.daemon
    ledger = ledger_file(settings.database_url_text)
    starts = StartLog(found.state_dir, ledger, found.safe_mode_starts, found.safe_mode_within_s)
    reason = starts.begin(clock.now())
    where = ledger.parent if ledger is not None else found.state_dir
    figures.watch(Look.SAFE_MODE, lambda: float(reason is not None))
    figures.watch(Look.DISK_FREE, lambda: float(shutil.disk_usage(where).free))
    return starts, reason


def say_safe_mode(reason: str, say: Callable[[str], None]) -> None:
    """Tell the log and the person at the screen."""
    LOG.critical(
        "safe mode: %s. Nothing is posted and no session is opened. What is known can be read; look at what ended "
        "tokd, then `tokd safe-mode leave`, and start it again",
        reason,
    )
    say("tokd is in safe mode: it does nothing but answer. The log says why.")
