"""Copies of the cookies that a login's browser could delete: kept beside the profiles, the newest few of them."""

import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from adapters.profiles.cloning import profile_folders
from adapters.profiles.cookies import LOGS, keep_copy
from adapters.profiles.promotion import BACKUPS
from daemon.domain.ids import ProfileName

KEPT = 3
_STAMP = r"-cookies-\d{8}T\d{6}Z(-\d+)?"


def keep(root: Path, profile: ProfileName, user_data_dir: Path, now: datetime) -> Path:
    """Copy a profile's cookie databases to backups/; return where. Only the newest few are kept. Raises OSError."""
    backups = root / BACKUPS
    backups.mkdir(mode=0o700, exist_ok=True)
    made = _made(backups / f"{profile}-cookies-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    try:
        for folder in profile_folders(user_data_dir):
            if (folder / "Cookies").is_file() and not (folder / "Cookies").is_symlink():
                (made / folder.name).mkdir(mode=0o700)
                keep_copy(folder, made / folder.name)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    _prune(backups, profile)
    return made


def _made(wanted: Path) -> Path:
    place, number = wanted, 1
    while True:
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            place = wanted.with_name(f"{wanted.name}-{number}")
            continue
        return place


def _prune(backups: Path, profile: ProfileName) -> None:
    ours = re.compile(re.escape(profile) + _STAMP)
    found = [path for path in backups.iterdir() if ours.fullmatch(path.name) and holds_cookies_only(path)]
    found.sort(key=lambda path: (path.lstat().st_mtime_ns, path.name))
    for path in found[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def holds_cookies_only(path: Path) -> bool:
    """Tell whether this is such a copy: a profile named like one has whole profiles among the backups."""
    names = {"Cookies", *LOGS}
    for folder, below, files in os.walk(path):
        is_top = Path(folder) == path
        if files if is_top else below or set(files) - names:
            return False
    return True
