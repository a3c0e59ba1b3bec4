"""Scripted faults: which call goes wrong, how, and how often."""

from collections.abc import Container
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Endpoint = Literal[
    "*",
    "init",
    "video_init",
    "inbox_init",
    "photo_init",
    "creator_info",
    "status",
    "cancel",
    "upload",
    "token",
    "exchange",
    "refresh",
    "revoke",
    "authorize",
    "video_list",
]
Action = Literal[
    "lose_answer",
    "drop",
    "cut_body",
    "cut_answer",
    "status",
    "error",
    "slow",
    "slow_after",
    "garbage",
    "garbage_after",
    "stuck",
    "fail",
    "redirect",
]
POST_ACTIONS = frozenset({"stuck", "fail"})
CALL_ACTIONS = frozenset(
    {
        "lose_answer",
        "drop",
        "cut_body",
        "cut_answer",
        "status",
        "error",
        "slow",
        "slow_after",
        "garbage",
        "garbage_after",
        "redirect",
    }
)
_GROUPS = {
    "video_init": "init",
    "inbox_init": "init",
    "photo_init": "init",
    "refresh": "token",
    "exchange": "token",
}


class Fault(BaseModel):
    """One line of the script; the fields after `action` belong to some actions only."""

    model_config = ConfigDict(extra="forbid")

    endpoint: Endpoint
    action: Action
    times: int | None = Field(default=1, ge=1)
    after: int = Field(default=0, ge=0)
    user: str | None = None
    bytes: int = Field(default=0, ge=0)
    status: int | None = Field(default=None, ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    code: str = "internal_error"
    message: str = ""
    seconds: float = Field(default=1.0, ge=0)
    reason: str = "internal"
    location: str = ""

    def matches(self, endpoint: str, user: str | None, actions: Container[str]) -> bool:
        """Whether this fault speaks of such a call."""
        names = {"*", endpoint, _GROUPS.get(endpoint)}
        return self.action in actions and self.endpoint in names and self.user in {None, user}


class FaultScript:
    """The faults that are left, first come first served. Kept in memory only."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, faults: list[Fault]) -> None:
        """Append to the script."""
        self._faults += faults

    def left(self) -> list[Fault]:
        """Return what has not been used up."""
        return list(self._faults)

    def clear(self) -> None:
        """Forget the whole script."""
        self._faults.clear()

    def take(self, endpoint: str, user: str | None, actions: Container[str]) -> Fault | None:
        """Return the fault this call meets, if any; every matching fault counts the call."""
        chosen: Fault | None = None
        for fault in [fault for fault in self._faults if fault.matches(endpoint, user, actions)]:
            if fault.after > 0:
                fault.after -= 1
            elif chosen is None:
                chosen = fault
        if chosen is not None and chosen.times is not None:
            chosen.times -= 1
            if chosen.times == 0:
                self._faults.remove(chosen)
        return chosen
