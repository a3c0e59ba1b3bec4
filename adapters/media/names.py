"""From a name to an open file inside a root, without a moment in which somebody could swap the two."""

import errno
import os
import shlex
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adapters.media.refusals import FIELD, SHORTAGES, refused, shown, still_being_written, unreadable_now
from daemon.domain.errors import Code, Rejected

# O_PATH needs no read permission on a directory; O_NONBLOCK, because opening a FIFO would wait for a writer.
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# The kernel stamps files with a clock that moves in ticks, of 10 ms at most: two changes within one look alike.
_TICK_S = 0.02

# What a component that is a symbolic link answers; the second also comes from `a.mp4/b`.
_PERHAPS_LINK = (errno.ELOOP, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Found:
    """An open regular file. Whoever gets it closes `fd`."""

    key: tuple[str, str]  # the root and the path below it
    fd: int
    status: os.stat_result


def identity_of(status: os.stat_result) -> str:
    """Return device, inode, size and both times: equal means that nobody has written since."""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def open_media(roots: Sequence[str], name: str, *, allow_hard_links: bool) -> Found:
    """Open the regular file of this name in the first root that has it.

    Raises Rejected: media_missing, media_outside_roots, or media_rejected with the problem `bad_name`,
    `directory`, `not_a_file`, `empty`, `hard_link`, `no_permission`, `unreadable` or `out_of_resources`.
    """
    _check_name(name)
    key, fd = _first_open(roots, name)
    try:
        status = os.fstat(fd)
        _check_kind(name, status, allow_hard_links=allow_hard_links)
        if not allow_hard_links:
            status = _settled(fd, status)
            _check_kind(name, status, allow_hard_links=False)
            if not _is_only_name(key, fd, status):
                raise still_being_written(name)
    except OSError as error:
        os.close(fd)
        raise unreadable_now(name, error) from error
    except BaseException:
        os.close(fd)
        raise
    return Found(key, fd, status)


def _check_name(name: str) -> None:
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError as error:
        raise refused(name, "bad_name", "is no file name: it is not valid Unicode") from error
    if not encoded or b"\0" in encoded:
        raise refused(name, "bad_name", "is no file name: it is empty or has a NUL in it")


def _first_open(roots: Sequence[str], name: str) -> tuple[tuple[str, str], int]:
    is_outside = False
    for root in roots:
        try:
            for key in _ways(root, name):
                fd = _walk(key)
                if fd is not None:
                    return key, fd
        except _LeavesRootError:
            is_outside = True
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                raise _translate(name, error) from error
    searched = ", ".join(roots) or "none is configured"
    if is_outside:
        raise Rejected(
            Code.MEDIA_OUTSIDE_ROOTS, f"{shown(name)} is outside the media roots ({searched})", field=FIELD
        )
    raise Rejected(
        Code.MEDIA_MISSING,
        f"no file {shown(name)} in the media roots ({searched})",
        field=FIELD,
        retryable=True,
    )


class _LeavesRootError(Exception):
    """The name leads out of the root."""


def _ways(root: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the name as it is written, where that is plain, and then as it stands after links and dots."""
    base = root.rstrip("/") + "/"
    below = name.removeprefix(base) if name.startswith("/") else name
    if not below.startswith("/") and ".." not in below.split("/"):
        yield root, below
    real_root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(root, name))  # noqa: PTH118 - pathlib costs a recall its speed
    if real == real_root:
        yield real_root, ""
    elif not real.startswith(real_root.rstrip("/") + "/"):
        raise _LeavesRootError
    else:
        yield real_root, real[len(real_root.rstrip("/")) + 1 :]


def _walk(key: tuple[str, str]) -> int | None:
    """Return the open file, or None where a component may be a link: none is ever followed."""
    root, below = key
    parts = [part for part in below.split("/") if part not in {"", "."}]
    here = os.open(root, _DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        return os.open(parts[-1] if parts else ".", _FILE, dir_fd=here)
    except OSError as error:
        if error.errno in _PERHAPS_LINK:
            return None
        raise
    finally:
        os.close(here)


def _settled(fd: int, status: os.stat_result) -> os.stat_result:
    """Return the status once its change time is so old that any further change will show in it."""
    age_s = time.time() - status.st_ctime
    if not 0 <= age_s < _TICK_S:
        return status
    threading.Event().wait(_TICK_S - age_s)
    return os.fstat(fd)


def _is_only_name(key: tuple[str, str], fd: int, status: os.stat_result) -> bool:
    """Tell whether the open file's one name is the one that was opened.

    One name alone proves nothing: a hard link to somebody else's file could be opened here and removed before its
    names were counted. But giving and taking names changes a file's change time. So: it has one name, this name leads
    to it, and it has not changed in between. Raises OSError where the machine is short of descriptors.
    """
    try:
        again = _walk(key)
    except OSError as error:
        if error.errno in SHORTAGES:  # which says nothing about the file
            raise
        return False
    if again is None:
        return False
    try:
        named = os.fstat(again)
    finally:
        os.close(again)
    now = os.fstat(fd)
    is_same = (named.st_dev, named.st_ino) == (now.st_dev, now.st_ino)
    return is_same and now.st_nlink == 1 and now.st_ctime_ns == status.st_ctime_ns


def _translate(name: str, error: OSError) -> Rejected:
    if error.errno == errno.ENAMETOOLONG:
        return refused(name, "bad_name", "is no file name: it is too long")
    if error.errno in {errno.ENXIO, errno.ENODEV}:  # what opening a socket or an absent device answers
        return _not_a_file(name)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return refused(
            name,
            "no_permission",
            f"may not be read by the user that tokd runs as (uid {os.geteuid()})",
            f"chmod a+r {shlex.quote(name)}",
        )
    return unreadable_now(name, error)


def _not_a_file(name: str) -> Rejected:
    return refused(name, "not_a_file", "is a pipe, socket or device, not a regular file")


def _check_kind(name: str, status: os.stat_result, *, allow_hard_links: bool) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise refused(name, "directory", "is a directory", "name one file in it")
    if not stat.S_ISREG(status.st_mode):
        raise _not_a_file(name)
    if status.st_size == 0:
        raise refused(name, "empty", "is empty", "send the command again when the file is finished")
    if status.st_nlink != 1 and not allow_hard_links:
        quoted = shlex.quote(name)
        raise refused(
            name,
            "hard_link",
            f"has {status.st_nlink} names (hard links), so it may be a file from outside the media roots",
            f"cp --reflink=auto {quoted} {quoted}.copy && mv {quoted}.copy {quoted}",
        )
