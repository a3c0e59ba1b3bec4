"""The reply envelope of mqtt.md section 7.2, the same over every transport."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from daemon.domain.errors import Code, Rejected
from daemon.domain.times import iso

OPEN = frozenset({"accepted", "running"})


def build(
    command_id: str | None, verb: str, body: Mapping[str, Any], *, node: str, boot: str, now: datetime
) -> dict[str, Any]:
    """Return the envelope around `body`, which has `status` and `result` or `error`."""
    return {
        "id": command_id,
        "command": verb.replace("/", "."),
        **body,
        "final": body["status"] not in OPEN,
        "replayed": False,
        "node": node,
        "boot": boot,
        "time": iso(now),
    }


def refused(refusal: Rejected) -> dict[str, Any]:
    """Return the body of a refusal."""
    status = "expired" if refusal.code is Code.EXPIRED else "rejected"
    return {"status": status, "error": refusal.as_dict()}
