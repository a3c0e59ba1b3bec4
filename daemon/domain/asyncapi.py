"""The AsyncAPI 3.0 document of what tokd speaks over MQTT, made from the verb table, the event types and the shapes.

The same for every installation of a version: prefix, node and actor are parameters. `fingerprint` is its name.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from daemon.domain.commands import VERBS, Verb
from daemon.domain.events import EventType, as_json
from daemon.domain.ids import NAME
from daemon.domain.schemas import REFERENCE, Schema, collect
from daemon.domain.shapes.common import CloudEvent, Envelope, Reply
from daemon.domain.shapes.events import DATA
from daemon.domain.shapes.results import RESULTS
from daemon.domain.shapes.views import CLEARED, STATES, InfoView
from daemon.domain.topics import PROTOCOL, Topics

TOPICS = Topics("{prefix}", "{node}")
JSON = "application/json"
CLOUDEVENT = "application/cloudevents+json"
TEXT = "text/plain"
_ACTOR = "{actor}"
_PARAMETER = re.compile(r"\{(\w+)\}")
REPLIES = "replies"  # the channel whose address the caller gives
_DESCRIPTION = (
    "tokd posts to TikTok at set times and opens browser sessions. Send a command to `cmd/{actor}/...` (QoS 1, never "
    "retained); every message there is answered, an unknown verb and broken JSON too (schema `Refusal`). The answer "
    "comes to the MQTT 5 response topic, to `reply_to` in the payload, or to `reply/{actor}/...`; both must lie below "
    "`reply/{actor}/`. A command with the same id and body is carried out once, however often it is sent. MQTT 3.1.1 "
    "has no properties: there `id`, `reply_to` and `ttl_s` in the payload do the same."
)
_ALERTS_OF_ITS_OWN = frozenset({"alert/safe_mode"})  # the others are of an account
_PARAMETERS = {
    "prefix": ("Where tokd's topics begin (mqtt.prefix).", "tokd"),
    "node": ("The name of this daemon (daemon.node).", "main"),
    "actor": (f"Who sends the command; bound to the broker's user by its ACL. Matches {NAME.pattern}.", None),
    "account": ("The name of an account.", None),
    "post": ("The id of a post.", None),
    "profile": ("The name of a browser profile.", None),
    "session": ("The id of a session.", None),
}


@cache
def text() -> str:
    """Return the document as compact JSON: the same bytes over every wire."""
    return as_json(build())


@cache
def fingerprint() -> str:
    """Return the document's SHA-256 in hexadecimal."""
    return hashlib.sha256(text().encode()).hexdigest()


def build(table: Iterable[Verb] = VERBS.values()) -> dict[str, Any]:
    """Return the document. Pure: the same tables give the same document. Takes about a tenth of a second."""
    verbs = [verb for verb in table if not verb.is_local]
    found, schemas = collect(
        {f"args {verb.name}": verb.model for verb in verbs}
        | {f"result {verb.name}": RESULTS[verb.name] for verb in verbs}
        | {f"data {kind.value}": DATA[kind] for kind in EventType}
        | {f"state {path}": shape for path, shape in STATES.items()}
        | {"envelope": Envelope, "reply": Reply, "event": CloudEvent, "info": InfoView}
    )
    _finish_schemas(schemas)
    document = _Document(schemas)
    for verb in verbs:
        document.add_verb(verb, found[f"args {verb.name}"], found[f"result {verb.name}"])
    document.add_replies(verbs)
    for kind in EventType:
        document.add_event(kind, found[f"data {kind.value}"])
    for path in STATES:
        document.add_state(path, found[f"state {path}"])
    document.add_info(found["info"])
    document.add_availability()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tokd",
            "version": PROTOCOL,
            "description": _DESCRIPTION,
            "license": {"name": "GPL-3.0-or-later", "url": "https://www.gnu.org/licenses/gpl-3.0.html"},
        },
        "defaultContentType": JSON,
        "servers": {"broker": _server()},
        "channels": document.channels,
        "operations": document.operations,
        "components": {
            "schemas": dict(sorted(document.schemas.items())),
            "messages": document.messages,
            "parameters": {name: _parameter(*told) for name, told in _PARAMETERS.items()},
            "correlationIds": _CORRELATION_IDS,
            "operationBindings": _OPERATION_BINDINGS,
            "messageBindings": _MESSAGE_BINDINGS,
            "securitySchemes": {"password": {"type": "userPassword", "description": "The broker's own users."}},
        },
    }  # fmt: skip


