"""The folders that hold the profiles and the clones: what they must not be, told with the way out, and their making."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.profiles import promotion
from adapters.profiles.cloning import is_profile
from daemon.domain.errors import StartRefused
from daemon.domain.ids import NAME

PRIVATE = 0o700
CLONES = "clones"
ROOT_SETTING, CLONES_SETTING = "session.user_data_master_dir", "session.clones_dir"
_RESERVED = (CLONES, promotion.BACKUPS)
_OTHERS = 0o077
# undetected-chromedriver reads a switch out of any argument that contains these, and the clone's path is one.
_MISREAD = ("headless", "lang")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a folder cannot be used, which setting names it, and what to do."""

    setting: str
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.text}; {self.advice}"


def is_profile_name(name: str) -> bool:
    """Tell whether a profile can have this name."""
    return NAME.fullmatch(name) is not None and name not in _RESERVED


def troubles(root: Path, clones: Path) -> list[Trouble]:
    """Return what keeps tokd from using these two folders. Changes nothing, never raises."""
    found: list[Trouble] = []
    looks = (
        _misread(clones),
        _shut(root, ROOT_SETTING),
        _in_place(root, clones),
        _shut(clones, CLONES_SETTING),
    )
    for look in looks:
        try:
            found += look
        except OSError as error:
            found.append(Trouble(
                ROOT_SETTING, f"the folder {error.filename or root} cannot be looked into: {error.strerror}",
                f"see {ROOT_SETTING} and {CLONES_SETTING}",
            ))  # fmt: skip
    return found


def make(path: Path) -> None:
    """Make a folder that is the person's alone, or an empty one private. Raises StartRefused, OSError."""
    path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    for trouble in _shut(path, ROOT_SETTING):
        raise StartRefused(str(trouble))
    if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
        path.chmod(PRIVATE)


def _misread(clones: Path) -> Iterator[Trouble]:
    for path in (clones, clones.resolve()):
        for word in _MISREAD:
            if word in str(path).lower():
                yield Trouble(
                    CLONES_SETTING,
                    f'the clones\' folder {path} has "{word}" in its path, which undetected-chromedriver takes for a '
                    "switch",
                    f"set {CLONES_SETTING} to another one on the same disk",
                )
                return


def _shut(path: Path, setting: str) -> Iterator[Trouble]:
    """Yield what is wrong with a folder's owner and mode, and whether it is a browser's own one."""
    if not path.is_dir():
        return
    status = path.stat()
    if status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX:
        yield Trouble(
            setting, f"the folder {path} is shared with others, or another user's",
            f"set {setting} to one that is yours alone",
        )  # fmt: skip
        return
    if is_browsers(path):
        yield Trouble(
            setting, f"{path} is a browser's own folder, not one that holds profiles",
            f"set {setting} to a new folder; a copy of this one can be a profile in it",
        )  # fmt: skip
    if status.st_mode & _OTHERS and any(path.iterdir()):
        yield Trouble(
            setting,
            f"others may look into {path} (mode {stat.S_IMODE(status.st_mode):04o}); whoever can read a profile is "
            "logged in",
            f"chmod 700 {path}",
        )


def is_browsers(path: Path) -> bool:
    """Tell whether a browser keeps its data right here, as far as this user may look. Raises OSError."""
    if os.path.lexists(path / "Local State") or os.path.lexists(path / "Default" / "Preferences"):
        return True
    try:
        with os.scandir(path) as entries:
            return any(entry.name.startswith("Singleton") for entry in entries)
    except PermissionError:  # such as lost+found
        return False


def _in_place(root: Path, clones: Path) -> Iterator[Trouble]:
    """Yield what is wrong with where the clones are, seen from the profiles."""
    ours, theirs = root.resolve(), clones.resolve()
    if (why := _misplaced(ours, theirs)) is not None:
        yield Trouble(
            CLONES_SETTING, f"the clones' folder {clones} {why}",
            f"set {CLONES_SETTING} to a folder of its own, or leave it out: then it is {root / CLONES}",
        )  # fmt: skip


def _misplaced(root: Path, clones: Path) -> str | None:
    if root.is_relative_to(clones):
        return f"holds the profiles ({root})"
    if clones.is_relative_to(root):
        first, *rest = clones.relative_to(root).parts
        if first.startswith(".") or first == promotion.BACKUPS:
            return f"is in {root / first}, which is for something else"
        if rest and is_profile_name(first):
            return f"is in {root / first}, where a profile of this name is or would be"
    for profile in _folders(root):
        if is_profile_name(profile.name) and clones.is_relative_to(profile.resolve()) and _is_used(profile):
            return f"is in the profile {profile.name!r}"
    for folder in _folders(clones):
        if is_browsers(folder):
            return f"holds a profile ({folder.name})"
    return None


def _folders(path: Path) -> list[Path]:
    return sorted(found for found in path.iterdir() if found.is_dir()) if path.is_dir() else []


def _is_used(path: Path) -> bool:
    return is_browsers(path) or any(is_profile(found.name, str(found)) for found in _folders(path))
