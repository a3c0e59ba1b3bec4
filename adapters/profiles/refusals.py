"""How work on a profile is refused: every message names the profile and, where it can, the way out."""

import errno
from collections.abc import Sequence
from pathlib import Path

from adapters.profiles.in_use import Holder
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import ProfileName

_FULL = (errno.ENOSPC, errno.EDQUOT)


def no_such_profile(name: str, known: Sequence[str], default: str) -> Rejected:
    """Return the error for a profile that is not there."""
    others = f"known are {', '.join(known)}" if known else "there is none yet"
    command = "tokd profile login" if name == default else f"tokd profile login {name}"
    return Rejected(
        Code.NO_SUCH_PROFILE,
        f"there is no profile {name!r} ({others}); `{command}` makes it and logs it in",
        field="args.profile",
    )


def bad_name(name: str) -> Rejected:
    """Return the error for a name that no profile can have."""
    return Rejected(
        Code.NO_SUCH_PROFILE,
        f"{name!r} cannot be a profile: letters, digits and ._- up to 64, not starting with a dot, "
        "neither clones nor backups",
        field="args.profile",
    )


def no_folder(name: ProfileName, place: str) -> Rejected:
    """Return the error for something else that stands where the profile's folder would be."""
    return Rejected(
        Code.NO_SUCH_PROFILE,
        f"what stands at {place}, in the place of profile {name!r}, is no folder; move it away, or mend the link",
        field="args.profile",
    )


def locked(name: ProfileName, by: str, way_out: str) -> Rejected:
    """Return the error for a profile that somebody else has."""
    return Rejected(
        Code.USER_DATA_LOCKED,
        f"profile {name!r} is in use by {by}; {way_out}",
        field="args.profile",
        retryable=True,
    )


def held(name: ProfileName, holder: Holder, master: Path, way_out: str) -> Rejected:
    """Return the error for a profile that a browser has open."""
    if holder.machine is not None:
        way_out = f"if you are sure that none has it open, remove {master / 'SingletonLock'}"
    return locked(name, str(holder), way_out)


def lost_cookies(copy: str) -> str:
    """Return what is told where a login's browser seems to have deleted what it could not decrypt."""
    return (
        "all cookies whose key is in the desktop's keyring are gone from the profile: unless you have deleted them "
        f"yourself, the browser could not read them; a copy of them is in {copy}"
    )


def changed(name: ProfileName, why: str) -> Rejected:
    """Return the error for a clone that must not replace its profile."""
    return Rejected(Code.PROFILE_CHANGED, f"profile {name!r} {why}; the clone was not promoted")


def low_disk(folder: str, free: int, floor: int) -> Rejected:
    """Return the error for a disk that has less left than session.min_free_mb."""
    return Rejected(
        Code.DISK_FULL,
        f"{folder} has {free // 1_000_000} MB free, less than the {floor // 1_000_000} MB of session.min_free_mb: "
        "free some space, or set that lower",
        retryable=True,
    )


def disk_failed(error: OSError, doing: str) -> Rejected:
    """Return the error for a disk that is full or fails otherwise."""
    if error.errno in _FULL:
        return Rejected(
            Code.DISK_FULL,
            f"the disk is full, or the quota spent, while {doing}; free some space and try again",
            retryable=True,
        )
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return Rejected(Code.BROWSER_FAILED, f"{error.strerror or error} while {doing}{where}")


def unread(name: ProfileName, why: str) -> Rejected:
    """Return the error for cookies of which nobody knows whether this browser could decrypt them."""
    return Rejected(
        Code.BROWSER_FAILED,
        f"profile {name!r} is not opened, which could delete its cookies: {why}; if they are broken, move that file "
        "away",
    )


def no_keyring(name: ProfileName, why: str) -> Rejected:
    """Return the error for cookies that this browser could not decrypt, and would therefore delete."""
    return Rejected(
        Code.KEYRING_UNREACHABLE,
        f"profile {name!r} keeps its cookies with the desktop's keyring (v11), {why}",
    )
