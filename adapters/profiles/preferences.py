"""The clone's preferences: no "restore pages?" and no old tabs; put right again before a clone becomes the profile."""

import json
from pathlib import Path
from typing import Any

from adapters.profiles.cloning import profile_folders

_NEW_TAB = 5
_ENDINGS = ("exit_type", "exited_cleanly")


def patch(user_data_dir: Path) -> tuple[str, ...]:
    """Prepare a clone's preferences for a session; return warnings. Raises OSError.

    Without `exit_type` undetected-chromedriver leaves the file alone, which it would write in the wrong encoding.
    """
    warnings = []
    for folder in profile_folders(user_data_dir):
        path = folder / "Preferences"
        found = _read(path)
        if found is None:
            if path.exists():
                warnings.append(
                    f"the preferences of {path.parent.name} are no JSON and were left as they are"
                )
            continue
        for key in _ENDINGS:
            _section(found, "profile").pop(key, None)
        _section(found, "session")["restore_on_startup"] = _NEW_TAB
        _write(path, found)
    return tuple(warnings)


def restore(user_data_dir: Path, master: Path) -> None:
    """Give a clone the start page choice of the profile that it replaces. Raises OSError."""
    for folder in profile_folders(user_data_dir):
        path = folder / "Preferences"
        found, theirs = _read(path), _read(master / folder.name / "Preferences")
        if found is None or theirs is None:
            continue
        session = _section(found, "session")
        session.pop("restore_on_startup", None)
        if "restore_on_startup" in _section(theirs, "session"):
            session["restore_on_startup"] = theirs["session"]["restore_on_startup"]
        _write(path, found)


def _section(preferences: dict[str, Any], name: str) -> dict[str, Any]:
    found = preferences.setdefault(name, {})
    if not isinstance(found, dict):
        found = preferences[name] = {}
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, preferences: dict[str, Any]) -> None:
    try:
        text = json.dumps(preferences, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only stands as an escape
        text = json.dumps(preferences, separators=(",", ":")).encode()
    fresh = path.with_name("Preferences.tokd")
    fresh.write_bytes(text)
    fresh.chmod(0o600)
    fresh.replace(path)
