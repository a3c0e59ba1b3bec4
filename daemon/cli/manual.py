"""The manual of the protocol, docs/mqtt.md: made from the same tables as the AsyncAPI document, for people."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from daemon.domain import asyncapi
from daemon.domain.commands import VERBS, Verb
from daemon.domain.errors import Code
from daemon.domain.events import EventType
from daemon.domain.schemas import REFERENCE, Schema, collect
from daemon.domain.shapes.results import RESULTS
from daemon.domain.shapes.views import CLEARED
from daemon.domain.wire import MAX_BYTES, MAX_DEPTH

MEANINGS = {
    Code.BAD_JSON: "The payload is no strict JSON object: UTF-8, no key twice, no NaN, not too deep.",
    Code.TOO_LARGE: "The payload is too large.",
    Code.UNKNOWN_COMMAND: "There is no such verb, or the topic has another depth.",
    Code.UNKNOWN_FIELD: "A field that nobody knows; `field` names it.",
    Code.BAD_FIELD: "A value that cannot be; `field` names it.",
    Code.BAD_TIME: "No RFC 3339 time with an offset, or a local time without its zone, or a time that has passed.",
    Code.ID_REQUIRED: "This verb needs an `id` of your own.",
    Code.ID_CONFLICT: "The `id` was used for another order; a new order needs a new one.",
    Code.RETAINED_COMMAND: "The command was retained; it was removed and not carried out. Send it without the retain flag.",
    Code.STALE_BACKLOG: "It would act at once, was sent while tokd was away, and has no `ttl_s`; it was not carried out.",
    Code.EXPIRED: "It came after its deadline and was not carried out.",
    Code.FORBIDDEN: "You may not do this, or not from here, or not with this thing.",
    Code.UNAUTHORIZED: "HTTP only: no token that holds.",
    Code.BUSY: "Too much to do just now; try again after `retry_after_s`.",
    Code.RATE_LIMITED: "Too many requests; try again after `retry_after_s`.",
    Code.NOT_CONFIGURED: "A setting is missing; the message names it.",
    Code.NO_SUCH_ACCOUNT: "No account of this name is linked.",
    Code.NO_SUCH_LINK: "Nobody waits for this answer: the link is over, was used, or was begun anew.",
    Code.LINK_REFUSED: "The account is not linked: the person did not agree, or the link was begun anew meanwhile.",
    Code.LINK_FAILED: "The account is not linked: no tokens came for the code; the message says why. Begin anew.",
    Code.NO_SUCH_POST: "There is no such post.",
    Code.NO_SUCH_TASK: "There is no such task, or it is somebody else's.",
    Code.NO_SUCH_PROFILE: "There is no such browser profile.",
    Code.NOT_LOGGED_IN: "The browser profile is logged out.",
    Code.CHALLENGE: "The site asks for a person, by a captcha or the like: open the session with a window.",
    Code.LOGIN_UNCERTAIN: "Nobody can tell whether the profile is logged in; the reason stands beside it.",
    Code.NO_SUCH_SESSION: "There is no such session, or none is open.",
    Code.NO_SUCH_TOKEN: "There is no such token.",
    Code.SESSION_BUSY: "The session is in a state in which it cannot take this order.",
    Code.SESSION_LIMIT: "As many sessions are open as are allowed.",
    Code.SESSION_TIMEOUT: "The session was not ready in time.",
    Code.USER_DATA_LOCKED: "Another program uses the browser profile.",
    Code.PROFILE_CHANGED: "The browser profile was changed meanwhile.",
    Code.KEYRING_UNREACHABLE: "The key of the profile's cookies lies in a keyring that cannot be asked.",
    Code.NO_BROWSER: "No browser, or no driver, was found.",
    Code.NO_DISPLAY: "There is no screen to open a window on.",
    Code.DRIVER_MISMATCH: "Browser and driver are of different versions.",
    Code.BROWSER_FAILED: "The browser did not start, or died.",
    Code.DISK_FULL: "There is too little room on the disk.",
    Code.MEDIA_MISSING: "There is no such file.",
    Code.MEDIA_OUTSIDE_ROOTS: "The file or address lies outside of what the settings allow.",
    Code.MEDIA_REJECTED: "The file is not what the platform takes; `problems` says why and how to mend it.",
    Code.UPLOAD_CONFLICT: "HTTP only: the upload goes on at another place than it stopped, or is under way already.",
    Code.TOO_LATE: "What was to be stopped or changed has happened already.",
    Code.ALREADY_FINAL: "It is over and stays as it is.",
    Code.ALREADY_POSTED: "The task is being posted, or was.",
    Code.SHUTTING_DOWN: "tokd is stopping; send it again with the same `id`.",
    Code.SAFE_MODE: "tokd is in safe mode and takes no orders; the message says why, and what a person is to do.",
    Code.INTERNAL: "A fault of tokd; its log says more.",
}
WORDS_MAX = 6  # an enumeration of more words has a place of its own
Schemas = dict[str, Schema]
_ANCHORS = {"Code": "error-codes", "Event": "events"}
_HEAD = """\
# tokd over MQTT

