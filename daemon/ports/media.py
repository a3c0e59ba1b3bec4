"""What the core needs to take in media: uploads by callers, and files fetched from elsewhere."""

from collections.abc import Callable, Collection
from typing import Protocol

from daemon.domain.media import MediaFacts, StoredMedia, UploadState


class OpenUpload(Protocol):
    """One upload under way, held by one caller. Every method may block on the disk, and none is called twice at once."""

    @property
    def received(self) -> int:
        """Return how many bytes there are, those of earlier requests included."""

    def write(self, block: bytes) -> None:
        """Add bytes. Raises Rejected: too_large, disk_full, bad_field where it is more than was announced."""

    def finish(self) -> StoredMedia | None:
        """Check what has come and keep it; None where bytes are missing yet, which may follow in another request.

        Raises Rejected: media_rejected, bad_field where the hash is another one; then nothing stays. Raises
        shutting_down where the daemon stops meanwhile.
        """

    def close(self) -> None:
        """Let go. What can be resumed stays, the rest is removed. Safe twice, also beside a call under way."""


class MediaStore(Protocol):
    """A folder of files that are named by their content."""

    def begin(
        self,
        sha256: str | None = None,
        size: int | None = None,
        offset: int | None = None,
        *,
        expected: int = 0,
    ) -> OpenUpload | StoredMedia:
        """Begin an upload, or go on with one at `offset`; or return the file where it is here already.

        `expected` bytes, more or less, are about to come. Only one with `sha256` and `size` can be resumed; without
        an offset it begins anew. May block on the disk. Raises UploadConflict where another caller is at it, or for
        another offset than `received`; Rejected: too_large, disk_full, not_configured.
        """

    def look(self, sha256: str) -> UploadState | None:
        """Return how much of it is here; None where nobody has sent any of it. May block on the disk."""

    def sweep(self) -> int:
        """Remove what was begun and not finished for a week; return how many."""

    def aged(self, days: float) -> dict[str, str]:
        """Return the names (with their SHA-256) of stored files that have lain unchanged for so many days."""

    def remove(self, names: Collection[str], days: float) -> None:
        """Remove stored files that still count as so old: somebody may have sent one again meanwhile. Fast."""


class MediaFetcher(Protocol):
    """Fetches files from hosts of the configuration into the store."""

    def fetch(self, url: str, key: str, field: str, tell: Callable[[int, int | None], None]) -> MediaFacts:
        """Fetch, check and keep the file; `tell` hears of bytes received and of how many there will be.

        What was fetched under the same key before is not fetched again, and what was begun is resumed where the
        host allows it. Takes minutes for large files. Raises Rejected: media_rejected, disk_full, shutting_down.
        """
