"""The audit trail: what is in it, what is not, and that a change shows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.audit import first_break
from daemon.domain.gates import Gates
from daemon.domain.ids import SELF_ACTOR
from tests.core import Core


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path, link=False) as found:
        yield found


def trail(core: Core, **args: Any) -> list[dict[str, Any]]:
    core.settle()
    return core.do("system/audit", args)["entries"]


def words(core: Core) -> list[tuple[str, str, str | None]]:
    return [(entry["command"], entry["status"], entry["code"]) for entry in trail(core)]


def test_an_order_is_noted_with_who_and_through_which_door(core: Core) -> None:
    core.do("system/pause", {"reason": "holidays"}, id="p-1", actor="ann")

    [entry] = trail(core)

    shown = {key: entry[key] for key in ("number", "actor", "transport", "command", "id", "status", "code")}
    assert shown == {
        "number": 1, "actor": "ann", "transport": "test", "command": "system.pause", "id": "p-1", "status": "done",
        "code": None,
    }  # fmt: skip


def test_what_only_reads_is_not_noted(core: Core) -> None:
    core.do("system/ping")
    core.do("post/list")

    assert trail(core) == []


def test_a_refused_order_is_noted_with_its_code(core: Core) -> None:
    core.refusal("post/cancel", {"post": "p_1"})

    assert words(core) == [("post.cancel", "rejected", "no_such_post")]


def test_what_is_no_order_at_all_is_noted(core: Core) -> None:
    core.refusal("no/such")

    assert words(core) == [("no.such", "rejected", "unknown_command")]


def test_a_long_order_is_noted_twice(core: Core) -> None:
    core.link()
    core.media.put("clip.mp4", checked=False)
    core.schedule()

    assert words(core)[1:] == [("post.schedule", "accepted", None), ("post.schedule", "done", None)]


@pytest.mark.parametrize("state", ["guessed", "s" * 201])
def test_a_stranger_who_knocks_at_the_callback_cannot_fill_the_trail(core: Core, state: str) -> None:
    args = {"state": state, "code": "guessed"}

    for _ in range(3):
        core.refusal("account/finish_link", args, id="", actor=SELF_ACTOR, transport="http", is_local=True)

    assert trail(core) == []


def test_a_dry_run_is_not_noted(core: Core) -> None:
    core.do("system/pause", dry_run=True)

    assert trail(core) == []


def test_a_repeat_is_noted_once(core: Core) -> None:
    for _ in range(3):
        core.do("system/pause", id="once")

    assert words(core) == [("system.pause", "done", None)]


def test_a_token_that_was_issued_is_noted(core: Core) -> None:
    core.do("token/issue", {"user": "ann"}, is_local=True, id="")

    assert words(core) == [("token.issue", "done", None)]


def test_a_flood_does_not_fill_it(tmp_path: Path) -> None:
    with Core(tmp_path, link=False, gates=Gates(burst=5, rate_per_s=0.001)) as core:
        for _ in range(20):
            core.send("system/pause")
        noted = core.bus.read(lambda unit: unit.audit_tail().number)

    assert noted == 5


def test_a_strange_name_is_made_plain(core: Core) -> None:
    core.refusal("no/such", actor="a\nb\x1b[31m")

    assert trail(core)[0]["actor"] == "a?b?[31m"


def test_the_trail_can_be_read_by_actor_and_verb(core: Core) -> None:
    core.do("system/pause", actor="ann")
    core.do("system/resume", actor="bob")
    core.do("system/pause", actor="bob")

    assert [entry["number"] for entry in trail(core, actor="bob")] == [2, 3]
    assert [entry["number"] for entry in trail(core, actor="bob", verb="system.pause")] == [3]
    assert [entry["number"] for entry in trail(core, last=2)] == [2, 3]


def test_it_goes_on_after_a_restart(core: Core) -> None:
    core.do("system/pause")
    core.restart(clean=False)
    core.do("system/resume")

    entries = trail(core)
    assert [entry["number"] for entry in entries] == [1, 2]
    assert first_break(entries, "main") is None


def changed(entries: list[dict[str, Any]], number: int, **fields: Any) -> list[dict[str, Any]]:
    return [entry | fields if entry["number"] == number else entry for entry in entries]


@pytest.mark.parametrize(
    "field", ["actor", "command", "time", "status", "digest", "body_hash", "id", "transport", "code"]
)
def test_a_changed_entry_shows(core: Core, field: str) -> None:
    for _ in range(3):
        core.do("system/pause")

    assert first_break(changed(trail(core), 2, **{field: "x"}), "main") in {2, 3}


def test_a_removed_entry_shows(core: Core) -> None:
    for _ in range(3):
        core.do("system/pause")

    assert first_break([entry for entry in trail(core) if entry["number"] != 2], "main") == 2


def test_an_entry_of_another_node_shows(core: Core) -> None:
    core.do("system/pause")

    assert first_break(trail(core), "other") == 1
