"""The audit trail: what was ordered, by whom, through which door, and what came of it. Only ever added to.

The oldest entries may be removed for their age (audit.keep_days): the first that is left then carries the hash of the
last that was removed, so that what is left still follows.

Each entry carries a hash over itself and the hash before it: whoever changes, removes or inserts one must write all
later ones anew. What proves that nobody did so is a hash that was noted elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.domain.times import iso

START = "0" * 64
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a node's trail so far."""

    number: int = 0
    digest: str = START


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One order and one word about it: accepted, done, rejected, failed, expired."""

    number: int  # counts up by one for each node
    at: datetime
    transport: str
    actor: str
    verb: str
    command_id: str | None
    body_hash: str
    status: str
    code: str | None
    digest: str = ""
    cut: str | None = None  # the digest of the entry before it, where that was removed for its age

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as it is shown."""
        cut = {} if self.cut is None else {"cut": self.cut}
        return cut | {
            "number": self.number, "time": iso(self.at), "transport": self.transport, "actor": self.actor,
            "command": self.verb.replace("/", "."), "id": self.command_id, "body_hash": self.body_hash,
            "status": self.status, "code": self.code, "digest": self.digest,
        }  # fmt: skip


def plain(text: str) -> str:
    """Return a name that a stranger chose as it may stand in the trail: short and printable."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])


def digest_of(shown: dict[str, Any], node: str, before: str) -> str:
    """Return the hash of an entry (as `as_dict` shows it), bound to its node and to the hash before it."""
    body = {key: value for key, value in shown.items() if key not in {"digest", "cut"}}
    text = json.dumps([before, node, body], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def first_break(entries: Iterable[dict[str, Any]], node: str) -> int | None:
    """Return the number of the first entry that does not follow from the one before it; None where all do.

    The trail begins with its first entry ever, or with one that says what was before it.
    """
    before, number = START, 0
    for place, shown in enumerate(entries):
        if place == 0 and "cut" in shown:
            before, number = shown["cut"], shown["number"] - 1
        number += 1
        if shown["number"] != number or shown["digest"] != digest_of(shown, node, before):
            return number
        before = shown["digest"]
    return None
