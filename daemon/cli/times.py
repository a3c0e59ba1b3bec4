"""Times as people type them: `+10m` becomes an instant, everything else is the daemon's to read."""

import re
from datetime import datetime, timedelta

from daemon.domain.times import iso

_RELATIVE = re.compile(r"\+(?:[0-9]{1,9}[smhdw])+")
_PART = re.compile(r"([0-9]+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST = timedelta(days=3660)


def read_at(text: str, now: datetime) -> str:
    """Return what to send for `--at`: `+5s`, `+10m`, `+2h`, `+1h30m`, `+3d` as RFC 3339 in UTC, else the text.

    Raises ValueError for what begins with `+` and is no such time.
    """
    found = text.strip()
    if not found.startswith("+"):
        return found
    if not _RELATIVE.fullmatch(found):
        raise ValueError(f"{text!r} is no time from now: write +5s, +10m, +2h, +1h30m or +3d")
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(found))
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is more than ten years from now")
    return iso(now + timedelta(seconds=seconds))
