"""The webhooks' part of a transaction."""

from datetime import datetime

from sqlalchemy import Connection, text

from adapters.storage.dropping import drop_some
from adapters.storage.rows import micros
from adapters.storage.statements import WEBHOOK

# One statement, so that two nodes that get the same webhook at once cannot both be the first.
_ADD = text("INSERT INTO webhook (key, received_at) VALUES (:key, :at) ON CONFLICT DO NOTHING")


class HintsMixin:
    """What a Unit knows of the webhooks that have come."""

    _db: Connection

    def add_hint(self, key: str, now: datetime) -> bool:
        """Remember a hint; return False where any node has had it before."""
        return self._db.execute(_ADD, {"key": key, "at": micros(now)}).rowcount == 1

    def drop_hints(self, before: datetime, limit: int) -> int:
        """Forget hints that came before `before`; return how many."""
        return drop_some(self._db, WEBHOOK, limit, WEBHOOK.c.received_at < micros(before))
