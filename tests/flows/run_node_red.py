"""The Node-RED flow in Node-RED itself, against a real broker and a real daemon. Run by `make test-flows`."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.brokers import free_port
from tests.daemons import make_clip
from tests.e2e.stage import Stage, staged
from tests.examples import flow, named
from tests.waiting import wait_until

RED = Path(__file__).parent / "node_modules" / "node-red" / "red.js"
SETTINGS = """
module.exports = {{
  uiHost: "127.0.0.1", uiPort: {port}, disableEditor: true, flowFile: "flow.json", credentialSecret: false,
  telemetry: {{ enabled: false, updateNotification: false }},
  externalModules: {{ palette: {{ allowInstall: false }}, modules: {{ allowInstall: false }} }},
  logging: {{ console: {{ level: "info" }} }},
}};
"""


@dataclass
class NodeRed:
    """Node-RED with the flow, and what it has logged."""

    port: int
    log: Path

    def said(self, pattern: str) -> re.Match[str] | None:
        return re.search(pattern, self.log.read_text())

    def wait(self, pattern: str) -> re.Match[str]:
        found: re.Match[str] = wait_until(
            lambda: self.said(pattern), 60, what=f"{pattern} in {self.log.read_text()}"
        )
        return found

    def press(self, name: str) -> None:
        """Press the button of an inject node, as the editor does."""
        address = f"http://127.0.0.1:{self.port}/inject/{named(flow(), name)['id']}"
        with urllib.request.urlopen(
            urllib.request.Request(address, b"", method="POST"), timeout=10
        ) as answer:
            assert answer.status == 200


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("flows"), with_broker=True) as found:
        make_clip(found.daemon.media / "clip.mp4")
        found.account("demo")
        yield found


@pytest.fixture(scope="module")
def red(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeRed]:
    node = shutil.which("node")
    assert node is not None, "apt install nodejs"
    assert RED.is_file(), "make test-flows installs Node-RED"
    folder, port = tmp_path_factory.mktemp("red"), free_port()
    nodes = flow()
    named(nodes, "tokd broker")["port"] = str(stage.broker.port)
    (folder / "flow.json").write_text(json.dumps(nodes))
    (folder / "settings.js").write_text(SETTINGS.format(port=port))
    log = folder / "red.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [node, str(RED), "--userDir", str(folder), "--settings", str(folder / "settings.js")],
            cwd=folder, env=os.environ | {"HOME": str(folder)}, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        found = NodeRed(port, log)
        found.wait("Connected to broker")
        yield found
    finally:
        process.terminate()
        process.wait(20)


def test_the_button_orders_a_post_and_the_answer_comes_back(stage: Stage, red: NodeRed) -> None:
    red.press("Post a file at a time")
    post = red.wait(r"\[debug:answer\]\s+'?post (p_\w+) is scheduled for 2040-01-01T08:00:00.000Z")[1]

    found = stage.daemon.call("post/status", {"post": post})["result"]
    assert (found["state"], found["consent"]["actor"], found["title"]) == ("scheduled", "nodered", "Hello")


def test_a_refusal_comes_back_with_its_code(stage: Stage, red: NodeRed) -> None:
    (stage.daemon.media / "clip.mp4").rename(stage.daemon.media / "away.mp4")
    try:
        red.press("Post a file at a time")
        red.wait(r"\[debug:answer\]\s+'?refused: .*\(media_missing\)")
    finally:
        (stage.daemon.media / "away.mp4").rename(stage.daemon.media / "clip.mp4")


def test_a_lost_login_is_told(stage: Stage, red: NodeRed) -> None:
    user = stage.account("lost")
    stage.fault(user, "creator_info", "error", code="access_token_invalid", times=2)
    stage.schedule(user)

    red.wait(rf"\[debug:notify\]\s+'?TikTok account {user} must be linked again: ")


def test_the_flow_logs_no_error(red: NodeRed) -> None:
    assert not red.said(r"\[error\]")
