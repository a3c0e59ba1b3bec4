"""Locks that end with their last holder: flocks on files beside the profiles, never inside one."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from adapters.profiles import refusals
from daemon.domain.errors import Rejected
from daemon.domain.ids import ProfileName

_EVERY_S = 0.02
_WHO_MAX = 200
_ROUNDS = 100  # a clone takes tenths of a second; whoever wants the profile alone waits for two


def lock_path(root: Path, profile: ProfileName) -> Path:
    """Return the file whose flock stands for the profile."""
    return root / ".locks" / profile


def try_lock(path: Path, how: int) -> int | None:
    """Return the descriptor that holds the lock, or None where another holds it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        if not is_at(descriptor, path):  # removed and perhaps made anew between open and flock
            os.close(descriptor)
            return None
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the path still leads to this open file."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def share(root: Path, profile: ProfileName) -> int:
    """Hold the profile together with others who read it. Raises Rejected(user_data_locked), OSError."""
    descriptor = try_lock(_made(root, profile), fcntl.LOCK_SH)
    if descriptor is None:
        raise _held_alone(root, profile)
    return descriptor


def own(root: Path, profile: ProfileName, who: str, pause: Callable[[float], object]) -> int:
    """Hold the profile alone, for `who`; wait a moment for those who only read.

    Raises Rejected(user_data_locked), OSError.
    """
    path = _made(root, profile)
    for _ in range(_ROUNDS):
        descriptor = try_lock(path, fcntl.LOCK_EX)
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, who.encode(), 0)
            return descriptor
        if owner_of(root, profile) is not None:
            raise _held_alone(root, profile)
        pause(_EVERY_S)
    raise refusals.locked(profile, "sessions that are cloning it", "try again in a moment")


def try_own(root: Path, profile: ProfileName) -> int | None:
    """Hold the profile alone if nobody else has it; else None. Raises OSError."""
    return try_lock(_made(root, profile), fcntl.LOCK_EX)


def owner_of(root: Path, profile: ProfileName) -> str | None:
    """Return who holds the profile alone, if anybody does. Makes nothing on disk. Raises OSError."""
    path = lock_path(root, profile)
    if not os.path.lexists(path):
        return None
    descriptor = try_lock(path, fcntl.LOCK_SH)
    if descriptor is None:
        return _told(path)
    os.close(descriptor)
    return None


def _made(root: Path, profile: ProfileName) -> Path:
    path = lock_path(root, profile)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _held_alone(root: Path, profile: ProfileName) -> Rejected:
    return refusals.locked(profile, _told(lock_path(root, profile)), "wait for its end")


def _told(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[:_WHO_MAX] or "another tokd"