Made by `make docs` from the program itself; do not edit it by hand. The same as a document for machines:
`tokd describe --asyncapi`, `GET /asyncapi.json`, or the verb `system/describe` with `{"asyncapi": true}` (some 200 kB:
the broker must take packets of that size); its SHA-256 stands in the retained `info`.

## In short

Send a command, QoS 1, **not retained**, and listen for its answer:

```
topic    tokd/v1/main/cmd/me/post/schedule
payload  {"id": "n8n-8841-1", "args": {"account": "shop", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "now"}}

topic    tokd/v1/main/reply/me/post/schedule
payload  {"id": "n8n-8841-1", "command": "post.schedule", "status": "done", "final": true, "result": {…}, …}
```

`tokd` is the prefix (`mqtt.prefix`), `main` the node (`daemon.node`), `me` your own name: with ACLs your user name at
the broker. MQTT 5 clients may give a response topic below `reply/me/` and correlation data, which comes back byte for
byte. What takes long is answered twice: `accepted` with `final: false`, then the result. Send a command again with the
same `id` and body as often as you like: it is carried out once, and answered each time with `replayed: true`.
"""
_ENVELOPE = {
    "id": "Your own name for this order; needed where the table of verbs says so.",
    "args": "The verb's arguments.",
    "expires_at": "Too late after this: RFC 3339 with an offset. Over MQTT 5 the message expiry, too.",
    "ttl_s": "The same in seconds from its arrival.",
    "dry_run": "Check everything, change nothing.",
    "reply_to": "Where to answer, below `reply/<you>/`; for clients without MQTT 5.",
}
_CLEARED_WHEN = {asyncapi.state_schema(path): when for path, when in CLEARED.items()}
_EVENTS = """\
CloudEvents 1.0 in structured JSON on `event/<kind>`, not retained. `sequence` has no holes, and `events/replay` returns
what you missed. `type` begins with `dev.tokd.`.
"""


def page() -> str:
    """Return the manual as Markdown. Pure."""
    document = json.loads(asyncapi.text())
    schemas: Schemas = document["components"]["schemas"]
    fields = schemas["Envelope"]["properties"]
    parts = [
        _HEAD,
        "## Topics\n",
        _table(("topic", "who", "what", "retained"), _topics(document)),
        f"A command has at most {MAX_BYTES} bytes, {MAX_DEPTH} levels and no unknown field:\n",
        _table(
            ("field", "type", "meaning"),
            ((f"`{name}`", _type(fields[name], schemas), told) for name, told in _ENVELOPE.items()),
        ),
        "A reply:\n",
        _fields(schemas["Reply"], schemas),
        "## Verbs\n",
        _table(("verb", "id", "what it does"), (_verb_row(verb) for verb in VERBS.values() if not verb.is_local)),
        "These carry secrets and go through the control socket only (`tokd send`): "
        + ", ".join(f"`{verb.name}`" for verb in VERBS.values() if verb.is_local) + ".\n",
        *(_verb(verb, schemas) for verb in VERBS.values() if not verb.is_local),
        "## Events\n",
        _EVENTS,
        _table(("event", "data"), (_event_row(kind, schemas) for kind in EventType)),
        "## States\n",
        "Retained JSON, one message for each thing.\n",
        _table(("topic", "payload"), _states(document)),
        "## Error codes\n",
        "The closed list of `error.code`. With `retryable: true` send it again, with the same id.\n",
        _table(("code", "meaning"), ((f"`{code.value}`", MEANINGS[code]) for code in Code)),
        "## Shapes\n",
        "Fields that are not always there are marked with `?`.\n",
        *(_shape(name, schemas) for name in _shown(schemas)),
    ]  # fmt: skip
    return "\n".join(parts).rstrip() + "\n"


def summary(model: type[BaseModel]) -> str:
    """Return what a verb does, in a sentence or two."""
    return " ".join((model.__doc__ or "").split())


def plain_fields(model: type[BaseModel]) -> list[tuple[str, str, str]]:
    """Return name, type and default of a verb's arguments, for a terminal."""
    _, schemas = collect({"args": model})
    schema = schemas[model.__name__]
    needed = schema.get("required", ())
    return [
        (name, _type(field, schemas).replace("`", ""), "needed" if name in needed else _default(field).strip("`"))
        for name, field in schema.get("properties", {}).items()
    ]  # fmt: skip


