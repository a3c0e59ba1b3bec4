"""The tables agree with each other: every verb has a model, every command and every report a handler."""

import inspect
import json

import pytest

from daemon.domain import commands, reports, session_reports
from daemon.domain.commands import VERBS, Command, describe_verbs
from daemon.domain.errors import Code
from daemon.domain.events import EventType, as_json
from daemon.handlers.registry import COMMANDS, REPORTS

ANSWERS = {reports.Taken, reports.RefreshTurn}  # what a handler returns to the worker that reported


def test_every_command_has_exactly_one_verb_and_one_handler() -> None:
    models = [verb.model for verb in VERBS.values()]
    own = {
        found
        for _, found in inspect.getmembers(commands, inspect.isclass)
        if issubclass(found, Command) and found not in {Command, commands.IfLate}
    }

    assert len(set(models)) == len(models)
    assert set(models) == set(COMMANDS) == own


def test_every_report_has_a_handler() -> None:
    own = {
        found
        for module in (reports, session_reports)
        for _, found in inspect.getmembers(module, inspect.isclass)
        if found.__module__ == module.__name__
    }

    assert set(REPORTS) == own - ANSWERS


def test_no_two_commands_or_reports_share_a_handler() -> None:
    handlers = [*COMMANDS.values(), *REPORTS.values()]

    assert len(set(handlers)) == len(handlers)


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_a_verb_stands_under_its_own_name_in_two_levels(verb: commands.Verb) -> None:
    assert VERBS[verb.name] is verb
    assert verb.name.count("/") == 1


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_a_verb_that_needs_an_id_is_durable(verb: commands.Verb) -> None:
    assert verb.is_durable or not verb.needs_id


def test_the_description_is_plain_json() -> None:
    found = json.loads(as_json(describe_verbs()))

    assert [verb["verb"] for verb in found] == list(VERBS)
    assert all(verb["summary"] for verb in found)


def test_the_description_names_every_argument_and_refuses_others() -> None:
    for verb in describe_verbs():
        schema = verb["args"]

        assert set(schema.get("properties", {})) == set(VERBS[verb["verb"]].model.model_fields)
        assert schema["additionalProperties"] is False


def test_the_description_has_no_default_for_privacy() -> None:
    (schedule,) = [verb for verb in describe_verbs() if verb["verb"] == "post/schedule"]

    assert schedule["args"]["properties"]["privacy"]["default"] is None


def test_no_command_can_be_changed() -> None:
    assert all(verb.model.model_config["frozen"] for verb in VERBS.values())


def test_error_codes_and_event_types_are_spelled_for_the_wire() -> None:
    assert all(code.value == code.value.lower() and " " not in code.value for code in Code)
    assert all(kind.value.count(".") == 1 for kind in EventType)
