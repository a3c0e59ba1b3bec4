"""The patched copy of chromedriver that undetected-chromedriver wants: made once for each version of the original."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from adapters.browser.chromium import Program

_PREFIX = "chromedriver-"
_DRAFT = "draft-"
_DRAFT_S = 60


def patched_name(driver: Program) -> str:
    """Return the copy's file name, which changes whenever the original does."""
    look = driver.path.stat()
    stamp = f"{driver.path}|{look.st_mtime_ns}|{look.st_size}"
    return f"{_PREFIX}{driver.version}-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"


def ensure_patched(driver: Program, folder: Path) -> Path:
    """Return the patched copy, made if need be. Raises OSError.

    Two processes may do this at once: each patches a file of its own, and the renaming is atomic.
    """
    path = folder / patched_name(driver)
    if path.is_file():
        return path
    from undetected_chromedriver.patcher import Patcher  # noqa: PLC0415 - two thirds of a second, and the daemon needs none of it

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    Patcher.data_path = str(folder)  # it makes this folder, which would be one in the person's home
    handle, name = tempfile.mkstemp(dir=folder, prefix=_DRAFT)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as target, driver.path.open("rb") as source:
            shutil.copyfileobj(source, target)
        Patcher(executable_path=name, version_main=driver.major).auto()
        draft.chmod(0o700)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _drop_others(folder, path)
    return path


def _drop_others(folder: Path, kept: Path) -> None:
    """Remove the copies of older drivers. One that still runs keeps its inode until it ends."""
    for old in folder.glob(f"{_PREFIX}*"):
        if old != kept:
            with contextlib.suppress(OSError):
                old.unlink()
    for draft in folder.glob(f"{_DRAFT}*"):  # of a process that was killed over it
        with contextlib.suppress(OSError):
            if draft.stat().st_mtime < kept.stat().st_mtime - _DRAFT_S:
                draft.unlink()
