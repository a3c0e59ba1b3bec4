"""Of the whole profiles among the backups the newest few stay; without that, a promotion a day fills the disk."""

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.profiles import locks
from adapters.profiles.cloning import opened
from adapters.profiles.promotion import BACKUPS, CLONE, PARTIAL
from adapters.profiles.safekeeping import holds_cookies_only
from daemon.domain.ids import ProfileName

LOG = logging.getLogger("tokd.profiles")

_STAMP = r"(?P<stamp>\d{8}T\d{6}Z)(?:-(?P<number>\d+))?"


@contextmanager
def turn(root: Path) -> Iterator[None]:
    """Let one at a time put something there and prune: two at once would remove each other's. Raises OSError."""
    (root / BACKUPS).mkdir(mode=0o700, exist_ok=True)
    with opened(str(root / BACKUPS), os.O_RDONLY | os.O_DIRECTORY) as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield


def prune(root: Path, profile: ProfileName, most: int, newest: str) -> None:
    """Remove the oldest of a profile's backups, so that `most` are left; 0 keeps all. Never raises.

    `newest` has just been put there and stays, whatever the clock says. Profiles that were replaced and clones that
    were refused are counted apart.
    """
    kind = CLONE if Path(newest).name.startswith(f"{profile}{CLONE}") else "-"
    if not most or _is_ambiguous(root, profile, kind):
        return
    ours = re.compile(re.escape(f"{profile}{kind}") + _STAMP)
    try:
        names = [path.name for path in (root / BACKUPS).iterdir()]
        matches = [
            each for each in map(ours.fullmatch, names) if each and _is_whole(root / BACKUPS / each[0])
        ]
    except OSError:
        return
    dated = sorted((each["stamp"], int(each["number"] or 1), each[0]) for each in matches)
    others = [name for _, _, name in dated if name != Path(newest).name]
    for name in others[: max(0, len(others) - (most - 1))]:
        half = root / BACKUPS / f"{PARTIAL}{name}"
        try:  # by this name it is known as half a folder, should this be cut short
            (root / BACKUPS / name).rename(half)
            shutil.rmtree(half)
        except OSError as error:
            LOG.warning("the old backup %s cannot be removed: %s", root / BACKUPS / name, error.strerror)
        else:
            LOG.info(
                "the old backup %s is removed: session.profile_backups is %d", root / BACKUPS / name, most
            )


def _is_whole(path: Path) -> bool:
    """Tell whether it is a profile's folder: no link or file of a person's, and not only the cookies of another."""
    return path.is_dir() and not path.is_symlink() and not holds_cookies_only(path)


def _is_ambiguous(root: Path, profile: ProfileName, kind: str) -> bool:
    """Tell whether backups of this name may be another profile's: one is called like a clone of the other."""
    if kind == CLONE:
        return _has_been(root, f"{profile}{CLONE.rstrip('-')}")
    base = profile.removesuffix(CLONE.rstrip("-"))
    return base != profile and _has_been(root, base)


def _has_been(root: Path, name: str) -> bool:
    """Tell whether there is or was a profile of this name; its lock stays when it is moved away."""
    return os.path.lexists(root / name) or os.path.lexists(locks.lock_path(root, ProfileName(name)))
