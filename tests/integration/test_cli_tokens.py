"""`tokd token` against a real control server: what is sent, what is printed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemon.cli.app import app
from tests.integration.control_stage import Stage, folder, stage

__all__ = ["folder", "stage"]

TOKEN = {
    "token": "k_0000000000000001", "user": "ann", "issued_at": "2026-12-01T09:00:00.000Z",
    "expires_at": "2027-12-01T09:00:00.000Z", "valid": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def tokd(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["--set", f"daemon.state_dir={folder}", *words], prog_name="tokd")


def answers(stage: Stage, result: dict[str, Any]) -> None:
    stage.bus.reply_with = lambda _request: [{"status": "done", "result": result}]


def test_an_issued_token_is_alone_on_standard_output(stage: Stage, folder: Path) -> None:
    answers(stage, TOKEN | {"text": "a.b.c"})

    done = tokd(folder, "token", "issue", "--user", "ann", "--days", "7")

    assert (done.exit_code, done.stdout) == (0, "a.b.c\n")
    assert "k_0000000000000001" in done.stderr
    (request,) = stage.bus.requests
    assert (request.verb, request.command.model_dump()) == ("token/issue", {"user": "ann", "days": 7})


def test_a_list_of_tokens_is_printed(stage: Stage, folder: Path) -> None:
    answers(stage, {"tokens": [TOKEN]})

    done = tokd(folder, "token", "list")

    assert done.stdout.split("\t")[:3] == ["k_0000000000000001", "ann", "yes"]


def test_a_token_is_taken_back(stage: Stage, folder: Path) -> None:
    answers(stage, TOKEN | {"valid": False})

    done = tokd(folder, "token", "revoke", "k_0000000000000001", "--json")

    assert json.loads(done.stdout)["result"]["valid"] is False
    assert stage.bus.requests[0].verb == "token/revoke"


@pytest.mark.parametrize("words", [("issue",), ("issue", "--user", "ann", "--days", "0"), ("revoke",)])
def test_half_an_order_is_wrong_usage(stage: Stage, folder: Path, words: tuple[str, ...]) -> None:
    assert tokd(folder, "token", *words).exit_code == 2
    assert stage.bus.requests == []
