"""system/describe: every verb with its schema."""

from typing import Any

from daemon.domain.commands import SWITCHES, Describe, describe_verbs
from daemon.domain.errors import Code
from daemon.domain.events import EventType
from daemon.domain.wire import MAX_BYTES, MAX_DEPTH
from daemon.handlers.context import Context
from daemon.handlers.ping import PROTOCOL


def handle(command: Describe, context: Context) -> dict[str, Any]:  # noqa: ARG001 - it has no arguments
    """Return the protocol as data: verbs, events, error codes, limits."""
    return {
        "protocol": PROTOCOL,
        "version": context.rules.version,
        "verbs": describe_verbs(),
        "switches": {name: {"on": on, "off": off} for name, (on, off) in SWITCHES.items()},
        "events": [f"dev.tokd.{kind.value}" for kind in EventType],
        "error_codes": [code.value for code in Code],
        "limits": {"bytes": MAX_BYTES, "depth": MAX_DEPTH},
    }
