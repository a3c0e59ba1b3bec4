"""`tokd audit verify`: page after page is followed, to the end that tokd itself names."""

import json
from typing import Any

import pytest

from daemon.domain.audit import START, digest_of
from daemon.domain.wire import Request
from tests.integration.control_stage import Stage, folder, stage
from tests.integration.test_cli import Tokd, tokd

__all__ = ["folder", "stage", "tokd"]
ENTRIES = 450  # three pages


def a_trail(count: int) -> list[dict[str, Any]]:
    found, before = [], START
    for number in range(1, count + 1):
        shown = {
            "number": number, "time": "2026-12-01T12:00:00.000Z", "transport": "test", "actor": "ann",
            "command": "system.pause", "id": f"p-{number}", "body_hash": "h", "status": "done", "code": None,
        }  # fmt: skip
        before = digest_of(shown, "main", before)
        found.append(shown | {"digest": before})
    return found


def tell(stage: Stage, entries: list[dict[str, Any]], latest: dict[str, Any]) -> None:
    def page(request: Request) -> list[dict[str, Any]]:
        args = json.loads(request.body)["args"]
        left = [shown for shown in entries if shown["number"] > args["after"]][: args["limit"]]
        next_after = left[-1]["number"] if left else latest["number"]
        result = {
            "entries": left, "next_after": next_after, "latest": latest["number"], "digest": latest["digest"],
            "more": next_after < latest["number"],
        }  # fmt: skip
        return [{"status": "done", "result": result}]

    stage.bus.reply_with = page


def test_a_whole_trail_is_sound(tokd: Tokd, stage: Stage) -> None:
    entries = a_trail(ENTRIES)
    tell(stage, entries, entries[-1])

    found = tokd("audit", "verify")

    assert found.exit_code == 0
    assert f"all {ENTRIES} entries" in found.stdout
    assert entries[-1]["digest"] in found.stdout.replace("\n", "")


def test_a_trail_that_was_cut_for_its_age_is_sound_and_says_so(tokd: Tokd, stage: Stage) -> None:
    entries = a_trail(ENTRIES)
    left = [entries[300] | {"cut": entries[299]["digest"]}, *entries[301:]]
    tell(stage, left, entries[-1])

    found = json.loads(tokd("audit", "verify", "--json").stdout)

    assert (found["ok"], found["entries"], found["removed"]) == (True, 150, 300)


@pytest.mark.parametrize(
    ("gone", "named"), [(slice(440, None), 441), (slice(0, 300), 1), (slice(200, 201), 201)]
)
def test_missing_entries_are_found_wherever_they_were(
    tokd: Tokd, stage: Stage, gone: slice, named: int
) -> None:
    entries = a_trail(ENTRIES)
    latest = entries[-1]
    del entries[gone]
    tell(stage, entries, latest)

    found = tokd("audit", "verify", "--json")

    assert (found.exit_code, json.loads(found.stdout)["first_broken"]) == (1, named)
