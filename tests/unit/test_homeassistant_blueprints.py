"""The blueprints: well-formed, every input declared and used, and every order one that tokd takes."""

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2.sandbox import SandboxedEnvironment

from daemon.domain.wire import read_request

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
FOLDER = Path(__file__).resolve().parents[2] / "homeassistant" / "blueprints"
BLUEPRINTS = sorted(FOLDER.glob("*.yaml"))
SECTIONS = {"blueprint", "mode", "max_exceeded", "triggers", "conditions", "actions"}
SELECTORS = {"text", "time", "select", "entity", "duration", "action"}


class Input(str):
    """The name behind `!input`."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """Reads YAML as Home Assistant does, with its tag."""


Loader.add_constructor("!input", lambda loader, node: Input(loader.construct_scalar(node)))


def read(name: str) -> dict[str, Any]:
    found = yaml.load((FOLDER / f"{name}.yaml").read_text(), Loader)
    assert isinstance(found, dict)
    return found


def inputs_in(value: object) -> set[str]:
    if isinstance(value, Input):
        return {str(value)}
    if isinstance(value, dict):
        return set().union(*map(inputs_in, value.values()))
    return set().union(*map(inputs_in, value)) if isinstance(value, list) else set()


def templates_in(value: object) -> list[str]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in templates_in(item)]
    if isinstance(value, list):
        return [found for item in value for found in templates_in(item)]
    return [value] if isinstance(value, str) and "{{" in value else []


def render(template: str, **values: Any) -> str:
    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["to_json"] = environment.filters["tojson"]
    environment.globals |= {"now": lambda: NOW, "timedelta": timedelta}
    return environment.from_string(template).render(**values)


def test_there_are_three() -> None:
    assert [path.stem for path in BLUEPRINTS] == ["login_lost", "morning_session", "post_a_file"]


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_every_input_is_declared_and_used(path: Path) -> None:
    found = read(path.stem)
    head = found.pop("blueprint")

    assert set(found) <= SECTIONS
    assert {"name", "description", "domain", "input"} <= set(head)
    assert head["domain"] == "automation"
    assert inputs_in(found) == set(head["input"])
    for declared in head["input"].values():
        assert declared["name"]
        assert set(declared["selector"]) <= SELECTORS


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_every_template_can_be_read(path: Path) -> None:
    for template in templates_in(read(path.stem)["actions"]):
        jinja2.Environment(autoescape=True).parse(template)


@pytest.mark.parametrize(("title", "expected"), [('Say "hi" to Käthe\'s cat', True), ("", False)])
def test_the_order_to_post_a_file_is_one_that_tokd_takes(title: str, expected: bool) -> None:
    steps = read("post_a_file")["actions"]
    values: dict[str, Any] = {
        "account": "shop", "media": "clip.mp4", "title": title, "privacy": "SELF_ONLY",
        "commands": "tokd/v1/main/cmd/homeassistant", "this": {"entity_id": "automation." + "x" * 80},
        "late": {"hours": 1, "minutes": 30},
    }  # fmt: skip
    values["args"] = ast.literal_eval(render(steps[0]["variables"]["args"], **values))  # as it does
    order = steps[1]["data"]

    request, _ = read_request(
        actor="homeassistant", verb=render(order["topic"], **values).partition("/cmd/homeassistant/")[2],
        raw=render(order["payload"], **values).encode(), transport="mqtt", received_at=NOW,
    )  # fmt: skip

    assert request.error is None, request.error
    assert (request.verb, request.id) == ("post/schedule", f"ha-{'x' * 40}-20261121")
    assert ('"title"' in request.body) is expected
    # without a deadline it would be lost if tokd restarts at that minute: what waited at the broker is stale
    assert request.expires_at == NOW + timedelta(hours=1, minutes=30)


def test_a_press_names_its_button() -> None:
    presses = [
        step
        for step in (*read("morning_session")["actions"], *read("morning_session")["actions"][-1]["then"])
        if step.get("action") == "button.press"
    ]

    assert [step["target"]["entity_id"] for step in presses] == ["open_session", "close_session"]
