"""The small parts of the command line: moved options, cleaned texts, what is taken for a message."""

import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.accounts import tokens_in
from daemon.cli.exits import hoist
from daemon.cli.output import as_text, as_typed, clean, program
from daemon.cli.system import envelope_of
from daemon.cli.watching import line_of
from daemon.domain.errors import Rejected


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["post", "list", "-c", "x"], ["-c", "x", "post", "list"]),
        (["run", "--set", "a=b", "--simulate"], ["--set", "a=b", "run", "--simulate"]),
        (["run", "--config=x"], ["--config=x", "run"]),
        (["send", "--", "--config", "x"], ["send", "--", "--config", "x"]),
        (["run", "--config"], ["run", "--config"]),
        ([], []),
    ],
)
def test_global_options_may_stand_anywhere_before_two_dashes(given: list[str], wanted: list[str]) -> None:
    assert hoist(given) == wanted


def test_a_text_from_outside_cannot_steer_the_terminal() -> None:
    assert clean("a\x1b[2Jb\x9bc\nd\r") == "a\\x1b[2Jb\\x9bc\nd\\r"


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (False, "no"), (None, ""), (["a", "b"], "a, b"), ({"a": 1}, '{"a": 1}'), (3, "3")],
)
def test_values_are_printed_as_people_read_them(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("given", "envelope"),
    [
        ({}, {}),
        ({"post": "p_1"}, {"args": {"post": "p_1"}}),
        ({"args": {"post": "p_1"}}, {"args": {"post": "p_1"}}),
        ({"id": "a", "post": "p_1"}, {"id": "a", "post": "p_1"}),
    ],
)
def test_bare_arguments_are_wrapped_and_messages_stay_as_they_are(
    given: dict[str, Any], envelope: dict[str, Any]
) -> None:
    assert envelope_of(given) == envelope


def test_tokens_are_taken_from_the_answer_of_the_token_endpoint() -> None:
    raw = b'{"access_token": "a", "refresh_token": "r", "open_id": "o", "log_id": "x", "expires_in": 5}\n'

    assert tokens_in(raw) == {"access_token": "a", "refresh_token": "r", "open_id": "o", "expires_in": 5}


def test_tokens_are_taken_from_an_answer_wrapped_in_data() -> None:
    assert tokens_in(b'{"data": {"access_token": "a"}, "message": "success"}') == {"access_token": "a"}


def test_a_broken_token_file_is_refused_without_quoting_it() -> None:
    with pytest.raises(Rejected) as caught:
        tokens_in(b'{"access_token": "act.canary",, }')

    assert "canary" not in str(caught.value)


def test_a_progress_event_becomes_one_line_with_its_share() -> None:
    event = {
        "sequence": "00000007", "time": "2026-01-01T00:00:00Z", "type": "dev.tokd.post.progress",
        "subject": "post/p_1", "data": {"account": "demo", "post": "p_1", "sent_bytes": 30, "size": 120},
    }  # fmt: skip

    assert line_of(event) == (
        "00000007  2026-01-01T00:00:00Z  post.progress  post/p_1  25 %  account=demo  sent_bytes=30  size=120"
    )


# -- a command that is printed to be copied ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("called", "is_in_path", "typed"),
    [
        (".venv/bin/tokd", False, ".venv/bin/tokd"),
        (".venv/bin/tokd", True, "tokd"),
        ("/srv/my things/tokd", False, "'/srv/my things/tokd'"),
        ("tokd", False, "tokd"),
        ("/srv/daemon/__main__.py", False, "tokd"),
    ],
)
def test_a_command_is_named_as_it_can_be_typed_here(
    called: str, is_in_path: bool, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokd").touch(0o755)
    monkeypatch.setattr(sys, "argv", [called, "session", "open"])
    monkeypatch.setenv("PATH", str(tmp_path) if is_in_path else "/nowhere")

    assert program() == typed
    assert as_typed("gone; `tokd session list` and `tokd post list`, not `tokd` nor tokd x") == (
        f"gone; `{typed} session list` and `{typed} post list`, not `tokd` nor tokd x"
    )
