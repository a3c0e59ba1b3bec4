"""How media is refused: every refusal names the argument, the problem and, where it can, the way out."""

import errno
import os

from daemon.domain.errors import OUT_OF_RESOURCES, Code, Problem, Rejected

FIELD = "args.media"
_LONGEST_SHOWN = 200
SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS}


def shown(name: str) -> str:
    """Return a name as it may stand in a message: quoted, free of control characters, not endless."""
    quoted = repr(name)
    return quoted if len(quoted) <= _LONGEST_SHOWN else f"{quoted[:_LONGEST_SHOWN]}…"


def refused(name: str, problem: str, message: str, hint: str = "", *, retryable: bool = False) -> Rejected:
    """Return the media_rejected error for one problem of one file."""
    text = f"{shown(name)} {message}"
    return Rejected(
        Code.MEDIA_REJECTED,
        text,
        field=FIELD,
        retryable=retryable,
        problems=(Problem(problem, text, hint),),
    )


def still_being_written(name: str) -> Rejected:
    """Return the error for a file that changes under our eyes."""
    return refused(
        name,
        "still_being_written",
        "is still being written",
        "send the command again when the file is finished; "
        "best write it under another name and rename it at the end",
        retryable=True,
    )


def unreadable(name: str, why: str, hint: str = "", *, retryable: bool = False) -> Rejected:
    """Return the error for a file that cannot be read as a video."""
    return refused(name, "unreadable", f"could not be read: {why}", hint, retryable=retryable)


def unreadable_now(name: str, error: OSError, doing: str = "") -> Rejected:
    """Return the error for what the system has answered; where it is short of something, that is the problem."""
    why = f"{doing}{os.strerror(error.errno) if error.errno else error}"
    if error.errno in SHORTAGES:
        return refused(
            name,
            OUT_OF_RESOURCES,
            f"cannot be read just now, this machine is short of something: {why}",
            "raise the limits of tokd (descriptors, processes, memory), or let it do less at a time",
            retryable=True,
        )
    return unreadable(name, why, retryable=True)


def shutting_down() -> Rejected:
    """Return the error for a check that the end of the daemon has cut short."""
    return Rejected(
        Code.SHUTTING_DOWN,
        "tokd stopped while the file was checked; send the command again",
        field=FIELD,
        retryable=True,
    )
