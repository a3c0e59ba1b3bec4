"""The rules and the dashboard in docs/monitoring name nothing that /metrics does not serve."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.integration.test_http_metrics import NAMES

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
SERVED = NAMES | {
    f"{name}_{end}" for name in NAMES for end in ("bucket", "sum", "count") if name.endswith("_seconds")
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules()), *shown]


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:tokd|process)_[a-z0-9_]+", expression))


def test_every_metric_that_is_asked_for_is_served() -> None:
    asked = {name for expression in expressions() for name in named(expression)}

    assert len(asked) > 15
    assert asked <= SERVED


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["action"], rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_the_dashboards_panels_do_not_share_an_id_nor_a_place() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
