"""A disk whose power can be cut: a file system in an image, and copies of the image as they are at one instant.

The image lies on XFS, whose `cp --reflink=always` copies a file at an instant without reading it; a loop device with
direct I/O lies between, so what the inner file system holds in memory is not in the copy. Needs root and xfsprogs.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.scorecard.row import CannotRun
from tests.waiting import wait_until

UNMOUNT_S = 0.5  # for whoever was killed to let go
_NEEDED = ("mkfs.xfs", "mkfs.ext4", "losetup", "mount", "umount")


def _do(*argv: object) -> str:
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(str(part) for part in argv)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Disk:
    """The file system at `place`. Raises CannotRun where this machine cannot make one."""

    def __init__(self, folder: Path, place: Path, megabytes: int = 600) -> None:
        missing = [
            name for name in _NEEDED if shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin") is None
        ]
        if missing:
            raise CannotRun(f"{', '.join(missing)} missing: apt install xfsprogs e2fsprogs mount")
        self._outer = folder / "outer"
        self._raw = folder / "outer.img"
        self._place = place
        self._loop = ""
        self._numbers = 0
        self._mounted = False
        for made in (folder, self._outer, place):
            made.mkdir(parents=True)
        try:
            self._make(megabytes)
        except OSError as error:
            self.close()
            raise CannotRun(f"no disk with pictures can be made here: {error}") from None

    def _make(self, megabytes: int) -> None:
        _do("truncate", "-s", f"{megabytes * 4}M", self._raw)
        _do("mkfs.xfs", "-q", "-m", "reflink=1", self._raw)
        _do("mount", "-o", "loop", self._raw, self._outer)
        self._mounted = True
        self._image = self._outer / "disk.img"
        _do("truncate", "-s", f"{megabytes}M", self._image)
        _do("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._image)
        self._attach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take it all away. Safe twice."""
        self._detach()
        if self._mounted:
            _do("umount", "-l", self._outer)
            self._mounted = False
        self._raw.unlink(missing_ok=True)

    def sync(self) -> None:
        """Write everything down."""
        _do("sync", "-f", self._place)

    def picture(self) -> Path:
        """Return a copy of the disk as it is now; the file system goes on."""
        self._numbers += 1
        picture = self._outer / f"picture-{self._numbers}.img"
        _do("cp", "--reflink=always", self._image, picture)
        return picture

    def go_on_from(self, picture: Path) -> None:
        """Forget what has happened since the picture: the file system recovers from it, as after a power cut."""
        self._detach()
        self._image.unlink()
        picture.rename(self._image)
        self._attach()

    def _attach(self) -> None:
        self._loop = _do("losetup", "--find", "--show", "--direct-io=on", self._image)
        _do("mount", "-t", "ext4", self._loop, self._place)

    def _detach(self) -> None:
        if self._loop:
            try:
                wait_until(self._is_unmounted, UNMOUNT_S, every_s=0.05, what=f"{self._place} unmounted")
            except AssertionError:
                # Whoever still holds it open sees the old image, which nobody uses any more.
                _do("umount", "-l", self._place)
            _do("losetup", "--detach", self._loop)
            self._loop = ""

    def _is_unmounted(self) -> bool:
        try:
            _do("umount", self._place)
        except OSError as error:
            return "not mounted" in str(error)
        return True
