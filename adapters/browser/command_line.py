"""Wiping a switch's value from the command line of a process: there every user of the machine may read it.

A program copies its arguments when it starts, so it goes on with the value. What the kernel shows is the memory that they
came in, and the arguments' place in it stands in /proc/<pid>/stat (proc_pid_stat(5), fields 48 to 51).
"""

import os
from pathlib import Path

_FIRST_FIELD = 3  # of those after the name, which may hold spaces and brackets
_ARG_START, _ENV_END = 48, 51
_MOST = 4_000_000  # the kernel allows no more for arguments and environment together, by far


def wipe(pid: int, switch: str, value: str) -> bool:
    """Put stars for the value of a switch; return whether nobody can read it there any more.

    A browser on a desktop writes its arguments anew, on through the place of its environment: that is looked at, too.
    """
    wanted = os.fsencode(f"{switch}={value}")
    stars = os.fsencode(f"{switch}=") + b"*" * len(os.fsencode(value))
    try:
        start, end = _place(pid)
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            text = memory.read(end - start)
            at = text.find(wanted)
            while at >= 0:
                memory.seek(start + at)
                memory.write(stars)
                at = text.find(wanted, at + len(wanted))
        return wanted not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):  # a system that lets no process look into another
        return False


def _place(pid: int) -> tuple[int, int]:
    """Return where its arguments begin and its environment ends. Raises OSError; ValueError where nobody says."""
    text = Path(f"/proc/{pid}/stat").read_bytes()
    fields = text[text.rindex(b")") + 2 :].split()
    start, end = (int(fields[number - _FIRST_FIELD]) for number in (_ARG_START, _ENV_END))
    if not 0 < start < end <= start + _MOST:
        raise ValueError("no place")
    return start, end
