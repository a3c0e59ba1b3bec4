"""`tokd account` against a real control server: linking, and what a person does with an account."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemon.cli.app import app
from daemon.cli.linking import parts_of
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.wire import Request
from tests.integration.control_stage import Stage, folder, stage
from tests.waiting import wait_until

__all__ = ["folder", "stage"]

URL = "https://platform.example/authorize?state=the-state"
BACK = "http://127.0.0.1:1/tiktok/callback?code=a%2Ab%21c&scopes=video.publish&state=the-state"


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def tokd(folder: Path, *words: str, **more: Any) -> Result:
    return CliRunner().invoke(app, ["--set", f"daemon.state_dir={folder}", *words], prog_name="tokd", **more)


def begun(expires_in_s: float = 600) -> dict[str, Any]:
    expires_at = (datetime.now(UTC) + timedelta(seconds=expires_in_s)).isoformat()
    return {
        "account": "shop", "auth_url": URL, "state": "the-state", "expires_at": expires_at,
        "redirect_uri": "http://127.0.0.1:1/tiktok/callback",
    }  # fmt: skip


def answers(stage: Stage, finished: dict[str, Any] | None = None, expires_in_s: float = 600) -> None:
    def reply(request: Request) -> list[dict[str, Any]]:
        match request.verb:
            case "events/replay":
                return [{"status": "done", "result": {"latest": len(stage.bus.events), "events": []}}]
            case "account/link":
                return [{"status": "done", "result": begun(expires_in_s)}]
            case _:
                return [finished or {"status": "done", "result": {}}]

    stage.bus.reply_with = reply


def linked_later(stage: Stage, folder: Path, kind: EventType, *words: str, **data: Any) -> Result:
    """Run `tokd account link`, and let this event come once the link was begun."""
    answers(stage)
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(tokd(folder, "account", "link", "shop", *words)))
    thread.start()
    wait_until(lambda: "account/link" in [request.verb for request in stage.bus.requests], 10)
    stage.bus.emit(EventType.ACCOUNT_LINKED, "account/other")
    stage.bus.emit(kind, "account/shop", account="shop", **data)
    thread.join(15)
    assert results, "the command does not end"
    return results[0]


def test_a_link_prints_its_address_and_waits_for_the_person(stage: Stage, folder: Path) -> None:
    done = linked_later(stage, folder, EventType.ACCOUNT_LINKED, warnings=["video.upload was not granted"])

    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [URL, "account shop is linked"]
    assert "waiting for account shop" in done.stderr
    assert "but: video.upload was not granted" in done.stderr


@pytest.mark.parametrize(("port", "is_told"), [("1", False), ("2", True)])
def test_an_address_where_tokd_does_not_listen_is_told(
    stage: Stage, folder: Path, port: str, *, is_told: bool
) -> None:
    done = linked_later(stage, folder, EventType.ACCOUNT_LINKED, "--set", f"http.port={port}")

    assert ("tokd does not listen" in done.stderr) is is_told


def test_a_link_that_comes_to_nothing_fails(stage: Stage, folder: Path) -> None:
    done = linked_later(
        stage, folder, EventType.ACCOUNT_LINK_FAILED, code="access_denied", message="the person did not agree"
    )

    assert (done.exit_code, "the person did not agree" in done.stderr) == (1, True)


def test_a_link_can_be_told_as_json(stage: Stage, folder: Path) -> None:
    done = linked_later(stage, folder, EventType.ACCOUNT_LINKED, "--json")

    begun_line, event = map(json.loads, done.stdout.splitlines())
    assert begun_line["result"]["auth_url"] == URL
    assert (event["type"], event["subject"]) == ("dev.tokd.account.linked", "account/shop")


def test_nobody_who_comes_back_in_time_fails(stage: Stage, folder: Path) -> None:
    answers(stage, expires_in_s=-149)

    done = tokd(folder, "account", "link", "shop")

    assert (done.exit_code, "nobody came back in time" in done.stderr) == (1, True)


def test_the_address_that_a_browser_ended_at_can_be_pasted(stage: Stage, folder: Path) -> None:
    answers(stage, {"status": "done", "result": {"account": "shop", "warnings": []}})

    done = tokd(folder, "account", "link", "shop", "--paste", input=f"{BACK}\n")

    assert done.exit_code == 0, done.output
    request = stage.bus.requests[-1]
    assert request.verb == "account/finish_link"
    assert (request.command.account, request.command.code.get_secret_value()) == ("shop", "a*b!c")
    assert not {"the-state", "a*b!c"} & set(json.loads(request.body)["args"].values())
    assert "a*b!c" not in done.output


@pytest.mark.parametrize(
    "text", ["", "hello", "http://127.0.0.1/callback?state=x", "http://[", "http://x/?code=1"]
)
def test_an_address_that_is_none_of_tiktoks_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as found:
        parts_of(text)

    assert found.value.code is Code.BAD_FIELD
    assert not text or text not in found.value.message


def test_a_refusal_of_a_pasted_address_fails(stage: Stage, folder: Path) -> None:
    error = Rejected(Code.NO_SUCH_LINK, "nobody waits for this answer")
    answers(stage, {"status": "rejected", "error": error.as_dict()})

    done = tokd(folder, "account", "link", "shop", "--paste", input=BACK)

    assert (done.exit_code, "nobody waits" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("verb", "result", "code", "said"),
    [
        ("unlink", {"revoked": True, "detail": ""}, 0, "account shop is unlinked"),
        (
            "unlink",
            {"revoked": False, "detail": "TikTok could not be told"},
            0,
            "but: TikTok could not be told",
        ),
        ("enable", {}, 0, "account shop may post"),
        ("disable", {}, 0, "tokd account enable shop"),
        ("check", {"checked": True, "login": "ok"}, 0, "token days left"),
        ("check", {"checked": True, "login": "needs_login"}, 1, "needs_login"),
        ("check", {"checked": False, "login": "ok"}, 1, "checked"),
    ],
)
def test_an_account_is_looked_after(
    stage: Stage, folder: Path, verb: str, result: dict[str, Any], code: int, said: str
) -> None:
    answers(stage, {"status": "done", "result": {"account": "shop", "token_days_left": 3} | result})

    done = tokd(folder, "account", verb, "shop")

    assert (done.exit_code, said in done.output) == (code, True), done.output
    assert stage.bus.requests[-1].verb == f"account/{verb}"
