"""The tokens' part of a transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from adapters.storage.dropping import drop_some
from adapters.storage.rows import instant, micros
from adapters.storage.statements import TOKEN
from daemon.domain.access import Token
from daemon.domain.ids import NodeName


class TokensMixin:
    """What a Unit knows of the tokens that this node has issued."""

    _db: Connection
    _node: NodeName

    def token(self, token_id: str) -> Token | None:
        """Return one token that this node has issued."""
        query = select(TOKEN).where(TOKEN.c.node == self._node, TOKEN.c.id == token_id)
        row = self._db.execute(query).mappings().first()
        return _token(row) if row else None  # type: ignore[arg-type]

    def tokens(self) -> list[Token]:
        """Return this node's tokens, newest first."""
        query = select(TOKEN).where(TOKEN.c.node == self._node)
        found = self._db.execute(query.order_by(TOKEN.c.issued_at.desc(), TOKEN.c.id)).mappings()
        return [_token(row) for row in found]  # type: ignore[arg-type]

    def add_token(self, token: Token) -> None:
        """Store a new token."""
        values = {
            "node": self._node,
            "id": token.id,
            "user_name": token.user,
            "issued_at": micros(token.issued_at),
            "expires_at": micros(token.expires_at),
            "revoked_at": micros(token.revoked_at),
        }
        self._db.execute(insert(TOKEN).values(values))

    def revoke_token(self, token_id: str, now: datetime) -> None:
        """Note that a token was taken back."""
        query = update(TOKEN).where(TOKEN.c.node == self._node, TOKEN.c.id == token_id)
        self._db.execute(query.values(revoked_at=micros(now)))

    def drop_tokens(self, before: datetime, limit: int) -> int:
        """Forget tokens that had expired before `before`; return how many."""
        return drop_some(
            self._db, TOKEN, limit, TOKEN.c.node == self._node, TOKEN.c.expires_at < micros(before)
        )


def _token(row: Mapping[str, Any]) -> Token:
    issued_at, expires_at = instant(row["issued_at"]), instant(row["expires_at"])
    assert issued_at is not None
    assert expires_at is not None
    return Token(
        id=row["id"], user=row["user_name"], issued_at=issued_at, expires_at=expires_at,
        revoked_at=instant(row["revoked_at"]),
    )  # fmt: skip
