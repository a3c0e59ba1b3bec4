"""Pictures of pages as files in the state folder, readable by their owner only (daemon.ports.Pictures)."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from daemon.domain.ids import SessionId

_ENDINGS = {"image/jpeg": "jpg", "image/png": "png"}


class PictureFolder:
    """One folder of pictures; their names say of which session and when."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, session: SessionId, image: bytes, media_type: str, now: datetime) -> str:
        """Store a picture; return its path. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")
        path = self._folder / f"{session}-{stamp}.{_ENDINGS.get(media_type, 'bin')}"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(image)
        return str(path)

    def drop(self, before: datetime) -> None:
        """Forget older pictures."""
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                with suppress(OSError):
                    if path.is_file() and path.stat().st_mtime < before.timestamp():
                        path.unlink()
