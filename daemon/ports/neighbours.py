"""Other systems on the broker: what they are told of tokd, and how their coming is noticed."""

from collections.abc import Mapping
from typing import Protocol

from daemon.domain.introduction import Facts, Introduced, Told


class Places(Protocol):
    """Where on the broker things of this node are."""

    @property
    def availability(self) -> str:
        """Return the topic of `online` and `offline`."""

    def event(self, channel: str) -> str:
        """Return the topic of a kind of event."""

    def state(self, path: str) -> str:
        """Return the topic of a retained state."""

    def command(self, actor: str, verb: str) -> str:
        """Return the topic on which this actor sends this command."""

    def screenshot(self, account: str) -> str:
        """Return the topic of an account's pictures."""


class Introducer(Protocol):
    """Puts tokd into another system's words. Pure: values in, messages out."""

    def introduce(self, facts: Facts, before: Mapping[str, Told], *, again: bool) -> Introduced:
        """Return what must be published so that exactly the facts stand there.

        `before` is the ledger of what was published and not taken back. What stands there already is left out,
        unless it is to be said `again`.
        """


class Neighbour(Protocol):
    """Somebody whose coming is to be noticed. Used by the gateway's thread only; times are monotonic seconds."""

    topic: str  # where it says that it is there

    def joined(self, now: float) -> None:
        """Note that a connection begins: everything is said on it anyway."""

    def heard(self, payload: bytes, now: float, *, is_replay: bool) -> None:
        """Take what came on the topic; `is_replay`: the broker had kept it from before."""

    @property
    def due_at(self) -> float | None:
        """Return when everything must be said again, None: not at all."""

    def is_due(self, now: float) -> bool:
        """Tell, once, that the time has come."""
