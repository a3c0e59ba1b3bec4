"""The pending links' part of a transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from adapters.storage.dropping import drop_some
from adapters.storage.rows import instant, micros
from adapters.storage.statements import LINK
from daemon.domain.ids import AccountName, Actor, NodeName
from daemon.domain.linking import PendingLink


class LinksMixin:
    """What a Unit knows of links that were begun: one for an account, on whichever node."""

    _db: Connection

    def link(self, account: AccountName) -> PendingLink | None:
        """Return the latest link of an account, used or not."""
        row = self._db.execute(select(LINK).where(LINK.c.account == account)).mappings().first()
        return _link(row) if row else None  # type: ignore[arg-type]

    def link_of(self, state_hash: str) -> PendingLink | None:
        """Return the link with this hash of its state."""
        row = self._db.execute(select(LINK).where(LINK.c.state_hash == state_hash)).mappings().first()
        return _link(row) if row else None  # type: ignore[arg-type]

    def links(self) -> list[PendingLink]:
        """Return all links that are kept, used or not."""
        found = self._db.execute(select(LINK).order_by(LINK.c.account)).mappings()
        return [_link(row) for row in found]  # type: ignore[arg-type]

    def save_link(self, link: PendingLink) -> None:
        """Store a link in place of the account's one before."""
        self.drop_link(link.account)
        values = {
            "account": link.account,
            "state_hash": link.state_hash,
            "node": link.node,
            "actor": link.actor,
            "platform": link.platform,
            "client_key": link.client_key,
            "redirect_uri": link.redirect_uri,
            "scopes": ",".join(link.scopes),
            "verifier": link.verifier,
            "created_at": micros(link.created_at),
            "expires_at": micros(link.expires_at),
            "used_at": micros(link.used_at),
        }
        self._db.execute(insert(LINK).values(values))

    def use_link(self, state_hash: str, now: datetime) -> bool:
        """Mark a link as used; return False where it is used or gone already, on whichever node."""
        fresh = update(LINK).where(LINK.c.state_hash == state_hash, LINK.c.used_at.is_(None))
        return self._db.execute(fresh.values(used_at=micros(now))).rowcount == 1

    def drop_link(self, account: AccountName) -> None:
        """Forget an account's link."""
        self._db.execute(delete(LINK).where(LINK.c.account == account))

    def drop_links(self, before: datetime, limit: int) -> int:
        """Forget links that had expired before `before`; return how many."""
        return drop_some(self._db, LINK, limit, LINK.c.expires_at < micros(before))


def _link(row: Mapping[str, Any]) -> PendingLink:
    created_at, expires_at = instant(row["created_at"]), instant(row["expires_at"])
    assert created_at is not None
    assert expires_at is not None
    return PendingLink(
        account=AccountName(row["account"]),
        state_hash=row["state_hash"],
        node=NodeName(row["node"]),
        actor=Actor(row["actor"]),
        platform=row["platform"],
        client_key=row["client_key"],
        redirect_uri=row["redirect_uri"],
        scopes=tuple(row["scopes"].split(",")),
        verifier=row["verifier"],
        created_at=created_at,
        expires_at=expires_at,
        used_at=instant(row["used_at"]),
    )
