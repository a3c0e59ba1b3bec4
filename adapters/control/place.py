"""Where the socket lies: binding and connecting on paths that are too long for an address."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from daemon.domain.errors import StartRefused

LONGEST_ADDRESS = 107  # sun_path holds 108 bytes with the zero at its end
PROBE_S = 2.0
BACKLOG = 64
_WRITABLE_BY_ALL = stat.S_IWOTH


@contextlib.contextmanager
def _address_of(path: Path) -> Iterator[str]:
    """Yield an address for `path`: itself, or a short way through an open folder while the block runs."""
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Return a connected socket. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        with _address_of(path) as address:
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def listen(path: Path) -> socket.socket:
    """Return a listening socket that only its owner may use; a socket that nobody answers on is replaced.

    Raises StartRefused where somebody does answer, or where the place cannot be used.
    """
    try:
        _prepare_folder(path.parent)
        _clear(path)
        return _bind(path)
    except OSError as error:
        raise StartRefused(
            f"the control socket {path} cannot be made: {error.strerror or error}; "
            "set [control] socket to a path in a folder of tokd's own"
        ) from error


def _prepare_folder(folder: Path) -> None:
    """Make the folder private; one that is there already may be /run, and keeps its rights."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
        return
    mode = folder.stat().st_mode
    if mode & _WRITABLE_BY_ALL and not mode & stat.S_ISVTX:
        raise StartRefused(
            f"anybody may replace the control socket in {folder}: chmod o-w {folder}, or set [control] socket"
        )


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartRefused(f"{path} is in the way: it is no socket. Move it, or set [control] socket")
    try:
        connect(path, PROBE_S).close()
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
        return
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.ETIMEDOUT} and not isinstance(error, TimeoutError):
            raise
    raise StartRefused(
        f"another tokd answers on {path}: stop it first, or give this one a state folder of its own"
    )


def _bind(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address_of(path) as address:
            sock.bind(address)
            os.chmod(address, 0o600)  # noqa: PTH101 - before listen: until then nobody can connect
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
