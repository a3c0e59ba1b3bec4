"""Whether a browser has a profile open: read from its SingletonLock and from the process that this names."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

SINGLETONS = ("SingletonLock", "SingletonSocket", "SingletonCookie", "DevToolsActivePort")
_LOCK = re.compile(r"(?P<host>.+)-(?P<pid>[0-9]{1,10})", re.DOTALL)
_SWITCH = "--user-data-dir="
_BEFORE_SWITCH = re.compile(r" (?=--)")
_BROWSERS = ("chrom", "brave", "edge", "vivaldi", "opera", "thorium")
_CONNECT_S = 0.5


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a profile open. `machine` is set where it is not this one, and nothing more can be known."""

    pid: int
    program: str = "a browser"
    machine: str | None = None

    def __str__(self) -> str:
        if self.machine is not None:
            return f"a browser of another machine, it seems ({self.machine}, pid {self.pid})"
        return f"{self.program}, pid {self.pid}"


def parse_lock(target: str) -> tuple[str, int] | None:
    """Return host and pid of a SingletonLock's target `<host>-<pid>`; None where it is no such thing."""
    found = _LOCK.fullmatch(target)
    if found is None or not 0 < (pid := int(found["pid"])) < 2**31:
        return None
    return found["host"], pid


def holder_of(user_data_dir: Path) -> Holder | None:
    """Return who has this profile open, None where nobody does or the lock is a dead one's. Never raises."""
    try:
        # A link that usually leads nowhere: its target is the message.
        named = parse_lock(str((user_data_dir / "SingletonLock").readlink()))
    except OSError:
        return None
    if named is None:  # Chromium takes such a lock for broken, too
        return None
    host, pid = named
    if host != socket.gethostname():
        return Holder(pid, machine=host)
    return _holding(pid, user_data_dir)


def _holding(pid: int, user_data_dir: Path) -> Holder | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        name = process.name()
        named = _named_dirs(process)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, FileNotFoundError, ProcessLookupError):
        return None
    except (psutil.AccessDenied, OSError):
        # Alive, and nobody tells what it is: better refused than torn.
        return Holder(pid) if _answers(user_data_dir) else None
    if os.path.realpath(user_data_dir) in named:
        return Holder(pid, name)
    is_default = not named and any(word in name.lower() for word in _BROWSERS)
    return Holder(pid, name) if is_default and _answers(user_data_dir) else None


def _named_dirs(process: psutil.Process) -> set[str]:
    """Return the profiles that the command line names. Chromium takes the last; a stale one does no harm.

    Raises OSError, psutil.Error.
    """
    text = os.fsdecode(Path(f"/proc/{process.pid}/cmdline").read_bytes())
    values = dirs_of(text)
    here = "/" if all(value.startswith("/") for value in values) else process.cwd()
    return {os.path.realpath(Path(here, value)) for value in values}


def dirs_of(command_line: str) -> list[str]:
    """Return what could be the user-data-dirs in the text of /proc/<pid>/cmdline.

    Where DBUS_SESSION_BUS_ADDRESS is set, as on every desktop, Chromium writes its arguments anew as one text with
    spaces between them. A path may hold spaces, too, and an address may follow it: each cut could be the path.
    """
    words = command_line.rstrip("\0").split("\0")
    if len(words) > 1:
        return [word.removeprefix(_SWITCH) for word in words if word.startswith(_SWITCH)]
    found = []
    for part in _BEFORE_SWITCH.split(words[0]):
        if not part.startswith(_SWITCH):
            continue
        pieces = part.removeprefix(_SWITCH).split(" ")
        found += [" ".join(pieces[:count]) for count in range(1, len(pieces) + 1)]
    return found


def _answers(user_data_dir: Path) -> bool:
    """Tell whether somebody listens on the profile's socket: the file alone outlives a killed browser."""
    try:
        target = user_data_dir / (user_data_dir / "SingletonSocket").readlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_S)
            probe.connect(str(target))
    except (FileNotFoundError, ConnectionRefusedError, ValueError):
        return False
    except OSError:
        return True
    return True


def strip(user_data_dir: Path) -> None:
    """Remove a browser's locks from a clone. Raises OSError."""
    for name in SINGLETONS:
        (user_data_dir / name).unlink(missing_ok=True)
