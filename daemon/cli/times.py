"""Times as people type and read them: `+10m` becomes an instant, `5m` a number of seconds, an instant the hour here."""

import re
from datetime import UTC, datetime, timedelta

from daemon.domain.times import iso

_RELATIVE = re.compile(r"\+(?:[0-9]{1,9}[smhdw])+")
_DURATION = re.compile(r"[0-9]{1,9}|(?:[0-9]{1,9}[smhdw])+")
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


def read_duration(text: str) -> int:
    """Return the seconds that `90`, `90s`, `5m`, `1h30m` stand for. Raises ValueError for anything else."""
    found = text.strip()
    if not _DURATION.fullmatch(found):
        raise ValueError(f"{text!r} is no span of time: write 90, 90s, 5m or 1h30m")
    if found.isdecimal():
        return int(found)
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(found))


def local_hour(text: str) -> str:
    """Return the hour on this machine's wall clock of an RFC 3339 time, with its date where that is not today's."""
    at = datetime.fromisoformat(text).astimezone()
    is_today = at.date() == datetime.now(UTC).astimezone().date()
    return at.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")


def local_time(text: str | None) -> str:
    """Return an RFC 3339 time with this machine's offset; nothing for no time."""
    return datetime.fromisoformat(text).astimezone().isoformat(timespec="seconds") if text else ""
