"""One session as its events tell it, from before it begins to its end."""

import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from adapters.control import ControlClient
from daemon.cli.narration import kind_of, sentence_of, style_of
from daemon.cli.output import say
from daemon.domain.events import EventType

OPENED, ENDED = EventType.SESSION_OPENED.value, EventType.SESSION_ENDED.value
Tell = Callable[[dict[str, Any]], object]
_CLOSING_S = 60.0  # the window of a login takes up to 36 s where a page does not want to be left
_LOOK_EVERY_S = 0.2
_MOST = 200
_BEYOND = 2**53 - 1  # no event has this number: only the latest one's is asked for


class Story:
    """Reads the events of the session that an order opens, or of one that is open, none twice and none left out."""

    def __init__(self, client: ControlClient, command_id: str | None = None) -> None:
        """Note where the events stand now: make it before the order is sent. Raises what the client raises.

        The session is the one that `command_id` opens, or that `session` is set to later.
        """
        self.session: str | None = None
        self.end: dict[str, Any] | None = None
        self._client = client
        self._command_id = command_id
        self._is_open = False
        self._after = int(ask_quietly(client, "events/replay", {"after": _BEYOND, "limit": 1})["latest"])

    def until_open(self, tell: Tell) -> None:
        """Hand each event over until the window is open, or all is over: these two are the reply's to tell."""
        if not self._is_open:
            self._read(tell, {OPENED, ENDED})

    def until_end(self, tell: Tell) -> dict[str, Any]:
        """Hand each event over but the last, which is returned."""
        if self.end is None:
            self._read(tell, {ENDED})
        assert self.end is not None
        return self.end

    def _read(self, tell: Tell, last: set[str]) -> None:
        for event in self._client.watch(self._after):
            self._after = int(event["sequence"])
            if not self._is_ours(event):
                continue
            kind = kind_of(event)
            self._is_open = self._is_open or kind in {OPENED, ENDED}
            if kind == ENDED:
                self.end = event
            if kind in last:
                return
            tell(event)

    def _is_ours(self, event: dict[str, Any]) -> bool:
        data = event.get("data") or {}
        if (
            self.session is None
            and self._command_id is not None
            and data.get("command_id") == self._command_id
        ):
            self.session = data.get("session")
        return self.session is not None and event.get("subject") == f"session/{self.session}"


def tell_step(event: dict[str, Any]) -> None:
    """Print what has just happened; not among the results, so that these can be read by programs."""
    sentence = sentence_of(event)
    if sentence:
        say(sentence, error=True, style=style_of(event))


def ask_quietly(client: ControlClient, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a question that cannot be refused."""
    reply = list(client.call(verb, {"args": args}))[-1]
    result: dict[str, Any] = reply.get("result") or {}
    return result


def find(client: ControlClient, sessions: Iterable[str], *, ended: bool) -> list[dict[str, Any]]:
    """Return how these sessions look, as far as they are over, or are not."""
    wanted = set(sessions)
    found = ask_quietly(client, "session/list", {"ended": ended, "limit": _MOST})["sessions"]
    return [view for view in found if view["session"] in wanted]


def wait_until_over(client: ControlClient, sessions: Iterable[str], within_s: float = _CLOSING_S) -> bool:
    """Wait until all of these sessions are over; return whether they are, in time."""
    wanted = tuple(sessions)
    deadline = monotonic() + within_s
    pause = threading.Event()  # nobody sets it: it only waits
    while find(client, wanted, ended=False):
        if monotonic() >= deadline:
            return False
        pause.wait(_LOOK_EVERY_S)
    return True
