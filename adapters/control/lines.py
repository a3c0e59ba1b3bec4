"""What goes over the socket: one JSON object on a line, in both directions."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from daemon.domain.errors import Code, Rejected
from daemon.domain.events import as_json
from daemon.domain.ids import LOCAL_ACTOR, NAME, SELF_ACTOR
from daemon.domain.wire import MAX_BYTES

SLACK = 4096  # for verb, actor and the braces around the envelope
MAX_LINE = MAX_BYTES + SLACK
LONGEST_VERB = 128
_CALL_FIELDS = frozenset({"call", "envelope", "actor"})


@dataclass(frozen=True, slots=True)
class Call:
    """A command. `raw` is its envelope, for the one strict reader of all transports."""

    verb: str
    actor: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Watch:
    """The wish to see events: those after a number, or from now on."""

    after: int | None


class LineBuffer:
    """Cuts a stream into lines and never holds more than one long line."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._is_skipping = False

    def add(self, chunk: bytes) -> None:
        """Take in what has arrived."""
        self._bytes += chunk

    def take(self) -> bytes | None:
        """Return the next line without its end, None where it is not complete yet.

        Raises Rejected(too_large) once for a line that is too long; the rest of it is skipped.
        """
        end = self._bytes.find(b"\n")
        if self._is_skipping:
            if end < 0:
                self._bytes.clear()
                return None
            del self._bytes[: end + 1]
            self._is_skipping = False
            return self.take()
        if end > MAX_LINE or (end < 0 and len(self._bytes) > MAX_LINE):
            self._is_skipping = True
            raise Rejected(Code.TOO_LARGE, f"a line may have {MAX_LINE} bytes; a command {MAX_BYTES}")
        if end < 0:
            return None
        line = bytes(self._bytes[:end])
        del self._bytes[: end + 1]
        return line


def parse(line: bytes) -> Call | Watch:
    """Return what a client wants. Raises Rejected: bad_json, unknown_field, bad_field."""
    try:
        found = json.loads(line.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Rejected(Code.BAD_JSON, f"not strict JSON: {reason}") from error
    if not isinstance(found, dict):
        raise Rejected(Code.BAD_JSON, "a line is one JSON object")
    if set(found) == {"watch"}:
        return _watch(found["watch"])
    if "call" not in found or set(found) - _CALL_FIELDS:
        raise Rejected(
            Code.UNKNOWN_FIELD, 'a line is {"call": verb, "envelope": {…}} or {"watch": {"after": number}}'
        )
    return _call(found)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _call(found: dict[str, Any]) -> Call:
    verb, actor = found["call"], found.get("actor", LOCAL_ACTOR)
    if not isinstance(verb, str) or not verb or len(verb) > LONGEST_VERB:
        raise Rejected(Code.BAD_FIELD, '"call" is a verb such as system/ping', field="call")
    if not isinstance(actor, str) or not NAME.fullmatch(actor) or actor == SELF_ACTOR:
        raise Rejected(Code.BAD_FIELD, '"actor" is a name of 1 to 64 of A-Z a-z 0-9 . _ -', field="actor")
    text = json.dumps(found.get("envelope", {}), ensure_ascii=False, separators=(",", ":"))
    return Call(verb, actor, text.encode("utf-8", "surrogatepass"))


def _watch(found: object) -> Watch:
    if not isinstance(found, dict) or set(found) - {"after"}:
        _refuse_watch()
    after = found.get("after")
    if after is not None and (
        not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < 2**53
    ):
        _refuse_watch()
    return Watch(after)


def _refuse_watch() -> NoReturn:
    raise Rejected(Code.BAD_FIELD, '"watch" is {} or {"after": the number of an event}', field="watch")


def reply_line(reply: dict[str, Any]) -> bytes:
    """Return the line that carries a reply."""
    return _line({"reply": reply})


def event_line(payload: str) -> bytes:
    """Return the line that carries an event, which is JSON already."""
    return b'{"event":' + payload.encode() + b"}\n"


def watching_line(after: int) -> bytes:
    """Return the line that says: from here on every event after this number will come."""
    return _line({"watching": {"after": after}})


def error_line(error: Rejected) -> bytes:
    """Return the line that says why a line was no command."""
    return _line({"error": error.as_dict()})


def _line(value: dict[str, Any]) -> bytes:
    return as_json(value).encode() + b"\n"
