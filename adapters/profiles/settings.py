"""What this adapter must be told: where the profiles and the clones are, and what may be done with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilesSettings:
    """Folders, the disk's floor, and what of the desktop can be reached."""

    root: Path  # session.user_data_master_dir
    clones_dir: Path | None = None  # without it clones/ in root
    default_profile: str = "master"
    allow_live: bool = False
    min_free_bytes: int = 500_000_000
    backups: int = 5  # whole profiles kept of each; 0: all
    password_store: str = "detect"  # noqa: S105  the name of a store, not a password
    # What the browser gets: the session bus and the desktop's name are read, nothing else.
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    temp_base: Path = Path("/tmp")  # noqa: S108  for a session whose own folder has too long a path
