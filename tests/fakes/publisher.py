"""A reader of the outbox that remembers what it was offered."""

import threading
from collections.abc import Sequence

from daemon.ports import Outgoing


class FakePublisher:
    """Implements ports.Publisher. Acknowledges nothing by itself, as a broker that is down."""

    def __init__(self, transport: str = "mqtt", *, keeps_outbox: bool = True) -> None:
        self.transport = transport
        self.keeps_outbox = keeps_outbox
        self._offered: list[Outgoing] = []
        self._guard = threading.Lock()

    def offer(self, messages: Sequence[Outgoing]) -> None:
        with self._guard:
            self._offered.extend(messages)

    @property
    def offered(self) -> list[Outgoing]:
        with self._guard:
            return list(self._offered)
