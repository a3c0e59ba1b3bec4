"""system/log_level: log more or less, without a restart."""

import logging
from typing import Any

from daemon.domain.commands import SetLogLevel
from daemon.handlers.context import Context

LOG = logging.getLogger("tokd")


def handle(command: SetLogLevel, context: Context) -> dict[str, Any]:
    """Change the level; with a time it goes back by itself."""
    context.rules.set_log_level(command.level, command.for_s)
    LOG.log(
        logging.WARNING,
        "the log's level is %s%s",
        command.level,
        f" for {command.for_s} s" if command.for_s else "",
    )
    return {"level": command.level, "for_s": command.for_s}
