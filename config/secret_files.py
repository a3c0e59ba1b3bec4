"""Secrets that stand in files of their own: read, and refused when others could read them too."""

import os
import stat
from pathlib import Path

_LARGEST = 64 * 1024
_GROUP_READABLE = 0o440  # what systemd and container secrets use, with a group of tokd's own


class SecretFileError(Exception):
    """The file cannot serve as a secret; the message says why, `suggestion` what to do."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


def read_secret_file(path: Path, credentials_directory: str | None) -> str:
    """Return the one line in `path` without its end, or raise SecretFileError.

    The mode must be 0600, 0400 or 0440, except under systemd's credentials directory.
    """
    try:
        # Not blocking: a FIFO put there by mistake would hold up the start for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = (error.strerror or "cannot be opened").lower()
        raise SecretFileError(f"{path}: {reason}", "create it, readable by tokd's user only") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretFileError(f"{path}: is not a regular file")
        if not _is_private(status.st_mode) and not _is_below(path, credentials_directory):
            mode = stat.S_IMODE(status.st_mode)
            raise SecretFileError(f"{path}: mode {mode:04o} lets others read it", "chmod 600 it")
        return _one_line(path, os.read(descriptor, _LARGEST + 1))
    finally:
        os.close(descriptor)


def _is_private(mode: int) -> bool:
    return not mode & 0o077 or stat.S_IMODE(mode) == _GROUP_READABLE


def _is_below(path: Path, folder: str | None) -> bool:
    return bool(folder) and path.resolve().is_relative_to(Path(folder or "/").resolve())


def _one_line(path: Path, content: bytes) -> str:
    if len(content) > _LARGEST:
        raise SecretFileError(f"{path}: is too large for a secret")
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretFileError(f"{path}: is not UTF-8 text") from None
    if not text or any(character < " " or character == "\x7f" for character in text):
        raise SecretFileError(f"{path}: must be one line of text, without control characters")
    return text
