"""system/ping: clock, boot and protocol."""

from typing import Any

from daemon.domain.commands import Ping
from daemon.domain.times import iso
from daemon.domain.topics import PROTOCOL
from daemon.handlers.context import Context


def handle(command: Ping, context: Context) -> dict[str, Any]:  # noqa: ARG001 - it has no arguments
    """Return who answers, and when."""
    rules = context.rules
    return {
        "clock": iso(context.now),
        "boot": rules.boot,
        "protocol": PROTOCOL,
        "version": rules.version,
        "up_s": int((context.now - rules.started_at).total_seconds()),
    }
