"""The part of a transaction that knows what other systems on the broker have been told."""

import json
from collections.abc import Mapping

from sqlalchemy import Connection, delete, insert, select

from adapters.storage.statements import DISCOVERY
from daemon.domain.events import as_json
from daemon.domain.ids import NodeName
from daemon.domain.introduction import Told


class DiscoveriesMixin:
    """What a Unit knows of them."""

    _db: Connection
    _node: NodeName

    def discoveries(self) -> Mapping[str, Told]:
        """Return by topic what this node has told other systems and not taken back."""
        query = select(DISCOVERY).where(DISCOVERY.c.node == self._node).order_by(DISCOVERY.c.topic)
        found = self._db.execute(query).mappings()
        return {row["topic"]: Told(json.loads(row["components"]), row["digest"]) for row in found}

    def save_discovery(self, topic: str, told: Told | None) -> None:
        """Note what is told under a topic now; None: nothing any more."""
        mine = (DISCOVERY.c.node == self._node, DISCOVERY.c.topic == topic)
        self._db.execute(delete(DISCOVERY).where(*mine))
        if told is not None:
            values = {"components": as_json(dict(told.components)), "digest": told.digest}
            self._db.execute(insert(DISCOVERY).values(node=self._node, topic=topic, **values))
