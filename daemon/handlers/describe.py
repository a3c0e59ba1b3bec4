"""system/describe: every verb with its schema."""

import json
from typing import Any

from daemon.domain import asyncapi
from daemon.domain.commands import SWITCHES, Describe, describe_verbs
from daemon.domain.errors import Code
from daemon.domain.events import EventType
from daemon.domain.topics import PROTOCOL
from daemon.domain.wire import MAX_BYTES, MAX_DEPTH
from daemon.handlers.context import Context


def handle(command: Describe, context: Context) -> dict[str, Any]:
    """Return the protocol as data: verbs, events, error codes, limits; the AsyncAPI document where it is asked for."""
    told = {
        "protocol": PROTOCOL,
        "version": context.rules.version,
        "schema": asyncapi.fingerprint(),
        "verbs": describe_verbs(),
        "switches": {name: {"on": on, "off": off} for name, (on, off) in SWITCHES.items()},
        "events": [f"dev.tokd.{kind.value}" for kind in EventType],
        "error_codes": [code.value for code in Code],
        "limits": {"bytes": MAX_BYTES, "depth": MAX_DEPTH},
    }
    return told | ({"asyncapi": json.loads(asyncapi.text())} if command.asyncapi else {})
