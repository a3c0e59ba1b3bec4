"""The media store: files named by their content, in one folder below a media root. Nothing unchecked has a name there."""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from adapters.media.contents import hash_bytes
from adapters.media.library import MediaLibrary
from adapters.media.parts import HIDDEN, PART, Part, PartFolder, PartTaken
from daemon.domain.errors import Code, Problem, Rejected, UploadConflict
from daemon.domain.media import STORED_NAME, MediaFacts, StoredMedia, UploadState

EXTENSIONS = {"mp4": ".mp4", "mov": ".mov", "3gp": ".3gp", "webm": ".webm", "matroska": ".mkv"}
PARTS_KEPT_S = 7 * 86400
RENEWED_AFTER_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where the store is: `folder` is `prefix` below its media root. Sizes in bytes."""

    folder: Path
    prefix: str
    size_max: int
    floor: int
    settle_s: float


class FileStore:
    """Implements ports.MediaStore. Every method may be called from any thread."""

    def __init__(
        self, settings: StoreSettings, library: MediaLibrary, stopping: threading.Event, *,
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.parts = PartFolder(settings.folder, settings.floor)
        self.size_max = settings.size_max
        self._settings = settings
        self._library = library
        self._stopping = stopping
        self._now = now
        self._renaming = threading.Lock()

    # -- uploads -----------------------------------------------------------------------------------------

    def begin(
        self,
        sha256: str | None = None,
        size: int | None = None,
        offset: int | None = None,
        *,
        expected: int = 0,
    ) -> "Upload | StoredMedia":
        """Begin or resume an upload, or return the file that is here already. What it raises stands at the port."""
        if size is not None and size > self.size_max:
            raise self.too_large()
        if sha256 is None or size is None:
            self.parts.require_space(expected)
            return Upload(self, self._open(f"new-{secrets.token_hex(8)}"), None, None)
        facts = self._present(sha256)
        if facts is not None:
            return StoredMedia(self.renewed(facts), is_new=False)
        name = f"{sha256}-{size}"
        for other in self.parts.sizes(f"{sha256}-"):
            if other != name:  # whoever sent that was wrong about its size, or this one is
                self._open(other).close(keep=False)
        part = self._open(name)
        try:
            if offset is None:
                part.empty()
            elif offset != part.received:
                raise UploadConflict(f"{part.received} bytes are here, so go on there", part.received)
            self.parts.require_space(size - part.received)
        except BaseException:
            part.close(keep=part.received > 0)
            raise
        return Upload(self, part, sha256, size)

    def look(self, sha256: str) -> UploadState | None:
        """Return how much of this content is here."""
        facts = self._present(sha256)
        if facts is not None:
            return UploadState(facts.size, facts.size, facts.name)
        for name, received in self.parts.sizes(f"{sha256}-").items():
            return UploadState(received, int(name.rpartition("-")[2]))
        return None

    def too_large(self) -> Rejected:
        """Return the refusal of what is larger than the platform takes."""
        return Rejected(
            Code.TOO_LARGE, f"a video may have {self.size_max} bytes (tiktok.file_size_max)", field="file"
        )

    def _open(self, name: str) -> Part:
        try:
            return self.parts.open_part(name)
        except PartTaken:
            raise UploadConflict("another caller is sending the same content just now") from None

    # -- what is here ------------------------------------------------------------------------------------

    def keep(
        self, part: Part, shown: str, field: str, publish: Callable[[str], None] | None = None
    ) -> StoredMedia:
        """Check a complete part and give it its name. Raises Rejected: media_rejected, disk_full, shutting_down.

        Where it is refused the part is still there, and the caller's. `publish` hears of the name beforehand.
        """
        part.settle(self._settings.settle_s + 1)
        hidden = self._media_name(f"{HIDDEN}/{part.name}{PART}")
        try:
            facts = self._library.inspect(hidden)
        except Rejected as refusal:
            raise _reworded(refusal, hidden, shown, field) from None
        name = f"{facts.sha256}{EXTENSIONS[facts.container]}"
        if publish is not None:
            publish(self._media_name(name))
        with self._renaming:
            old = self._present(facts.sha256)
            if old is None:
                self.parts.publish(part, name)
                return StoredMedia(self._library.renamed(facts, self._media_name(name)), is_new=True)
        part.close(keep=False)
        return StoredMedia(self.renewed(old), is_new=False)

    def hash_of(self, part: Part) -> str:
        """Return the SHA-256 of what a part holds. Raises Rejected(shutting_down)."""
        return hash_bytes(part.fd, part.received, self._stopping) if part.received else ""

    def find(self, name: str) -> MediaFacts | None:
        """Return the facts of a stored file, or None where it is not there, or is not what its name says."""
        try:
            facts = self._library.recall(name) or self._library.inspect(name)
        except Rejected as refusal:
            if refusal.code is Code.SHUTTING_DOWN:
                raise
            return None
        return facts if Path(name).stem == facts.sha256 else None

    def renewed(self, facts: MediaFacts) -> MediaFacts:
        """Let a file count as new again: somebody wants it, and the sweep must not take it before there is a post.

        Only the change time moves; whoever is sending the file sees by its hash that it is the same.
        """
        path = self._settings.folder / Path(facts.name).name
        if self._now() - path.stat().st_ctime < RENEWED_AFTER_S:
            return facts
        path.chmod(0o600)
        return self._library.renamed(facts, facts.name)

    def _present(self, sha256: str) -> MediaFacts | None:
        for extension in EXTENSIONS.values():
            name = f"{sha256}{extension}"
            if (self._settings.folder / name).exists():
                return self.find(self._media_name(name))
        return None

    def _media_name(self, name: str) -> str:
        return f"{self._settings.prefix}/{name}" if self._settings.prefix else name

    # -- housekeeping ------------------------------------------------------------------------------------

    def sweep(self) -> int:
        """Remove what was begun and not finished for a week."""
        return self.parts.sweep(self._now() - PARTS_KEPT_S)

    def aged(self, days: float) -> dict[str, str]:
        """Return the names (with their SHA-256) of stored files that have lain unchanged for so many days."""
        limit, found = self._now() - days * 86400, {}
        with contextlib.suppress(FileNotFoundError), self.parts.opened(make=False) as (outer, _):
            for name in os.listdir(outer):  # noqa: PTH208
                stored = STORED_NAME.fullmatch(name)
                if stored and os.stat(name, dir_fd=outer, follow_symlinks=False).st_ctime < limit:
                    found[name] = stored.group(1)
        return found

    def remove(self, names: Collection[str], days: float) -> None:
        """Remove stored files, but none that has been renewed since it was found old."""
        limit = self._now() - days * 86400
        with contextlib.suppress(FileNotFoundError), self.parts.opened(make=False) as (outer, _):
            for name in names:
                if STORED_NAME.fullmatch(name):
                    with contextlib.suppress(FileNotFoundError):
                        if os.stat(name, dir_fd=outer, follow_symlinks=False).st_ctime < limit:
                            os.unlink(name, dir_fd=outer)


class Upload:
    """Implements ports.OpenUpload over one part. `sha256` is what the caller has announced."""

    def __init__(self, store: FileStore, part: Part, sha256: str | None, size: int | None) -> None:
        self._store = store
        self._part = part
        self._sha256 = sha256
        self._size = size
        self._is_good = True

    @property
    def received(self) -> int:
        """Return how many bytes there are."""
        return self._part.received

    def write(self, block: bytes) -> None:
        """Add bytes. What it raises stands at the port."""
        after = self._part.received + len(block)
        if after > self._store.size_max:
            self._is_good = False
            raise self._store.too_large()
        if self._size is not None and after > self._size:
            self._is_good = False
            raise Rejected(Code.BAD_FIELD, f"more came than the {self._size} bytes announced", field="size")
        self._part.write(block)

    def finish(self) -> StoredMedia | None:
        """Check what has come and keep it. What it raises stands at the port."""
        if self._size is not None and self._part.received < self._size:
            return None
        try:
            if self._sha256 is not None and self._store.hash_of(self._part) != self._sha256:
                raise Rejected(Code.BAD_FIELD, "what came has another SHA-256; send it anew", field="sha256")
            if self._part.received == 0:
                raise Rejected(Code.BAD_FIELD, "the file is empty", field="file")
            stored = self._store.keep(self._part, "the upload", "file")
        except Rejected as refusal:
            self._is_good = refusal.code in {Code.SHUTTING_DOWN, Code.DISK_FULL}
            raise
        return stored

    def close(self) -> None:
        """Let go. Safe twice, and beside a write under way."""
        self._part.close(keep=self._is_good and self._sha256 is not None and self._part.received > 0)


def _reworded(refusal: Rejected, hidden: str, shown: str, field: str) -> Rejected:
    """Return a refusal that speaks of what the caller has sent, not of where it lay meanwhile."""

    def said(text: str) -> str:
        return text.replace(repr(hidden), shown).replace(hidden, "video")

    problems = tuple(Problem(found.code, said(found.message), said(found.hint)) for found in refusal.problems)
    return Rejected(
        refusal.code, said(refusal.message), field=field, retryable=refusal.retryable, problems=problems
    )