def _finish_schemas(schemas: dict[str, Schema]) -> None:
    """Say what Python's types cannot: what stands with which status, and what an event in a list is."""
    neither: Schema = {"not": {"anyOf": [{"required": ["result"]}, {"required": ["error"]}]}}
    schemas["Reply"]["oneOf"] = [
        {"properties": {"status": {"const": "accepted"}, "final": {"const": False}}} | neither,
        {"properties": {"status": {"const": "done"}, "final": {"const": True}}, "required": ["result"],
         "not": {"required": ["error"]}},
        {"properties": {"status": {"enum": ["rejected", "failed", "expired"]}, "final": {"const": True}},
         "required": ["error"], "not": {"required": ["result"]}},
    ]  # fmt: skip
    schemas["Refusal"] = {
        "description": "The answer to what is no command at all.",
        **_both("Reply", status={"const": "rejected"}),
    }
    schemas["Event"] = {
        "description": "Any of the events.",
        "oneOf": [_ref(event_schema(kind)) for kind in EventType],
    }
    if "EventPage" in schemas:
        schemas["EventPage"]["properties"]["events"]["items"] = _ref("Event")


class _Document:
    """The parts of the document as they grow."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self.schemas = schemas
        self.messages: dict[str, Any] = {}
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}

    def add_verb(self, verb: Verb, args: Schema, result: Schema) -> None:
        """Add a command, its reply, and where both go."""
        name, summary = verb.name.replace("/", "."), (verb.model.__doc__ or "").strip()
        self.schemas[f"command.{name}"] = _command(verb, args, needs_args=self._has_required(args))
        self.schemas[f"reply.{name}"] = _both("Reply", command={"const": name}, result=result)
        self._message(f"command.{name}", summary, "command", headers="CommandProperties", matched_by="data")
        self._message(
            f"reply.{name}",
            f"The answer to {verb.name}.",
            "reply",
            headers="ReplyProperties",
            matched_by="data",
        )
        command = TOPICS.command(_ACTOR, verb.name)
        self._channel(f"command.{name}", command, [f"command.{name}"])
        self._channel(f"reply.{name}", TOPICS.default_reply(command), [f"reply.{name}"])
        needs = ["Needs an id of your own."] if verb.needs_id else []
        needs += ["Stored before it is acknowledged."] if verb.is_durable else []
        self.operations[name] = {
            "action": "receive",
            "channel": _channel_ref(f"command.{name}"),
            "summary": summary,
            **({"description": " ".join(needs)} if needs else {}),
            "bindings": _component("operationBindings", "command"),
            "messages": [_message_ref(f"command.{name}", f"command.{name}")],
            "reply": {
                "address": {
                    "location": "$message.header#/responseTopic",
                    "description": f"Below reply/{_ACTOR}/; without it the reply comes to its own channel.",
                },
                "channel": _channel_ref(REPLIES),
                "messages": [_message_ref(REPLIES, f"reply.{name}"), _message_ref(REPLIES, "refusal")],
            },
        }  # fmt: skip
        self._send(
            f"{name}.reply", f"reply.{name}", f"Answer {verb.name} where the caller gave no topic.", "message"
        )

    def add_replies(self, verbs: list[Verb]) -> None:
        """Add the channel of the callers' own response topics."""
        self.schemas["CommandProperties"] = _COMMAND_PROPERTIES
        self.schemas["ReplyProperties"] = _REPLY_PROPERTIES
        self._message("refusal", "What was sent is no command.", "reply", schema="Refusal",
                      headers="ReplyProperties", matched_by="data")  # fmt: skip
        names = [f"reply.{verb.name.replace('/', '.')}" for verb in verbs]
        self._channel(REPLIES, None, [*names, "refusal"])

    def add_event(self, kind: EventType, data: Schema) -> None:
        """Add an event to the channel of its kind."""
        name, channel = event_schema(kind), kind.value.partition(".")[0]
        self.schemas[name] = _both("CloudEvent", type={"const": f"dev.tokd.{kind.value}"}, data=data)
        self._message(name, f"{kind.value} has happened.", "event", CLOUDEVENT,
                      matched_by="order" if channel in {"post", "media", "session"} else None)  # fmt: skip
        key = f"event.{channel}"
        if key not in self.channels:
            self._channel(key, TOPICS.event(channel), [])
            self._send(key, key, f"Events of kind {channel}.", "message")
        self.channels[key]["messages"][name] = _component("messages", name)
        self.operations[key]["messages"].append(_message_ref(key, name))

    def add_state(self, path: str, shape: Schema) -> None:
        """Add a retained state."""
        name = state_schema(path)
        self.schemas[name] = shape
        self._message(name, "How it stands now.", "state")
        names = [name]
        if path in CLEARED:
            self.messages.setdefault("cleared", {
                "name": "cleared", "summary": "It is over: the retained state is removed.", "contentType": TEXT,
                "payload": {"type": "string", "maxLength": 0},
            })  # fmt: skip
            names.append("cleared")
        self._channel(name, TOPICS.state(path), names)
        self._send(name, name, (STATES[path].__doc__ or "").strip(), "retained")
        if path in CLEARED:
            self.operations[name]["description"] = f"Removed by an empty payload {CLEARED[path]}."

    def add_info(self, shape: Schema) -> None:
        """Add what the daemon says of itself."""
        self.schemas["info"] = shape
        self._message("info", "What this daemon is.", "state")
        self._channel("info", TOPICS.info, ["info"])
        self._send("info", "info", "Say what this daemon is, at each connect.", "retained")

    def add_availability(self) -> None:
        """Add the two words of the last will and its opposite."""
        for word in ("online", "offline"):
            self.messages[word] = {
                "name": word, "summary": f"The daemon is {word}.", "contentType": TEXT,
                "payload": {"type": "string", "const": word},
            }  # fmt: skip
        self._channel("availability", TOPICS.availability, ["online", "offline"])
        self._send("availability", "availability", "Say online after each connect, offline at the end or by the will.",
                   "retained")  # fmt: skip

    def _has_required(self, schema: Schema) -> bool:
        return bool(self.schemas[schema["$ref"].removeprefix(REFERENCE)].get("required"))

    def _message(
        self, name: str, summary: str, kind: str, content: str = JSON, *, schema: str = "", headers: str = "",
        matched_by: str | None = None,
    ) -> None:  # fmt: skip
        self.messages[name] = {
            "name": name,
            "summary": summary,
            "contentType": content,
            **({"headers": _ref(headers)} if headers else {}),
            "payload": _ref(schema or name),
            **({"correlationId": _component("correlationIds", matched_by)} if matched_by else {}),
            "bindings": _component("messageBindings", kind),
        }

    def _channel(self, name: str, address: str | None, messages: list[str]) -> None:
        names = _PARAMETER.findall(address or "")
        self.channels[name] = {
            "address": address,
            **({"parameters": {found: _component("parameters", found) for found in names}} if names else {}),
            "messages": {message: _component("messages", message) for message in messages},
        }

    def _send(self, name: str, channel: str, summary: str, binding: str) -> None:
        self.operations[name] = {
            "action": "send",
            "channel": _channel_ref(channel),
            "summary": summary,
            "bindings": _component("operationBindings", binding),
            "messages": [_message_ref(channel, message) for message in self.channels[channel]["messages"]],
        }


