"""The examples as data, and messages of tokd to try them on: each is held to the AsyncAPI document first."""

import json
from pathlib import Path
from typing import Any

from daemon.domain import replies
from daemon.domain.events import Event, EventType, as_cloudevent
from tests.conformity import document, event_faults, reply_faults
from tests.fakes.clock import START

FOLDER = Path(__file__).resolve().parents[1] / "examples"
LINKED_AGAIN = "TikTok account demo must be linked again: the token is dead"
LOGGED_OUT = "browser profile master is logged out"


def flow() -> list[dict[str, Any]]:
    """Return the nodes of the Node-RED flow."""
    found: list[dict[str, Any]] = json.loads((FOLDER / "node-red" / "flow.json").read_text())
    return found


def workflow() -> dict[str, Any]:
    """Return the n8n workflow."""
    found: dict[str, Any] = json.loads((FOLDER / "n8n" / "workflow.json").read_text())
    return found


def named(nodes: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the one node of this name."""
    (found,) = [node for node in nodes if node.get("name") == name]
    return found


def channels_of(topic: str) -> set[str]:
    """Return the channels of the document that an MQTT filter hears, with the prefix `tokd` and the node `main`."""
    return {
        name
        for name, channel in document()["channels"].items()
        if channel["address"] is not None and _hears(topic, _filled(channel["address"]))
    }


def _filled(address: str) -> list[str]:
    return address.replace("{prefix}", "tokd").replace("{node}", "main").split("/")


def _hears(topic: str, address: list[str]) -> bool:
    wanted = topic.split("/")
    if wanted[-1] == "#":
        wanted, address = wanted[:-1], address[: len(wanted) - 1]
    same = (
        mine in {"+", level} or level.startswith("{") for mine, level in zip(wanted, address, strict=False)
    )
    return len(wanted) == len(address) and all(same)


def reply(status: str, **body: Any) -> dict[str, Any]:
    """Return an answer to post/schedule."""
    found = replies.build(
        "x-1", "post/schedule", {"status": status, **body}, node="main", boot="b1", now=START
    )
    assert reply_faults(found) == []
    return found


DONE = {"post": "p_1", "state": "scheduled", "account": "demo", "at": "2040-01-01T08:00:00.000Z"}
REPLIES = {
    None: reply("accepted"),
    "post p_1 is scheduled for 2040-01-01T08:00:00.000Z": reply("done", result=DONE),
    "refused: there is no such file (media_missing)": reply(
        "rejected", error={"code": "media_missing", "message": "there is no such file", "retryable": False}
    ),
}  # fmt: skip


def event(kind: EventType, /, **data: Any) -> dict[str, Any]:
    """Return an event."""
    found = as_cloudevent(Event(kind, "x/1", START, data), "main", 1)
    assert event_faults(found) == []
    return found


def events() -> list[tuple[str | None, dict[str, Any]]]:
    """Return events of accounts and sessions, each with the text that a person is to get."""
    account = {"account": "demo", "enabled": True}
    session = {"session": "0000000000000001", "profile": "master", "kind": "tiktok", "command_id": "c-1"}
    seen = {"method": "info", "evidence": ["info: no user"], "ms": 900}
    return [
        (LINKED_AGAIN, event(EventType.ACCOUNT_NEEDS_LOGIN, login="needs_login", detail="the token is dead", **account)),
        (LOGGED_OUT, event(EventType.SESSION_LOGIN_STATE, state="logged_out", **session, **seen)),
        (None, event(EventType.ACCOUNT_LINKED, login="ok", **account)),
        (None, event(EventType.SESSION_LOGIN_STATE, state="logged_in", **session, **seen)),
        (None, event(EventType.SESSION_LOGIN_STATE, state="uncertain", reason="slow", **session, **seen)),
        (None, event(EventType.SESSION_OPENED, ends_at="2040-01-01T08:00:00.000Z", **session)),
    ]  # fmt: skip
