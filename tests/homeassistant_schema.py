"""What Home Assistant takes in a discovery message, transcribed from its MQTT integration (mqtt/schemas.py and the
platforms' own files, 2025.4, with `default_entity_id` of 2025.10). It drops keys that it does not know; here they are
mistakes.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import jinja2

TOPIC = re.compile(r"homeassistant/(device|\w+)/(?:[a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config")
ENTITY_CATEGORIES = {"config", "diagnostic"}  # a sensor may not be of the first

AVAILABILITY = {"availability", "availability_mode", "availability_topic", "availability_template",
                "payload_available", "payload_not_available"}  # fmt: skip
COMMON = AVAILABILITY | {
    "platform", "unique_id", "default_entity_id", "name", "icon", "entity_category", "entity_picture",
    "enabled_by_default", "json_attributes_topic", "json_attributes_template", "qos", "encoding", "device", "origin",
}  # fmt: skip
READ = {"state_topic", "value_template"}
WRITE = {"command_topic", "command_template", "optimistic", "retain"}

ALLOWED: dict[str, set[str]] = {
    "binary_sensor": READ | {"device_class", "expire_after", "force_update", "off_delay", "payload_on", "payload_off"},
    "sensor": READ | {"device_class", "expire_after", "force_update", "options", "state_class", "unit_of_measurement",
                      "suggested_display_precision", "last_reset_value_template"},
    "event": READ | {"device_class", "event_types"},
    "button": (WRITE - {"optimistic"}) | {"device_class", "payload_press"},
    "switch": READ | WRITE | {"device_class", "payload_on", "payload_off", "state_on", "state_off"},
    "update": READ | {"command_topic", "device_class", "display_precision", "latest_version_topic", "title",
                      "latest_version_template", "payload_install", "release_summary", "release_url", "retain"},
    "image": {"image_topic", "image_encoding", "content_type", "url_topic", "url_template"},
}  # fmt: skip
REQUIRED: dict[str, set[str]] = {
    "binary_sensor": {"state_topic"},
    "sensor": {"state_topic"},
    "event": {"state_topic", "event_types"},
    "button": {"command_topic"},
    "switch": {"command_topic"},
    "update": {"state_topic"},
    "image": {"image_topic"},
}
DEVICE_CLASSES = {
    "binary_sensor": {"connectivity", "problem", "running", "update"},
    "sensor": {"enum", "timestamp", "duration"},
    "event": {"button", "doorbell", "motion"},
    "switch": {"outlet", "switch"},
    "button": {"identify", "restart", "update"},
    "update": {"firmware"},
    "image": set[str](),
}
DURATION_UNITS = {"d", "h", "min", "s", "ms"}
DEVICE = {"identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version", "serial_number",
          "sw_version", "via_device", "suggested_area", "configuration_url"}  # fmt: skip
ORIGIN = {"name", "sw_version", "support_url"}


def check_message(topic: str, payload: str) -> dict[str, dict[str, Any]]:
    """Return the components of a discovery message by their key; fail where Home Assistant would not take it."""
    assert TOPIC.fullmatch(topic), topic
    message = json.loads(payload)
    assert set(message["device"]) <= DEVICE
    assert message["device"]["identifiers"]
    assert {"name"} <= set(message["origin"]) <= ORIGIN
    parts = topic.split("/")
    if parts[1] != "device":
        check_component(parts[1], message)
        return {parts[-2]: message}
    assert set(message) <= AVAILABILITY | {"device", "origin", "components", "state_topic", "command_topic", "qos",
                                           "encoding"}, set(message)  # fmt: skip
    check_availability(message)
    for key, component in message["components"].items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", key)
        assert not {"device", "origin"} & set(component)
        check_component(component["platform"], component)
    return dict(message["components"])


def check_component(platform: str, found: Mapping[str, Any]) -> None:
    """Fail where a platform's schema would refuse a component, or drop a part of it."""
    assert set(found) <= COMMON | ALLOWED[platform], set(found) - COMMON - ALLOWED[platform]
    assert REQUIRED[platform] | {"unique_id", "name"} <= set(found)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", found["unique_id"])
    assert re.fullmatch(rf"{platform}\.[a-z0-9_]+", found["default_entity_id"])
    assert found.get("device_class") in DEVICE_CLASSES[platform] | {None}
    assert found.get("entity_category") in ENTITY_CATEGORIES | {None}
    assert found.get("qos", 0) in {0, 1, 2}
    assert isinstance(found.get("enabled_by_default", True), bool)
    for key in ("state_topic", "json_attributes_topic", "command_topic", "image_topic"):
        assert not set("+#\0") & set(found.get(key, "x"))
    check_availability(found)
    for key, value in found.items():
        if key.endswith("_template"):
            jinja2.Environment(autoescape=False).parse(value)
    if platform in {"sensor", "binary_sensor", "event", "update"}:
        assert found.get("entity_category") != "config"  # "config" is for what can be changed
    if platform == "sensor":
        check_sensor(found)
    if platform == "event":
        assert found["event_types"]
        assert all(isinstance(kind, str) for kind in found["event_types"])
    if platform == "image":
        assert found.get("image_encoding") in {"b64", None}
    if "expire_after" in found:
        assert isinstance(found["expire_after"], int)
        assert found["expire_after"] > 0


def check_sensor(found: Mapping[str, Any]) -> None:
    """Fail where sensor options do not go together."""
    if "options" in found:
        assert found["options"]
        assert found["device_class"] == "enum"
        assert not {"state_class", "unit_of_measurement"} & set(found)
    assert found.get("device_class") != "enum" or "options" in found
    assert found.get("state_class") in {"measurement", "total", "total_increasing", None}
    if found.get("device_class") == "duration":
        assert found["unit_of_measurement"] in DURATION_UNITS
    if found.get("device_class") == "timestamp":
        assert not {"state_class", "unit_of_measurement"} & set(found)


def check_availability(found: Mapping[str, Any]) -> None:
    """Fail where the two ways to say it are mixed, or a topic is missing."""
    assert not ("availability" in found and "availability_topic" in found)
    assert found.get("availability_mode", "latest") in {"all", "any", "latest"}
    for entry in found.get("availability", ()):
        assert (
            {"topic"}
            <= set(entry)
            <= {"topic", "payload_available", "payload_not_available", "value_template"}
        )