def _topics(document: dict[str, Any]) -> Iterable[Sequence[str]]:
    root = "`{prefix}/v1/{node}/…`"
    yield f"{root[:-2]}cmd/{{actor}}/<verb>`", "you", "a command", "never"
    yield f"{root[:-2]}reply/{{actor}}/<verb>`", "tokd", "its answer, where you named no other topic", ""
    for name, channel in document["channels"].items():
        if not name.startswith(("command.", "reply.", asyncapi.REPLIES)):
            (operation,) = [found for found in document["operations"].values() if _channel_of(found) == name]
            retained = operation["bindings"]["$ref"].endswith("/retained")
            yield f"`{channel['address']}`", "tokd", operation["summary"], "yes" if retained else ""


def _channel_of(operation: dict[str, Any]) -> str:
    return str(operation["channel"]["$ref"]).rpartition("/")[2]


def _states(document: dict[str, Any]) -> Iterable[Sequence[str]]:
    for name, channel in document["channels"].items():
        if name.startswith(("state.", "alert")) or name == "info":
            schema = document["components"]["schemas"][name]
            cleared = f"; removed (empty) {_CLEARED_WHEN[name]}" if name in _CLEARED_WHEN else ""
            yield f"`{channel['address']}`", _type(schema, document["components"]["schemas"]) + cleared


def _verb_row(verb: Verb) -> Sequence[str]:
    anchor = verb.name.replace("/", "")
    return f"[`{verb.name}`](#{anchor})", "needed" if verb.needs_id else "", summary(verb.model)


def _verb(verb: Verb, schemas: Schemas) -> str:
    args = schemas[verb.model.__name__]
    told = _fields(args, schemas) if args.get("properties") else "No arguments.\n"
    result, _ = collect({"result": RESULTS[verb.name]})
    return (
        f"### {verb.name}\n\n{summary(verb.model)}\n\n{told}\nResult: {_type(result['result'], schemas)}.\n"
    )


def _event_row(kind: EventType, schemas: Schemas) -> Sequence[str]:
    data = schemas[asyncapi.event_schema(kind)]["allOf"][1]["properties"]["data"]
    return f"`{kind.value}`", _type(data, schemas)


def _shown(schemas: Schemas) -> list[str]:
    """Return the objects that the tables above name; arguments of verbs stand with their verbs."""
    args = {verb.model.__name__ for verb in VERBS.values()}
    apart = {"Envelope", "Reply", "CommandProperties", "ReplyProperties"}
    return [
        name
        for name, schema in schemas.items()
        if name not in args | apart | _ANCHORS.keys()
        and ("properties" in schema or len(schema.get("enum", ())) > WORDS_MAX)
    ]


def _shape(name: str, schemas: Schemas) -> str:
    schema = schemas[name]
    told = _fields(schema, schemas) if "properties" in schema else f"{_type(schema, schemas)}\n"
    return f"### {name}\n\n{' '.join(schema.get('description', '').split())}\n\n{told}"


def _fields(schema: Schema, schemas: Schemas) -> str:
    needed = schema.get("required", ())
    has_defaults = any("default" in field for field in schema["properties"].values())
    rows = []
    for name, field in schema["properties"].items():
        mark = "" if name in needed or "default" in field else "?"
        told = [f"`{name}`{mark}", _type(field, schemas) + _also(field)]
        rows.append([*told, "needed" if name in needed else _default(field)] if has_defaults else told)
    return _table(("field", "type", "default") if has_defaults else ("field", "type"), rows)


def _also(field: Schema) -> str:
    return f" ({field['description'].rstrip('.').lower()})" if "description" in field else ""


def _default(field: Schema) -> str:
    value = field.get("default")
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _type(schema: Schema, schemas: Schemas) -> str:
    """Return a schema in few words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        is_short = len(schemas[name].get("enum", range(WORDS_MAX + 1))) <= WORDS_MAX
        return _type(schemas[name], schemas) if is_short else f"[{name}](#{_ANCHORS.get(name, name.lower())})"
    if "allOf" in schema and "$ref" in schema["allOf"][0]:
        return _type(schema["allOf"][0], schemas)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(part, schemas) for part in choices))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}), schemas)}"
    if kind == "object" and isinstance(inner := schema.get("additionalProperties"), dict):
        return f"object of {_type(inner, schemas)}"
    return str({"date-time": "time", "password": "secret"}.get(schema.get("format", ""), kind)) + _range(
        schema
    )


def _range(schema: Schema) -> str:
    high = schema.get("maximum")
    if high is not None:
        return f" {schema.get('minimum', 'above 0')} to {high}"
    return f" up to {schema['maxLength']} letters" if "maxLength" in schema else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    bar = "\\|"  # a bar of a text would end its cell
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', bar) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"
