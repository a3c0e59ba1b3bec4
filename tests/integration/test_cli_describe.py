"""`tokd describe`: the protocol for people and for programs, with no daemon anywhere."""

import hashlib
import json

import pytest
from typer.testing import CliRunner, Result

from daemon.cli import manual
from daemon.cli.app import app
from daemon.domain import asyncapi
from daemon.domain.commands import VERBS


def describe(*words: str) -> Result:
    return CliRunner().invoke(app, ["describe", *words], prog_name="tokd")


def test_every_verb_is_listed_with_what_it_does() -> None:
    lines = describe().stdout.splitlines()

    assert [line.partition("\t")[0] for line in lines] == list(VERBS)
    assert all(line.rpartition("\t")[2] for line in lines)


def test_a_verb_shows_its_arguments() -> None:
    rows = [line.split("\t") for line in describe("post/reschedule").stdout.splitlines()]

    assert ["post", "string", "needed"] in rows
    assert {row[0] for row in rows} == {"post", "at", "zone", "if_late"}


def test_a_verb_that_there_is_not_is_refused() -> None:
    done = describe("post/sing")

    assert done.exit_code == 2
    assert "post/sing" in done.output


def test_the_document_is_printed_as_it_is_served() -> None:
    text = describe("--asyncapi").stdout.removesuffix("\n")

    assert json.loads(text)["asyncapi"] == "3.0.0"
    assert hashlib.sha256(text.encode()).hexdigest() == asyncapi.fingerprint()


def test_the_manual_is_printed_as_it_is_written() -> None:
    assert describe("--markdown").stdout == manual.page()


@pytest.mark.parametrize("words", [("--asyncapi", "--markdown"), ("post/list", "--asyncapi")])
def test_one_thing_at_a_time(words: tuple[str, ...]) -> None:
    assert describe(*words).exit_code == 2
