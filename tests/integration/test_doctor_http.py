"""The doctor's look at the port of HTTP."""

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli.app import app
from tests.brokers import free_port
from tests.integration.control_stage import Stage, folder, stage

__all__ = ["folder", "stage"]

HERE = ("--set", "tiktok.api_base=http://127.0.0.1:9")  # asks nobody outside


def http_of(folder: Path, *settings: str) -> tuple[str, str]:
    words = [word for setting in settings for word in ("--set", setting)]
    done = CliRunner().invoke(app, ["--set", f"daemon.state_dir={folder}", *HERE, *words, "doctor", "--json"])
    (found,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "http")
    return found["verdict"], found["text"]


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_no_port_is_no_mistake(folder: Path) -> None:
    assert http_of(folder)[0] == "ok"


def test_a_free_port_is_fine(folder: Path) -> None:
    assert http_of(folder, f"http.port={free_port()}")[0] == "ok"


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        verdict, detail = http_of(folder, f"http.port={port}")

    assert (verdict, f"127.0.0.1:{port}" in detail) == ("fail", True)


def test_a_daemon_that_serves_has_its_port_by_right(stage: Stage, folder: Path) -> None:
    parts = {"http": {"ok": True, "url": "http://127.0.0.1:8080"}}
    stage.bus.reply_with = lambda _request: [{"status": "done", "result": {"phase": "ready", "parts": parts}}]

    assert http_of(folder, "http.port=8080") == ("ok", "served at http://127.0.0.1:8080")
