"""The audit trail's part of a transaction."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from adapters.storage.rows import instant, micros
from adapters.storage.statements import AUDIT, AUDIT_CUT
from daemon.domain.audit import Entry, Tail, digest_of
from daemon.domain.ids import NodeName

_ADD = insert(AUDIT)


class AuditMixin:
    """What a Unit knows of the audit trail. Rows are only ever added, or removed up to a noted cut.

    The database refuses anything else.
    """

    _db: Connection
    _node: NodeName
    trail: Tail | None  # this node's newest entry; None: not read yet

    def add_audit(self, entry: Entry) -> None:
        """Add an entry to this node's audit trail."""
        tail = self.audit_tail()
        entry = replace(entry, number=tail.number + 1)
        digest = digest_of(entry.as_dict(), self._node, tail.digest)
        values = {
            "node": self._node, "number": entry.number, "at": micros(entry.at), "transport": entry.transport,
            "actor": entry.actor, "verb": entry.verb, "command_id": entry.command_id, "body_hash": entry.body_hash,
            "status": entry.status, "code": entry.code, "digest": digest,
        }  # fmt: skip
        self._db.execute(_ADD, values)
        self.trail = Tail(entry.number, digest)

    def audit(self, after: int, limit: int, actor: str | None, verb: str | None) -> list[Entry]:
        """Return entries of this node after a number, oldest first."""
        query = self._of(actor, verb).where(AUDIT.c.number > after).order_by(AUDIT.c.number).limit(limit)
        return self._entries(query)

    def audit_last(self, limit: int, actor: str | None, verb: str | None) -> list[Entry]:
        """Return the newest entries of this node, oldest first."""
        query = self._of(actor, verb).order_by(AUDIT.c.number.desc()).limit(limit)
        return self._entries(query)[::-1]

    def audit_tail(self) -> Tail:
        """Return the number and digest of this node's newest entry."""
        if self.trail is None:
            query = select(AUDIT.c.number, AUDIT.c.digest).where(AUDIT.c.node == self._node)
            row = self._db.execute(query.order_by(AUDIT.c.number.desc()).limit(1)).first()
            self.trail = Tail(row.number, row.digest) if row else Tail()
        return self.trail

    def cut_audit(self, before: datetime, limit: int) -> int:
        """Remove this node's oldest entries, as far as all of them are from before; return how many.

        The newest stays: it says where the trail ends.
        """
        newest = self.audit_tail().number
        query = select(AUDIT.c.number, AUDIT.c.digest, AUDIT.c.at).where(AUDIT.c.node == self._node)
        oldest = self._db.execute(query.order_by(AUDIT.c.number).limit(limit)).all()
        gone = list(takewhile(lambda row: row.at < micros(before) and row.number < newest, oldest))
        if not gone:
            return 0
        last = gone[-1]
        # First where the trail begins now: without it the database refuses to remove anything.
        self._db.execute(delete(AUDIT_CUT).where(AUDIT_CUT.c.node == self._node))
        noted = {"node": self._node, "number": last.number, "digest": last.digest, "cut_at": micros(before)}
        self._db.execute(insert(AUDIT_CUT).values(noted))
        self._db.execute(delete(AUDIT).where(AUDIT.c.node == self._node, AUDIT.c.number <= last.number))
        return len(gone)

    def _cut(self) -> Tail:
        """Return the last entry that was removed for its age."""
        query = select(AUDIT_CUT.c.number, AUDIT_CUT.c.digest).where(AUDIT_CUT.c.node == self._node)
        row = self._db.execute(query).first()
        return Tail(row.number, row.digest) if row else Tail()

    def _entries(self, query: Any) -> list[Entry]:
        cut = self._cut()
        return [_entry(row, cut) for row in self._db.execute(query).mappings()]  # type: ignore[arg-type]

    def _of(self, actor: str | None, verb: str | None) -> Any:
        query = select(AUDIT).where(AUDIT.c.node == self._node)
        if actor is not None:
            query = query.where(AUDIT.c.actor == actor)
        return query if verb is None else query.where(AUDIT.c.verb == verb)


def _entry(row: Mapping[str, Any], cut: Tail) -> Entry:
    at = instant(row["at"])
    assert at is not None
    return Entry(
        number=row["number"], at=at, transport=row["transport"], actor=row["actor"], verb=row["verb"],
        command_id=row["command_id"], body_hash=row["body_hash"], status=row["status"], code=row["code"],
        digest=row["digest"], cut=cut.digest if cut.number and row["number"] == cut.number + 1 else None,
    )  # fmt: skip
