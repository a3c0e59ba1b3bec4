"""Copying a profile without its caches: one walk, plain files and folders only, no link ever followed."""

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.domain.errors import Interrupted

# What no session needs: caches, dumps, downloads of the browser itself, and locks of the browser that runs. All else
# is copied, so that state which a newer browser keeps in a new place comes along.
TOP_SKIPPED = (
    "Singleton*", "DevToolsActivePort", "lockfile", "GrShaderCache", "ShaderCache", "GraphiteDawnCache",
    "GPUPersistentCache", "component_crx_cache", "extensions_crx_cache", "optimization_guide_model_store",
    "Safe Browsing", "Crashpad", "BrowserMetrics*", "Crash Reports", "segmentation_platform",
)  # fmt: skip
# The service workers' database, scripts and caches belong together: all of them stay behind. Sessions would bring
# back the old tabs.
PROFILE_SKIPPED = (
    "Cache", "Code Cache", "GPUCache", "Dawn*Cache", "Service Worker", "blob_storage", "GCM Store",
    "optimization_guide*", "Sessions", "Sessions_Encrypted",
)  # fmt: skip

_CHUNK = 8 << 20
_MOST_WARNINGS = 5
_ASK_EVERY_FILES = 64
_ASK_EVERY_BYTES = _CHUNK
_UNSUPPORTED = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A pipe in a file's place must not hold us up.
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_TARGET = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))


_TOP = _any_of(TOP_SKIPPED)
_PROFILE = _any_of(PROFILE_SKIPPED)
_PROFILE_NAMES = re.compile(r"Default|Profile \d+|Guest Profile|System Profile")


def is_skipped(parts: tuple[str, ...], *, in_profile: bool) -> bool:
    """Tell whether a path below the user data dir stays behind. `in_profile`: its first part is a profile folder."""
    if len(parts) == 1:
        return _TOP.fullmatch(parts[0]) is not None
    return in_profile and len(parts) == 2 and _PROFILE.fullmatch(parts[1]) is not None  # noqa: PLR2004  the two levels


def nothing_skipped(_parts: tuple[str, ...], *, in_profile: bool) -> bool:  # noqa: ARG001
    """Copy all."""
    return False


def profile_folders(user_data_dir: Path) -> list[Path]:
    """Return the profile folders of a user data dir, `Default` and its like. Raises OSError."""
    with os.scandir(user_data_dir) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and is_profile(entry.name, entry.path)
        )


def is_profile(name: str, path: str) -> bool:
    """Tell whether this is a profile folder: by its name, or because it keeps preferences."""
    return _PROFILE_NAMES.fullmatch(name) is not None or os.path.lexists(f"{path}/Preferences")


@contextmanager
def opened(name: str, flags: int, *, within: int | None = None) -> Iterator[int]:
    """Open a file or folder for the length of a block."""
    descriptor = os.open(name, flags, 0o600, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def never() -> bool:
    """Let the work go on to its end."""
    return False


class Patience:
    """Asks every few files and megabytes whether the work is to be cut short."""

    def __init__(self, stop: Callable[[], bool] = never) -> None:
        self._stop = stop
        self._files = self._bytes = 0

    def spend(self, size: int = 0) -> None:
        """Count one entry, or so many bytes of one. Raises Interrupted."""
        self._files += not size
        self._bytes += size
        if self._files >= _ASK_EVERY_FILES or self._bytes >= _ASK_EVERY_BYTES:
            self._files = self._bytes = 0
            self.ask()

    def ask(self) -> None:
        """Ask now. Raises Interrupted."""
        if self._stop():
            raise Interrupted("the copying of a profile was cut short")


class Walk:
    """Copies a tree into a new folder: folders 0700, files 0600, links and special files left out.

    What vanishes under our hands is left out as well: the caller compares before and after. `stop` is asked every so
    often; once it says yes, Interrupted is raised and the half copy is the caller's.
    """

    def __init__(self, skips: Callable[..., bool] = is_skipped, stop: Callable[[], bool] = never) -> None:
        self._skips = skips
        self._patience = Patience(stop)
        self.warnings: list[str] = []

    def run(self, source: Path, target: Path) -> None:
        """Copy `source` to `target`, which must not exist. Raises Interrupted, OSError."""
        self._patience.ask()
        target.mkdir(0o700)
        # The top may be a link: the person's way to say where the profile is.
        with opened(str(source), os.O_RDONLY | os.O_DIRECTORY) as top, opened(str(target), _FOLDER) as made:
            self.enter(top, made, str(source), str(target), ())

    def enter(self, source: int, target: int, path: str, copy: str, parts: tuple[str, ...]) -> None:
        """Copy what stands in one open folder. `path` and `copy` are where the two are, `parts` is how deep."""
        in_profile = len(parts) == 1 and is_profile(parts[0], path)
        with os.scandir(source) as entries:
            for entry in entries:
                self._patience.spend()
                if self._skips((*parts, entry.name), in_profile=in_profile):
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        self.folder(entry.name, source, target, path, copy, parts)
                    elif entry.is_file(follow_symlinks=False):
                        self.file(entry.name, source, target, path, copy)
                    elif entry.is_symlink() and len(self.warnings) < _MOST_WARNINGS:
                        name = "/".join((*parts, entry.name))
                        self.warnings.append(f"{name} is a link, which is not followed: it was left out")
                except FileNotFoundError:
                    continue

    def folder(
        self, name: str, source: int, target: int, path: str, copy: str, parts: tuple[str, ...]
    ) -> None:
        """Copy one folder."""
        with opened(name, _FOLDER, within=source) as found:
            os.mkdir(name, 0o700, dir_fd=target)
            with opened(name, _FOLDER, within=target) as made:
                self.enter(found, made, f"{path}/{name}", f"{copy}/{name}", (*parts, name))

    def file(self, name: str, source: int, target: int, path: str, copy: str) -> None:  # noqa: ARG002
        """Copy one file."""
        self.plain(name, source, target)

    def plain(self, name: str, source: int, target: int) -> None:
        """Copy one file as it is."""
        copy_file(name, source, target, self._patience)


def copy_file(name: str, source: int, target: int, patience: Patience) -> None:
    """Copy one regular file from one open folder to another, under its name. Raises Interrupted, OSError."""
    with opened(name, _SOURCE, within=source) as found:
        status = os.fstat(found)
        if not stat.S_ISREG(status.st_mode):
            return
        with opened(name, _TARGET, within=target) as made:
            copy_bytes(found, made, status.st_size, patience)


def copy_bytes(source: int, target: int, size: int, patience: Patience) -> None:
    """Copy all bytes in the kernel, sharing blocks where the file system can; else through memory.

    Each way goes on where the one before stopped: all of them move the descriptors' own positions.
    """
    if not size:
        return
    for step in (_by_range, _by_sendfile):
        try:
            copied = 0
            while count := step(source, target):
                copied += count
                patience.spend(count)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            if copied:  # some file systems end at once instead of saying that they cannot
                return
    while block := os.read(source, 1 << 20):
        patience.spend(len(block))
        while block:
            block = block[os.write(target, block) :]


def _by_range(source: int, target: int) -> int:
    return os.copy_file_range(source, target, _CHUNK)


def _by_sendfile(source: int, target: int) -> int:
    return os.sendfile(target, source, None, _CHUNK)
