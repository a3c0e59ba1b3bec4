"""The n8n workflow against n8n's own node types and expression engine; n8n itself is not started."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformity import faults
from tests.examples import REPLIES, events, workflow

FOLDER = Path(__file__).parent
PACKAGE = FOLDER / "node_modules" / "n8n-nodes-base-2.41.2.tgz"
SHA256 = "d63bed213ca3595a018496d97913397c2f5c9ca55a2981435b19f80ddeaa98ca"


@pytest.fixture(scope="module")
def types() -> Any:
    """Return the descriptions of n8n's nodes, from its package."""
    assert hashlib.sha256(PACKAGE.read_bytes()).hexdigest() == SHA256
    with tarfile.open(PACKAGE) as package:
        found = package.extractfile("package/dist/types/nodes.json")
        assert found is not None
        wanted = {node["type"].rpartition(".")[2] for node in workflow()["nodes"]} | {"code"}
        return [node for node in json.load(found) if node["name"] in wanted]


def check(types: Any, source: dict[str, Any], items: list[dict[str, Any]]) -> dict[str, Any]:
    node = shutil.which("node")
    assert node is not None, "apt install nodejs"
    done = subprocess.run(
        [node, str(FOLDER / "check_n8n.mjs")], text=True, capture_output=True, timeout=60, check=False,
        input=json.dumps({"workflow": source, "types": types, "items": items}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def heard(messages: Any) -> list[dict[str, Any]]:
    """Return messages as an MQTT Trigger with "JSON Parse Body" hands them on."""
    return [{"topic": "tokd/v1/main/x", "message": message} for message in messages]


def test_n8n_knows_every_node_and_every_parameter(types: Any) -> None:
    assert check(types, workflow(), [])["issues"] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda node: node.update(type="n8n-nodes-base.mqttt"),
        lambda node: node.update(typeVersion=9),
        lambda node: node["parameters"].update(topik="x"),
        lambda node: node["parameters"]["options"].update(quality=1),
        lambda node: node["parameters"].update(topic=""),
        lambda node: node.pop("credentials"),
    ],
)
def test_a_wrong_node_is_found_out(types: Any, spoil: Callable[[dict[str, Any]], object]) -> None:
    source = workflow()
    spoil(next(node for node in source["nodes"] if node["name"] == "To tokd"))

    assert check(types, source, [])["issues"]


def test_the_order_is_as_the_document_says(types: Any) -> None:
    (order,) = check(types, workflow(), [])["outcomes"]["Post a file"]

    assert order["id"] == "n8n-231"
    assert faults("command.post.schedule", order) == []


def test_an_answer_becomes_a_sentence(types: Any) -> None:
    said = check(types, workflow(), heard(REPLIES.values()))["outcomes"]["From tokd"]

    assert [one and one["text"] for one in said] == list(REPLIES)


def test_a_lost_login_becomes_a_sentence_and_nothing_else_does(types: Any) -> None:
    said = check(types, workflow(), heard(event for _, event in events()))["outcomes"]["Logins"]

    assert [one and one["text"] for one in said] == [text for text, _ in events()]
