"""Holds what comes out to the AsyncAPI document: every reply, event and state, down to the last key.

Core (tests/core.py) asks at its end, so each test of a handler is a test of the document as well.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema_rs

from daemon.domain import asyncapi
from daemon.domain.commands import VERBS
from daemon.domain.shapes.results import RESULTS
from daemon.domain.topics import Topics


@cache
def document() -> dict[str, Any]:
    """Return the document; do not change it."""
    return json.loads(asyncapi.text())


@cache
def validator(schema: str) -> Any:
    """Return what checks a value against a named schema of the document."""
    root = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [{"$ref": f"#/components/schemas/{schema}"}],
        "components": document()["components"],
    }
    return jsonschema_rs.Draft7Validator(root, validate_formats=True)


def faults(schema: str, value: object) -> list[str]:
    """Return what is wrong with a value; nothing where it is as the document says."""
    found = validator(schema)
    if found.is_valid(value):
        return []
    return [f"{schema}: {error.message[:300]} at {error.instance_path}" for error in found.iter_errors(value)]


def reply_faults(reply: dict[str, Any]) -> list[str]:
    """Return what is wrong with a reply. What goes through the socket only is no part of the document."""
    verb = VERBS.get(reply["command"].replace(".", "/", 1))
    if verb is None:
        return faults("Refusal", reply)
    if verb.is_local:
        return faults("Reply", reply) + (
            local_faults(verb.name, reply["result"]) if "result" in reply else []
        )
    return faults(f"reply.{reply['command']}", reply)


def local_faults(verb: str, result: object) -> list[str]:
    """Return what is wrong with the result of a verb that the document does not have."""
    found = _local_validator(verb)
    return [f"{verb}: {error.message[:300]}" for error in found.iter_errors(result)]


@cache
def _local_validator(verb: str) -> Any:
    from daemon.domain.schemas import collect

    found, named = collect({"result": RESULTS[verb]})
    root = {"$schema": "http://json-schema.org/draft-07/schema#", "allOf": [found["result"]]}
    return jsonschema_rs.Draft7Validator(root | {"components": {"schemas": named}}, validate_formats=True)


def event_faults(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with an event."""
    return faults(f"event.{event['type'].removeprefix('dev.tokd.')}", event)


def state_faults(address: str, payload: str) -> list[str]:
    """Return what is wrong with a retained state; `address` is what stands below `state/`, or `alert/…`."""
    name = asyncapi.state_schema(address)
    channel = document()["channels"][name]
    if not _fits(channel["address"], address):
        return [f"{name}: {address} is no place for it"]
    if payload:
        return faults(name, json.loads(payload))
    return [] if "cleared" in channel["messages"] else [f"{name}: is never cleared, but {address} was"]


def _fits(told: str, address: str) -> bool:
    topic = Topics("tokd", "main").state(address)
    told = told.replace("{prefix}", "tokd").replace("{node}", "main")
    return re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(told)), topic) is not None


def all_faults(
    replies: Iterable[dict[str, Any]], events: Iterable[dict[str, Any]], states: Iterable[tuple[str, str]]
) -> list[str]:
    """Return everything that is not as the document says, each once."""
    found = [fault for reply in replies for fault in reply_faults(reply)]
    found += [fault for event in events for fault in event_faults(event)]
    found += [fault for address, payload in states for fault in state_faults(address, payload)]
    return list(dict.fromkeys(found))
