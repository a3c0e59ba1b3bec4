"""The sessions' part of a transaction."""

from dataclasses import replace
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, insert, select, update

from adapters.storage.dropping import drop_some
from adapters.storage.rows import micros
from adapters.storage.statements import SESSION, SIGHTING
from daemon.domain.addresses import shown_url
from daemon.domain.ids import NodeName, ProfileName, SessionId
from daemon.domain.session import Session, Sighting

_SESSION = TypeAdapter(Session)
_SIGHTING = TypeAdapter(Sighting)


class SessionsMixin:
    """What a Unit knows of browser sessions and profiles."""

    _db: Connection
    _node: NodeName

    def session(self, session_id: SessionId) -> Session | None:
        """Return one session of this node."""
        query = select(SESSION.c.body).where(SESSION.c.node == self._node, SESSION.c.id == session_id)
        body = self._db.execute(query).scalar()
        return _SESSION.validate_json(body) if body is not None else None

    def sessions(self, *, is_over: bool, limit: int) -> list[Session]:
        """Return this node's sessions, newest first: those that are over, or the others."""
        query = (
            select(SESSION.c.body)
            .where(SESSION.c.node == self._node, SESSION.c.is_over == int(is_over))
            .order_by(SESSION.c.created_at.desc(), SESSION.c.id)
            .limit(limit)
        )
        return [_SESSION.validate_json(body) for body in self._db.execute(query).scalars()]

    def add_session(self, session: Session) -> None:
        """Store a new session."""
        values = {"node": self._node, "id": session.id, "created_at": micros(session.created_at)}
        self._db.execute(insert(SESSION).values(values | _moving(session)))

    def save_session(self, session: Session) -> None:
        """Store a changed session."""
        query = update(SESSION).where(SESSION.c.node == self._node, SESSION.c.id == session.id)
        self._db.execute(query.values(_moving(session)))

    def drop_sessions(self, before: datetime, limit: int) -> int:
        """Forget sessions that ended before `before`; return how many."""
        return drop_some(
            self._db, SESSION, limit, SESSION.c.node == self._node, SESSION.c.ended_at < micros(before)
        )

    def sightings(self) -> dict[ProfileName, Sighting]:
        """Return when each profile was last seen logged in or out on this node."""
        query = select(SIGHTING.c.profile, SIGHTING.c.body).where(SIGHTING.c.node == self._node)
        found = self._db.execute(query.order_by(SIGHTING.c.profile))
        return {ProfileName(profile): _SIGHTING.validate_json(body) for profile, body in found}

    def save_sighting(self, profile: ProfileName, sighting: Sighting) -> None:
        """Remember it."""
        mine = (SIGHTING.c.node == self._node, SIGHTING.c.profile == profile)
        self._db.execute(delete(SIGHTING).where(*mine))
        body = _SIGHTING.dump_json(sighting).decode()
        self._db.execute(insert(SIGHTING).values(node=self._node, profile=profile, body=body))


def _moving(session: Session) -> dict[str, object]:
    if session.is_over:  # a signed address is a password, and nobody needs it any more
        session = replace(session, url=shown_url(session.url))
    return {
        "is_over": int(session.is_over),
        "ended_at": micros(session.ended_at),
        "body": _SESSION.dump_json(session).decode(),
    }
