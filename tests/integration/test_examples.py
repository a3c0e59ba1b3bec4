"""The examples keep to the AsyncAPI document: topics, orders, and what they make of real messages."""

import json
import re
from typing import Any

from tests.conformity import faults
from tests.examples import REPLIES, channels_of, events, flow, named, workflow
from tests.node_tools import run_node

COMMAND = "command.post.schedule"


def run_function(name: str, *messages: Any) -> list[dict[str, Any] | None]:
    """Run a function node of the flow on payloads."""
    func = named(flow(), name)["func"]
    done = run_node(
        "run_functions.mjs", text=json.dumps([{"func": func, "msg": {"payload": it}} for it in messages])
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any] | None] = json.loads(done.stdout)
    return found


# -- Node-RED ------------------------------------------------------------------------------------------------


def test_every_wire_of_the_flow_leads_to_a_node() -> None:
    ids = [node["id"] for node in flow()]

    assert len(ids) == len(set(ids))
    assert {wire for node in flow() for out in node.get("wires", ()) for wire in out} <= set(ids)
    assert {node["broker"] for node in flow() if node["type"].startswith("mqtt ")} <= set(ids)


def test_the_flow_listens_where_tokd_speaks() -> None:
    heard = [channels_of(node["topic"]) for node in flow() if node["type"] == "mqtt in"]

    assert "reply.post.schedule" in heard[0]
    assert heard[1:] == [{"event.account"}, {"event.session"}]


def test_the_flow_sends_an_order_as_the_document_says() -> None:
    (sent,) = run_function("order", json.loads(named(flow(), "Post a file at a time")["payload"]))
    out = named(flow(), "to tokd")

    assert sent is not None
    assert channels_of(sent["topic"]) == {COMMAND}
    assert faults(COMMAND, sent["payload"]) == []
    assert sent["correlationData"] == sent["payload"]["id"]
    assert sent["responseTopic"].startswith("tokd/v1/main/reply/nodered/")
    assert (out["qos"], out["retain"]) == ("1", "false")


def test_two_orders_of_the_flow_have_two_ids() -> None:
    first, second = run_function("order", {}, {})

    assert first
    assert second
    assert first["payload"]["id"] != second["payload"]["id"]


def test_the_flow_says_what_came_of_an_order() -> None:
    said = run_function("what came of it", *REPLIES.values())

    assert [one and one["payload"] for one in said] == list(REPLIES)


def test_the_flow_tells_of_a_lost_login_and_of_nothing_else() -> None:
    said = run_function("login lost?", *(event for _, event in events()))

    assert [one and one["payload"] for one in said] == [text for text, _ in events()]


# -- n8n -----------------------------------------------------------------------------------------------------


def parameters(name: str) -> dict[str, Any]:
    found: dict[str, Any] = named(workflow()["nodes"], name)["parameters"]
    return found


def test_every_connection_of_the_workflow_leads_to_a_node() -> None:
    names = {node["name"] for node in workflow()["nodes"]}
    links = [link for outs in workflow()["connections"].values() for out in outs["main"] for link in out]

    assert len(names) == len(workflow()["nodes"])
    assert set(workflow()["connections"]) | {link["node"] for link in links} == names


def test_the_workflow_listens_where_tokd_speaks() -> None:
    def heard(name: str) -> list[set[str]]:
        return [channels_of(topic.removesuffix(":1")) for topic in parameters(name)["topics"].split(",")]

    assert "reply.post.schedule" in heard("From tokd")[0]
    assert heard("Logins") == [{"event.account"}, {"event.session"}]


def test_the_workflow_sends_an_order_as_the_document_says() -> None:
    text = re.sub(r"{{.*?}}", "231", parameters("Order")["jsonOutput"].removeprefix("="))
    out = parameters("To tokd")

    assert faults(COMMAND, json.loads(text)) == []
    assert channels_of(out["topic"]) == {COMMAND}
    assert (out["sendInputData"], out["options"]) == (True, {"qos": 1, "retain": False})