def event_schema(kind: EventType) -> str:
    """Return the name of an event's schema and message."""
    return f"event.{kind.value}"


def state_schema(path: str) -> str:
    """Return the name of a retained state's schema, message and channel; alerts stand beside the states."""
    kind, _, rest = path.partition("/")
    if kind == "alert":
        return f"alert.{rest}" if path in _ALERTS_OF_ITS_OWN else kind
    return f"state.{kind}"


def _command(verb: Verb, args: Schema, *, needs_args: bool) -> Schema:
    found = _both("Envelope", args=args)
    if needs_args:
        found["allOf"][1]["required"] = ["args"]
    if verb.needs_id:
        named = {"required": ["id"], "properties": {"id": {"type": "string"}}}
        dry = {"required": ["dry_run"], "properties": {"dry_run": {"const": True}}}
        found["allOf"].append({"anyOf": [named, dry]})
    return found


def _both(parent: str, **properties: Schema) -> Schema:
    return {"allOf": [_ref(parent), {"properties": properties}]}


def _ref(schema: str) -> Schema:
    return {"$ref": REFERENCE + schema}


def _component(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _channel_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{name}"}


def _message_ref(channel: str, message: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{channel}/messages/{message}"}


def _parameter(description: str, default: str | None) -> dict[str, str]:
    return {"description": description} | ({"default": default} if default else {})


def _server() -> dict[str, Any]:
    return {
        "host": "{host}:{port}",
        "protocol": "mqtt",
        "protocolVersion": "5.0",
        "description": "Any MQTT 5 or 3.1.1 broker. The bindings are the daemon's own connection, by default.",
        "variables": {
            "host": {"description": "mqtt.host", "default": "127.0.0.1"},
            "port": {"description": "mqtt.port", "default": "1883"},
        },
        "security": [_component("securitySchemes", "password")],
        "bindings": {
            "mqtt": {
                "cleanSession": False,
                "lastWill": {"topic": TOPICS.availability, "qos": 1, "message": "offline", "retain": True},
                "keepAlive": 30,
                "sessionExpiryInterval": 86400,
                "bindingVersion": "0.2.0",
            }
        },
    }


_CORRELATION_IDS = {
    "data": {
        "description": "MQTT 5 Correlation Data, returned byte for byte. On 3.1.1 the `id` in the payload.",
        "location": "$message.header#/correlationData",
    },
    "order": {
        "description": "The id of the order that this comes from.",
        "location": "$message.payload#/data/command_id",
    },
}
_CORRELATION_DATA = {"type": "string", "description": "MQTT 5 Correlation Data."}
_COMMAND_PROPERTIES: Schema = {
    "type": "object",
    "description": "The MQTT 5 properties that count.",
    "properties": {
        "responseTopic": {"type": "string", "description": "Where to answer, below reply/{actor}/.", "maxLength": 512},
        "correlationData": _CORRELATION_DATA,
        "messageExpiryInterval": {"type": "integer", "minimum": 0, "description": "Seconds; too late is `expired`."},
    },
}  # fmt: skip
_REPLY_PROPERTIES: Schema = {"type": "object", "properties": {"correlationData": _CORRELATION_DATA}}


def _operation_binding(*, is_retained: bool) -> dict[str, Any]:
    return {"mqtt": {"qos": 1, "retain": is_retained, "bindingVersion": "0.2.0"}}


def _message_binding(content: str, **more: Any) -> dict[str, Any]:
    return {
        "mqtt": {"payloadFormatIndicator": 1, "contentType": content, **more, "bindingVersion": "0.2.0"},
    }


_OPERATION_BINDINGS = {
    "command": _operation_binding(is_retained=False),
    "message": _operation_binding(is_retained=False),
    "retained": _operation_binding(is_retained=True),
}
_MESSAGE_BINDINGS = {
    "command": _message_binding(
        JSON, correlationData={"type": "string"}, responseTopic={"type": "string", "maxLength": 512}
    ),
    "reply": _message_binding(JSON, correlationData={"type": "string"}),
    "event": _message_binding(CLOUDEVENT),
    "state": _message_binding(JSON),
}
