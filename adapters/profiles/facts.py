"""What can be said about a profile on disk."""

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from adapters.profiles import cookies, in_use, locks
from daemon.domain.ids import ProfileName
from daemon.domain.session import Encryption, ProfileFacts


def read(root: Path, name: ProfileName) -> ProfileFacts:
    """Walk through a profile. Never raises: what cannot be read is left out."""
    master = root / name
    size, files, used = 0, 0, 0.0
    for folder, _, names in os.walk(master):
        for entry in names:
            with suppress(OSError):
                status = Path(folder, entry).lstat()
                if stat.S_ISREG(status.st_mode):
                    size, files = size + status.st_size, files + 1
                    used = max(used, status.st_mtime if entry == "Cookies" else 0.0)
    holder: object = in_use.holder_of(master)
    encryption = Encryption()
    with suppress(OSError):
        encryption = cookies.read(master).encryption
    with suppress(OSError):
        holder = holder or locks.owner_of(root, name)
    return ProfileFacts(
        name=name,
        size=size,
        files=files,
        used_at=datetime.fromtimestamp(used, UTC) if used else None,
        in_use_by=str(holder) if holder is not None else None,
        encryption=encryption,
    )
