"""From bytes to a command: one strict reader for every transport, so that all of them refuse alike."""

import difflib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from pydantic import ValidationError

from daemon.domain.command import PATTERNS_IN_WORDS, Command
from daemon.domain.commands import SWITCHES, VERBS, Verb
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import as_json
from daemon.domain.ids import COMMAND_ID, Actor

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
_SHOWN, _NAMED = 64, 512  # letters of a caller's own name in an answer's message, and as its field
ENVELOPE_FIELDS = ("id", "args", "expires_at", "ttl_s", "dry_run", "reply_to")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message from a caller: a command, or the reason why it is none. Either way it gets an answer."""

    actor: Actor
    verb: str
    transport: str
    received_at: datetime
    reply_to: str = ""
    correlation: bytes | None = None
    id: str | None = None
    command: Command | None = None
    error: Rejected | None = None
    body: str = "{}"  # arguments and dry_run, without secrets
    body_hash: str = ""
    expires_at: datetime | None = None
    dry_run: bool = False
    is_backlog: bool = False  # it was waiting at the broker while nobody was here
    settle: Callable[[], None] | None = field(
        default=None, compare=False
    )  # called once its commit is on disk
    answer: Callable[[dict[str, Any]], None] | None = field(
        default=None, compare=False
    )  # replies by hand-over


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`; an empty payload is an empty object.

    Raises Rejected: too_large over 64 KiB, bad_json for anything but one strict object (UTF-8, no duplicate
    keys, no NaN or infinity, at most 8 levels, no NUL, no lone surrogate).
    """
    if len(raw) > MAX_BYTES:
        raise Rejected(Code.TOO_LARGE, f"{len(raw)} bytes; a command may have {MAX_BYTES}")
    if not raw:
        return {}
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except RecursionError as error:
        raise Rejected(Code.BAD_JSON, f"nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise Rejected(Code.BAD_JSON, f"not strict JSON: {error}") from error
    if not isinstance(value, dict):
        raise Rejected(Code.BAD_JSON, "a command is one JSON object")
    _check_values(value, 1)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} stands twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_values(value: object, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise Rejected(Code.BAD_JSON, "a text holds a NUL character")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise Rejected(Code.BAD_JSON, "a text holds half a surrogate pair")
    elif isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            raise Rejected(Code.BAD_JSON, "a number is out of range")
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise Rejected(Code.BAD_JSON, f"nested deeper than {MAX_DEPTH} levels")
        for key in value if isinstance(value, dict) else ():
            _check_values(key, depth + 1)
        for item in value.values() if isinstance(value, dict) else value:
            _check_values(item, depth + 1)


def read_request(
    *,
    actor: str,
    verb: str,
    raw: bytes,
    transport: str,
    received_at: datetime,
    reply_to: str = "",
    correlation: bytes | None = None,
    expires_in_s: float | None = None,
    is_local: bool = False,
    settle: Callable[[], None] | None = None,
    answer: Callable[[dict[str, Any]], None] | None = None,
) -> tuple[Request, dict[str, Any]]:
    """Return the request, and the envelope as far as it could be read. Never raises on bad input.

    `expires_in_s` is what is left of the transport's own expiry; the earlier of the two counts.
    """
    envelope: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    try:
        envelope = parse_object(raw)
        verb, envelope = _switched(verb, envelope)
        row = _verb(verb, is_local=is_local)
        _check_envelope(envelope)
        parts["id"] = envelope.get("id")
        parts["dry_run"] = envelope.get("dry_run", False)
        parts["expires_at"] = _deadline(envelope, received_at, expires_in_s)
        if row.needs_id and parts["id"] is None and not parts["dry_run"]:
            raise Rejected(
                Code.ID_REQUIRED, f'{verb} needs an "id" of your own, so that a repeat is not a second order',
                field="id",
            )  # fmt: skip
        args = envelope.get("args", {})
        parts["command"] = read_args(row, args)
        shown = _without_secrets(parts["command"], args)
        parts["body"] = as_json({"args": shown, "dry_run": parts["dry_run"]})
        parts["body_hash"] = _hash(verb, args, dry_run=parts["dry_run"])
    except Rejected as error:
        parts["error"] = error
        found = envelope.get("id")
        parts["id"] = found if isinstance(found, str) and COMMAND_ID.fullmatch(found) else None
    request = Request(
        actor=Actor(actor), verb=verb, transport=transport, received_at=received_at,
        reply_to=reply_to, correlation=correlation, settle=settle, answer=answer, **parts,
    )  # fmt: skip
    return request, envelope


def read_args(verb: Verb, args: object, *, is_strict: bool = False) -> Command:
    """Return the verb's command. Raises Rejected with the field named: unknown_field, bad_field.

    With `is_strict` a number is no text and a truth no number, as a description of the fields says it: "no" is not
    false then, and true not 1.
    """
    if not isinstance(args, dict):
        raise Rejected(Code.BAD_FIELD, '"args" must be an object', field="args")
    try:
        if is_strict:
            return verb.model.model_validate_json(as_json(_whole(args)), strict=True)
        return verb.model.model_validate(args)
    except ValidationError as error:
        raise _as_rejection(verb, error) from None


def _whole(value: Any) -> Any:
    """Return the value with 5 for 5.0: to JSON they are one number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _as_rejection(verb: Verb, error: ValidationError) -> Rejected:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(["args", *(str(part)[:_NAMED] for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        near = difflib.get_close_matches(name, verb.model.model_fields, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return Rejected(
            Code.UNKNOWN_FIELD, f"{verb.name} knows no field {name[:_SHOWN]!r}{hint}", field=where
        )
    more = error.error_count() - 1
    tail = f" (and {more} more)" if more else ""
    told = PATTERNS_IN_WORDS.get(str(first.get("ctx", {}).get("pattern")), first["msg"])
    return Rejected(Code.BAD_FIELD, f"{where}: {told}{tail}", field=where)


def _switched(name: str, envelope: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the verb that a switch's position stands for, and what is left of its arguments."""
    if name not in SWITCHES:
        return name, envelope
    args = envelope.get("args")
    position = args.get("on") if isinstance(args, dict) else None
    if not isinstance(position, bool):
        raise Rejected(Code.BAD_FIELD, f'{name} is a switch: "on" is true or false', field="args.on")
    rest = {key: value for key, value in args.items() if key != "on"} if isinstance(args, dict) else {}
    when_on, when_off = SWITCHES[name]
    return (when_on if position else when_off), envelope | {"args": rest}


def _verb(name: str, *, is_local: bool) -> Verb:
    verb = VERBS.get(name)
    if verb is None:
        near = difflib.get_close_matches(name, VERBS, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; system/describe lists them"
        raise Rejected(Code.UNKNOWN_COMMAND, f"there is no command {name[:128]!r}{hint}")
    if verb.is_local and not is_local:
        raise Rejected(Code.FORBIDDEN, f"{name} carries secrets and goes through the control socket only")
    return verb


def _check_envelope(envelope: dict[str, Any]) -> None:
    for key in envelope:
        if key not in ENVELOPE_FIELDS:
            near = difflib.get_close_matches(key, ENVELOPE_FIELDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else 'a command\'s own fields go into "args"'
            raise Rejected(Code.UNKNOWN_FIELD, f"unknown field {key[:64]!r}; {hint}", field=key[:64])
    found = envelope.get("id")
    if found is not None and not (isinstance(found, str) and COMMAND_ID.fullmatch(found)):
        raise Rejected(Code.BAD_FIELD, '"id" is 1 to 64 of A-Z a-z 0-9 . _ : -', field="id")
    if not isinstance(envelope.get("dry_run", False), bool):
        raise Rejected(Code.BAD_FIELD, '"dry_run" is true or false', field="dry_run")


def _deadline(envelope: dict[str, Any], received_at: datetime, expires_in_s: float | None) -> datetime | None:
    found: list[datetime] = []
    if expires_in_s is not None:
        found.append(received_at + timedelta(seconds=expires_in_s))
    ttl = envelope.get("ttl_s")
    if ttl is not None:
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= 366 * 86400:
            raise Rejected(Code.BAD_FIELD, '"ttl_s" is a number of seconds', field="ttl_s")
        found.append(received_at + timedelta(seconds=ttl))
    text = envelope.get("expires_at")
    if text is not None:
        try:
            value = datetime.fromisoformat(text) if isinstance(text, str) else None
            found.append(value.astimezone(UTC) if value and value.tzinfo else _no_offset())
        except (ValueError, OverflowError):
            raise Rejected(
                Code.BAD_TIME, '"expires_at" is an RFC 3339 time with an offset', field="expires_at"
            ) from None
    return min(found, default=None)


def _no_offset() -> NoReturn:
    raise ValueError("no offset")


def _without_secrets(command: Command, args: dict[str, Any]) -> dict[str, Any]:
    secret = {
        name for name, found in type(command).model_fields.items() if "SecretStr" in str(found.annotation)
    }
    return {key: ("**********" if key in secret else value) for key, value in args.items()}


def _hash(verb: str, args: object, *, dry_run: bool) -> str:
    text = json.dumps([verb, args, dry_run], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
