"""A media library in memory."""

import hashlib
import io
import threading
from dataclasses import replace
from typing import BinaryIO

from daemon.domain.errors import OUT_OF_RESOURCES, Code, Problem, Rejected
from daemon.domain.media import MediaFacts

ALLOWED = "https://media.example/"
FETCHED = "https://fetched.example/"


def facts_of(name: str, content: bytes) -> MediaFacts:
    """Return the facts of a fine upright video with this content."""
    digest = hashlib.sha256(content).hexdigest()
    return MediaFacts(
        name=name, size=len(content), sha256=digest, identity=f"1:{digest[:8]}:{len(content)}", container="mp4",
        mime_type="video/mp4", video_codec="h264", audio_codec="aac", width=1080, height=1920, duration_s=20.0,
        fps=30.0, fps_max=30.0, pixel_format="yuv420p",
    )  # fmt: skip


class FakeOpenMedia:
    """Implements ports.OpenMedia over bytes that the library may change."""

    def __init__(self, library: "FakeMedia", name: str, content: bytes) -> None:
        self._library = library
        self._name = name
        self._content = content
        self.is_closed = False

    @property
    def size(self) -> int:
        return len(self._content)

    def window(self, first: int, last: int) -> BinaryIO:
        return io.BytesIO(self._content[first : last + 1])

    def has_changed(self) -> bool:
        return self._library.files.get(self._name) != self._content

    def close(self) -> None:
        self.is_closed = True


class FakeMedia:
    """Implements ports.MediaProbe. `files` holds the contents; `checked` the names that `recall` knows.

    `gate` (an Event) lets a test hold `inspect`; `overrides` replaces facts of a name.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.checked: set[str] = set()
        self.overrides: dict[str, dict[str, object]] = {}
        self.inspections: list[str] = []
        self.opened: list[FakeOpenMedia] = []
        self.gate: threading.Event | None = None
        self.shortages = 0  # so many times there is no descriptor to open a file with

    def put(self, name: str, content: bytes = b"0123456789" * 3, *, checked: bool = True) -> None:
        self.files[name] = content
        if checked:
            self.checked.add(name)

    def recall(self, name: str) -> MediaFacts | None:
        return self._facts(name) if name in self.checked and name in self.files else None

    def inspect(self, name: str) -> MediaFacts:
        self.inspections.append(name)
        if self.gate is not None:
            assert self.gate.wait(10), "the test never opened the gate of inspect"
        facts = self._facts(name)
        self.checked.add(name)
        return facts

    def open(self, facts: MediaFacts) -> FakeOpenMedia:
        if self.shortages:
            self.shortages -= 1
            problem = Problem(OUT_OF_RESOURCES, "Too many open files")
            raise Rejected(Code.MEDIA_REJECTED, problem.message, problems=(problem,), retryable=True)
        found = self._facts(facts.name)
        if found.sha256 != facts.sha256:
            problem = Problem("changed", f"{facts.name} is another file by now")
            raise Rejected(Code.MEDIA_REJECTED, problem.message, field="args.media", problems=(problem,))
        opened = FakeOpenMedia(self, facts.name, self.files[facts.name])
        self.opened.append(opened)
        return opened

    def is_fetched(self, url: str, field: str) -> bool:
        if url.startswith(FETCHED):
            return True
        self.check_url(url, field)
        return False

    def check_url(self, url: str, field: str) -> None:
        if not url.startswith(ALLOWED):
            raise Rejected(Code.MEDIA_REJECTED, f"{url} is under no verified prefix", field=field)

    def _facts(self, name: str) -> MediaFacts:
        if name not in self.files:
            raise Rejected(Code.MEDIA_MISSING, f"there is no file {name}", field="args.media")
        return replace(facts_of(name, self.files[name]), **self.overrides.get(name, {}))  # type: ignore[arg-type]
