"""Making a clone the profile: a chain of renames that can break at any point and loses neither of the two.

A clone that may not become the profile is kept as well: somebody has asked for it, and its session is over.
"""

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from adapters.profiles import locks
from adapters.profiles.cloning import Walk, nothing_skipped, opened, profile_folders
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import NAME, ProfileName

PROMOTING = ".promoting"
BACKUPS = "backups"
PARTIAL = ".partial-"
CLONE = "-clone-"  # between the profile and the time, in the name of a clone that was refused
_OLD_S = 3600
_AT_CWD = -100
_NOREPLACE, _EXCHANGE = 1, 2
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

Mark = tuple[int, int, int]


def fingerprint(user_data_dir: Path) -> dict[str, Mark]:
    """Return what changes whenever a browser works in a profile: its main files' inode, time and size."""
    names = ["Local State"]
    with suppress(OSError):
        for folder in profile_folders(user_data_dir):
            names += [f"{folder.name}/{name}" for name in ("Cookies", "Preferences")]
    found = {}
    for name in names:
        with suppress(FileNotFoundError, NotADirectoryError):
            status = (user_data_dir / name).lstat()
            found[name] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def promote(
    root: Path, clone: Path, profile: ProfileName, now: datetime, reached: Callable[[str], None]
) -> str:
    """Put the clone in the profile's place, and the old profile into backups/; return where, or "" if there was none.

    Every step is one rename. What stands in .promoting/ between two of them is either the clone or the old profile,
    and `recover` brings it to backups/. `reached` is told each step. Raises Rejected, OSError.
    """
    waiting, target = root / PROMOTING / profile, root / profile
    (root / PROMOTING).mkdir(mode=0o700, exist_ok=True)
    (root / BACKUPS).mkdir(mode=0o700, exist_ok=True)
    if os.path.lexists(waiting):
        _back_up(root, profile, now)
    _flush_tree(clone)
    reached("flushed")
    is_copied = _bring(clone, waiting)
    _flush(root / PROMOTING)
    reached("waiting")
    is_new = not os.path.lexists(target)
    try:
        _rename(waiting, target, _NOREPLACE if is_new else _EXCHANGE)
    except OSError as error:
        _undo(waiting, clone, is_copied=is_copied)
        if error.errno in _NO_EXCHANGE:
            raise Rejected(
                Code.BROWSER_FAILED,
                f"the file system of {root} cannot exchange two folders in one step, so {profile!r} was left as it is; "
                "move session.user_data_master_dir to ext4, xfs or btrfs",
            ) from error
        raise
    _flush(root)
    reached("exchanged")
    if is_new:
        return ""
    backup = _back_up(root, profile, now)
    reached("backed_up")
    return backup


def keep(root: Path, clone: Path, profile: ProfileName, now: datetime) -> str:
    """Put a clone that was to become this profile, and did not, into backups/; return where. Raises OSError."""
    (root / BACKUPS).mkdir(mode=0o700, exist_ok=True)
    place = root / BACKUPS / f"{profile}{CLONE}{_stamp(now)}"
    try:
        return _file(clone, place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    partial = root / BACKUPS / f"{PARTIAL}{clone.parent.name}"
    try:
        Walk(nothing_skipped).run(clone, partial)
        return _file(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def recover(root: Path, now: datetime) -> list[str]:
    """Bring what an interrupted promotion has left to backups/; return where. Raises OSError."""
    found = []
    for half in root.glob(f"{BACKUPS}/{PARTIAL}*"):
        if now.timestamp() - half.lstat().st_mtime > _OLD_S:  # else another tokd may be at it
            shutil.rmtree(half, ignore_errors=True)
    try:
        names = sorted(entry.name for entry in (root / PROMOTING).iterdir())
    except FileNotFoundError:
        return []
    for name in names:
        profile = ProfileName(name.removeprefix(PARTIAL))
        if not NAME.fullmatch(profile):
            continue
        if (lock := locks.try_own(root, profile)) is None:
            continue  # another tokd is at it
        try:
            if name.startswith(PARTIAL):  # half a copy, and its clone is where it was
                shutil.rmtree(root / PROMOTING / name, ignore_errors=True)
            elif os.path.lexists(root / PROMOTING / name):
                (root / BACKUPS).mkdir(mode=0o700, exist_ok=True)
                found.append(_back_up(root, profile, now))
        finally:
            os.close(lock)
    return found


def _bring(clone: Path, waiting: Path) -> bool:
    """Move the clone beside the profiles; return whether it had to be copied from another file system."""
    try:
        clone.rename(waiting)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return False
    partial = waiting.with_name(f"{PARTIAL}{waiting.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        Walk(nothing_skipped).run(clone, partial)
        _flush_tree(partial)
        partial.rename(waiting)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return True


def _undo(waiting: Path, clone: Path, *, is_copied: bool) -> None:
    if is_copied:
        shutil.rmtree(waiting, ignore_errors=True)
    else:
        waiting.rename(clone)


def _stamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _back_up(root: Path, profile: ProfileName, now: datetime) -> str:
    return _file(root / PROMOTING / profile, root / BACKUPS / f"{profile}-{_stamp(now)}")


def _file(source: Path, place: Path) -> str:
    """Give a folder this place, or one with a number behind it; return which."""
    number = 1
    while True:
        target = place if number == 1 else place.with_name(f"{place.name}-{number}")
        try:
            _rename(source, target, _NOREPLACE)
        except FileExistsError:
            number += 1
            continue
        _flush(target.parent)
        _flush(source.parent)
        return str(target)


def _rename(source: Path, target: Path, how: int) -> None:
    """Call renameat2(2), which Python does not offer. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_CWD, os.fsencode(source), _AT_CWD, os.fsencode(target), how) == 0:
        return
    number = ctypes.get_errno()
    if how == _NOREPLACE and number in _NO_EXCHANGE:  # an old network file system: look first, then
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        source.rename(target)
        return
    raise OSError(number, os.strerror(number), str(source), None, str(target))


def _flush(path: Path) -> None:
    with opened(str(path), os.O_RDONLY | os.O_NOFOLLOW) as found:
        os.fsync(found)


def _flush_tree(top: Path) -> None:
    """Bring a whole tree to the disk before it takes another's place."""
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode):
                _flush(path)
        _flush(Path(folder))
