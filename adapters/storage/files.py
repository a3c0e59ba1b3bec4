"""Files that must be whole or not there at all: written beside, synced, and put in their place."""

import errno
import os
from pathlib import Path

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


def create_private(path: Path) -> None:
    """Make an empty file that only its owner can read. Raises FileExistsError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def sync_file(path: Path) -> None:
    """Wait until the file's bytes are on disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's names are on disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def put_in_place(draft: Path, target: Path) -> None:
    """Give a finished draft its name, durably. Raises FileExistsError rather than replace anything."""
    try:
        os.link(draft, target)
        draft.unlink()
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():  # a disk without hard links, such as a USB stick's
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        draft.rename(target)
    sync_folder(target.parent)


def replace_text(path: Path, text: str) -> None:
    """Replace a small file by a new text, durably, readable for its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    create_private(draft)
    try:
        draft.write_text(text)
        sync_file(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
