"""A fetcher in memory, over a media library in memory."""

import threading
from collections.abc import Callable

from daemon.domain.errors import Code, Rejected
from daemon.domain.media import MediaFacts
from tests.fakes.media import FakeMedia, facts_of


class FakeFetcher:
    """Implements ports.MediaFetcher. `steps` are the bytes it tells of; `gate` lets a test hold a fetch after them."""

    def __init__(self, media: FakeMedia, content: bytes = b"0123456789" * 3) -> None:
        self.media = media
        self.content = content
        self.steps = [10, 20, 30]
        self.keys: list[str] = []
        self.gate: threading.Event | None = None
        self.refusal: Rejected | None = None
        self.stopping: threading.Event | None = None

    def fetch(self, url: str, key: str, field: str, tell: Callable[[int, int | None], None]) -> MediaFacts:
        self.keys.append(key)
        for received in self.steps:
            tell(received, 30)
        if self.gate is not None:
            while not self.gate.wait(0.01):
                if self.stopping is not None and self.stopping.is_set():
                    raise Rejected(Code.SHUTTING_DOWN, "tokd stopped")
        if self.refusal is not None:
            raise self.refusal
        name = "uploads/fetched.mp4"
        self.media.put(name, self.content)
        return facts_of(name, self.content)
