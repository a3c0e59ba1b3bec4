"""Who may send which command, how many a second, and what from a backlog is still wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from types import MappingProxyType

from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import SELF_ACTOR, Actor

OPEN_DOOR = "control"  # the socket of this machine's own command line: its owner may do everything
_BROKER = "mqtt"
_ACTORS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """The verb gates: patterns such as `post.*`. A grant is all that its actor may send."""

    allow: tuple[str, ...] = ("*",)
    guarded: tuple[str, ...] = ()
    grants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    rate_per_s: float = 100
    burst: int = 500
    open_max: int = 500

    def allows(self, actor: Actor, verb: str, transport: str) -> bool:
        """Tell whether this actor may send this verb through this door."""
        if (
            transport == OPEN_DOOR or actor == SELF_ACTOR
        ):  # no caller can be called so: a route asks by itself
            return True
        name = verb.replace("/", ".")
        own = self.grants.get(actor)
        if own is not None:
            return _matches(name, own)
        is_guarded = transport == _BROKER and _matches(name, self.guarded)
        return not is_guarded and _matches(name, self.allow)

    def check(self, actor: Actor, verb: str, transport: str) -> None:
        """Raise Rejected(forbidden) where the actor may not."""
        if not self.allows(actor, verb, transport):
            raise Rejected(
                Code.FORBIDDEN,
                f"{actor} may not send {verb.replace('/', '.')} here; access.grants in the settings says who may",
            )


class Buckets:
    """How much each actor has sent lately: a bucket for each that refills with time. For one thread."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate = rate_per_s
        self._burst = float(burst)
        self._left: dict[tuple[str, Actor], tuple[float, datetime]] = {}
        self._before: dict[tuple[str, Actor], tuple[float, datetime] | None] = {}

    def begin(self) -> None:
        """Let `undo` go back to here."""
        self._before.clear()

    def undo(self) -> None:
        """Forget what was counted since `begin`: it was rolled back, and all of it comes again."""
        for key, before in self._before.items():
            self._left.pop(key, None)
            if before is not None:
                self._left[key] = before
        self._before.clear()

    def take(self, transport: str, actor: Actor, now: datetime) -> None:
        """Count one command. Raises Rejected(rate_limited) with the seconds to wait."""
        if transport == OPEN_DOOR:
            return
        key = (transport, actor)
        found = self._left.pop(key, None)
        self._before.setdefault(key, found)
        left, since = found or (self._burst, now)
        elapsed = max(0.0, (now - since).total_seconds())  # a clock set back refills nothing
        left = min(self._burst, left + elapsed * self._rate)
        is_allowed = left >= 1
        self._left[key] = (left - 1 if is_allowed else left, now)
        if len(self._left) > _ACTORS_MAX:
            del self._left[
                next(iter(self._left))
            ]  # the one that has been quiet the longest: its bucket is full
        if not is_allowed:
            raise Rejected(
                Code.RATE_LIMITED, f"{actor} sends more than {self._rate:g} commands a second; send it again later",
                retryable=True, retry_after_s=max(1, round((1 - left) / self._rate)),
            )  # fmt: skip


def check_open(count: int, gates: Gates, actor: Actor, transport: str) -> None:
    """Raise Rejected(busy) where as many commands of this actor wait for their result as may."""
    if transport != OPEN_DOOR and count >= gates.open_max:
        raise Rejected(
            Code.BUSY, f"{count} commands of {actor} wait for their result already; send it again with the same id",
            retryable=True, retry_after_s=5,
        )  # fmt: skip


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
