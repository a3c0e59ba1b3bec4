"""The AsyncAPI document: valid, made from the tables, and true: what the core says is as it stands there."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from adapters.mqtt.letters import letter_of
from adapters.mqtt.settings import MqttSettings
from daemon.cli import manual
from daemon.domain import asyncapi, wire
from daemon.domain.commands import VERBS, SchedulePost
from daemon.domain.errors import Code
from daemon.domain.events import EventType
from daemon.domain.schemas import collect
from daemon.domain.shapes.common import Envelope
from daemon.domain.shapes.events import DATA
from daemon.domain.shapes.results import RESULTS
from daemon.domain.shapes.views import CLEARED, STATES
from daemon.domain.topics import Topics
from daemon.ports import Outgoing
from tests.asyncapi_tour import tour
from tests.conformity import document, event_faults, faults, reply_faults, state_faults, validator
from tests.core import Core
from tests.fakes.clock import START

ROOT = Path(__file__).resolve().parents[2]
ON_THE_WIRE = [verb for verb in VERBS.values() if not verb.is_local]


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Core:
    return tour(tmp_path_factory.mktemp("tour"))


# -- it is valid ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def specification() -> Any:
    with gzip.open(ROOT / "tests" / "data" / "asyncapi-3.0.0.json.gz") as found:
        return jsonschema_rs.validator_for(json.load(found))


def test_the_document_is_valid_asyncapi(specification: Any) -> None:
    assert [error.message for error in specification.iter_errors(document())] == []


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asyncapi.text())
    change(found)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["operations"]["post.schedule"].update(action="publish"),
        lambda found: found["info"].pop("version"),
        lambda found: found["components"]["operationBindings"]["command"]["mqtt"].update(qos=7),
    ],
)
def test_a_wrong_document_is_found_out(
    specification: Any, change: Callable[[dict[str, Any]], object]
) -> None:
    assert not specification.is_valid(broken(change))


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()

    found = references(document())
    assert len(found) > 300
    for reference in found:
        node: Any = document()
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_every_schema_is_valid_draft_07() -> None:
    for name in document()["components"]["schemas"]:
        validator(name)


def test_a_type_that_draft_07_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="prefixItems"):
        collect({"pair": tuple[int, str]})


# -- it is made from the tables ------------------------------------------------------------------------------


def test_every_verb_has_a_result_and_every_event_its_data() -> None:
    assert RESULTS.keys() == VERBS.keys()
    assert set(DATA) == set(EventType)


def test_every_verb_of_the_wire_is_an_operation_and_no_other() -> None:
    received = {name for name, found in document()["operations"].items() if found["action"] == "receive"}

    assert received == {verb.name.replace("/", ".") for verb in ON_THE_WIRE}


def test_the_topics_are_those_of_the_gateway() -> None:
    filled = Topics("tokd", "main")
    found = {name: channel["address"] for name, channel in document()["channels"].items()}
    addresses = {
        name: address.replace("{prefix}", "tokd").replace("{node}", "main").replace("{actor}", "me")
        for name, address in found.items()
        if address is not None
    }

    assert [name for name, address in found.items() if address is None] == ["replies"]
    for verb in ON_THE_WIRE:
        name = verb.name.replace("/", ".")
        read = filled.read_command(addresses[f"command.{name}"])
        assert (read.actor, read.verb, read.is_well_formed) == ("me", verb.name, True)
        assert addresses[f"reply.{name}"] == filled.default_reply(addresses[f"command.{name}"])
    assert addresses["info"] == filled.info
    assert addresses["availability"] == filled.availability


@pytest.mark.parametrize("kind", ["event", "state", "reply"])
def test_what_is_sent_is_sent_as_the_bindings_say(kind: str) -> None:
    letter = letter_of(
        Outgoing(row=1, transport="mqtt", kind=kind, address="post", payload="{}"), Topics("p", "n")
    )
    binding = document()["components"]["messageBindings"][kind]["mqtt"]
    operation = {"event": "event.post", "state": "state.post", "reply": "post.schedule.reply"}[kind]
    name = document()["operations"][operation]["bindings"]["$ref"].rpartition("/")[2]

    assert letter.content_type == binding["contentType"]
    assert letter.retain is document()["components"]["operationBindings"][name]["mqtt"]["retain"]


def test_the_server_binding_is_the_daemon_s_own_connection() -> None:
    settings = MqttSettings(node="main", client_id="x")
    found = document()["servers"]["broker"]["bindings"]["mqtt"]

    assert found["keepAlive"] == settings.keepalive_s
    assert found["sessionExpiryInterval"] == settings.session_expiry_s
    assert found["lastWill"]["topic"] == document()["channels"]["availability"]["address"]


def test_the_document_is_the_same_each_time() -> None:
    assert json.dumps(asyncapi.build()) == json.dumps(asyncapi.build())
    assert asyncapi.text() == json.dumps(asyncapi.build(), ensure_ascii=False, separators=(",", ":"))


def test_another_verb_table_gives_another_document() -> None:
    fewer = [verb for verb in VERBS.values() if verb.name != "system/ping"]

    assert asyncapi.build(fewer) != asyncapi.build()


# -- it is true of what comes in -----------------------------------------------------------------------------


def test_the_envelope_has_the_fields_that_are_read() -> None:
    assert set(Envelope.__annotations__) == set(wire.ENVELOPE_FIELDS)


GOOD = {"account": "ada", "media": "clip.mp4", "at": "now"}


@pytest.mark.parametrize(
    "message",
    [
        {"id": "a", "args": GOOD},
        {"id": "a", "args": GOOD | {"caption": "Hello", "privacy_level": "SELF_ONLY"}},
        {"id": "a", "args": GOOD | {"title": "Hello", "caption": "Hello"}},
        {"id": "a", "args": GOOD | {"title": None, "if_late": {"policy": "hold"}}},
        {"args": GOOD},
        {"args": GOOD, "dry_run": True},
        {"id": None, "args": GOOD},
        {"id": "a"},
        {"id": "a", "args": {}},
        {"id": "a b", "args": GOOD},
        {"id": "a", "args": GOOD | {"colour": "red"}},
        {"id": "a", "args": GOOD, "colour": "red"},
        {"id": "a", "args": GOOD, "ttl_s": 0},
        {"id": "a", "args": GOOD, "ttl_s": 60, "expires_at": "2030-01-01T00:00:00+01:00", "reply_to": "x"},
        {"id": "a", "args": GOOD | {"hashtags": ["#one", "two words"]}},
        *(
            {"id": "a", "args": GOOD | {"hashtags": [f"two{space}words"]}}
            for space in "\x1c\x1f\x85\u180e\ufeff\u2028"
        ),
        {"id": "a", "args": GOOD | {"photo_cover": 35}},
    ],
)
def test_the_document_takes_what_the_wire_takes(message: dict[str, Any]) -> None:
    request, _ = wire.read_request(
        actor="me", verb="post/schedule", raw=json.dumps(message).encode(), transport="test",
        received_at=START,
    )  # fmt: skip

    assert (faults("command.post.schedule", message) == []) is (request.error is None), request.error


def test_every_field_of_an_order_can_be_sent_by_its_own_name() -> None:
    schema = document()["components"]["schemas"]["SchedulePost"]["properties"]

    assert set(SchedulePost.model_fields) <= set(schema)


# -- it is true of what goes out -----------------------------------------------------------------------------


def test_every_kind_of_event_is_as_the_document_says(toured: Core) -> None:
    # a restore is told by the command that puts a backup back; the daemons of its tests are held to the document
    kinds = set(EventType) - {EventType.DAEMON_RESTORED}
    assert {event["type"] for event in toured.told} == {f"dev.tokd.{kind}" for kind in kinds}
    assert [fault for event in toured.told for fault in event_faults(event)] == []


def test_the_answer_of_every_verb_is_as_the_document_says(toured: Core) -> None:
    done = {reply["command"].replace(".", "/") for reply in toured.heard if reply["status"] == "done"}

    assert done == set(VERBS)
    assert [fault for reply in toured.heard for fault in reply_faults(reply)] == []


def test_every_status_of_a_reply_came(toured: Core) -> None:
    assert {reply["status"] for reply in toured.heard} == {
        "accepted",
        "done",
        "rejected",
        "failed",
        "expired",
    }


def test_every_kind_of_state_is_as_the_document_says(toured: Core) -> None:
    assert {asyncapi.state_schema(address) for address, _ in toured.kept} == {
        asyncapi.state_schema(path) for path in STATES
    }
    assert [fault for address, payload in toured.kept for fault in state_faults(address, payload)] == []


def test_the_states_that_are_over_are_removed_as_the_document_says(toured: Core) -> None:
    removed = {asyncapi.state_schema(address) for address, payload in toured.kept if not payload}

    assert removed >= {"alert", "state.account"}
    assert removed <= {asyncapi.state_schema(path) for path in CLEARED}


@pytest.mark.parametrize("address", ["alert/disk_full", "account/a/b", "session"])
def test_a_state_at_a_place_that_nobody_has_described_is_found_out(address: str) -> None:
    assert state_faults(address, "") != []


@pytest.mark.parametrize("code", [Code.FORBIDDEN, Code.STALE_BACKLOG, Code.BUSY, Code.RATE_LIMITED])
def test_every_gate_has_refused_something(toured: Core, code: Code) -> None:
    assert code in {reply["error"]["code"] for reply in toured.heard if "error" in reply}


@pytest.mark.parametrize("place", ["", "data"])
def test_an_event_with_a_key_that_nobody_has_described_is_found_out(toured: Core, place: str) -> None:
    for event in toured.told:
        wrong = json.loads(json.dumps(event))
        (wrong[place] if place else wrong)["surprise"] = 1
        assert event_faults(wrong), event["type"]


@pytest.mark.parametrize("place", ["", "result", "error"])
def test_a_reply_with_a_key_that_nobody_has_described_is_found_out(toured: Core, place: str) -> None:
    for reply in toured.heard:
        wrong = json.loads(json.dumps(reply))
        if place in wrong or not place:
            (wrong[place] if place else wrong)["surprise"] = 1
            assert reply_faults(wrong), reply["command"]


def test_a_state_with_a_key_that_nobody_has_described_is_found_out(toured: Core) -> None:
    for address, payload in toured.kept:
        if payload:
            assert state_faults(address, json.dumps(json.loads(payload) | {"surprise": 1})), address


# -- who gets it ---------------------------------------------------------------------------------------------


def test_describe_names_the_document_and_gives_it_where_it_is_asked_for(toured: Core) -> None:
    found = [reply["result"] for reply in toured.heard if reply["command"] == "system.describe"]

    assert {result["schema"] for result in found} == {asyncapi.fingerprint()}
    assert [result.get("asyncapi") for result in found] == [None, document()]


# -- the manual ----------------------------------------------------------------------------------------------


def test_the_manual_is_up_to_date() -> None:
    written = (ROOT / "docs" / "mqtt.md").read_text()

    assert written == manual.page(), "write it anew: make docs"


def test_the_manual_explains_every_error_code() -> None:
    assert list(manual.MEANINGS) == list(Code)


def test_every_link_of_the_manual_has_one_place() -> None:
    page = manual.page()
    places = [
        re.sub(r"[^a-z0-9 _-]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    ]

    assert len(places) == len(set(places))
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= set(places)
