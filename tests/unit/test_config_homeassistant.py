"""The section of Home Assistant: announced by devices unless told otherwise, and mistakes are found when it is loaded."""

import pytest

from config.load import ConfigError, load


def test_devices_are_announced_and_pictures_are_not() -> None:
    found = load(None, environ={}).homeassistant

    assert (found.discovery, found.actor, found.screenshots, found.birth_delay_s) == (
        "device", "homeassistant", False, (1, 5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("discovery", "devices"),
        ("prefix", "home assistant"),
        ("prefix", "homeassistant/"),
        ("prefix", "home/#"),
        ("status_topic", ""),
        ("status_topic", "+/status"),
        ("actor", "_self"),
        ("actor", "home/assistant"),
        ("birth_delay_s", "[5, 1]"),
        ("birth_delay_s", "[1]"),
        ("birth_delay_s", "[-1, 5]"),
        ("birth_delay_s", "[1, 301]"),
    ],
)
def test_a_mistake_is_named(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="homeassistant"):
        load(None, {f"homeassistant.{key}": value}, {})
