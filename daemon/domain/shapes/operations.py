"""What stands in the `result` of the operators' verbs, which go through the control socket."""

from typing import Literal

from daemon.domain.shapes.common import Effect, Time


class BackupNoted(Effect):
    """A backup was made then."""

    taken_at: Time


class LevelSet(Effect):
    """What is logged from now on, and for how many seconds; null is for good."""

    level: Literal["debug", "info", "warning", "error"]
    for_s: int | None


class Resealed(Effect):
    """A page of secrets was sealed anew; `next` continues, null is the end. What no key opens is left as it is."""

    resealed: int
    unreadable: int
    next: str | None
