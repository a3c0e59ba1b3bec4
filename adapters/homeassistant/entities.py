"""The entities: one table for the daemon, one for each account (mqtt.md section 2.3)."""

from dataclasses import dataclass
from typing import Any

from adapters.homeassistant.settings import HomeAssistantSettings
from adapters.homeassistant.templates import (
    attributes,
    available,
    command,
    event,
    on_off,
    positions,
    state,
    text,
)
from daemon.domain.events import types_of
from daemon.domain.introduction import AccountFacts
from daemon.domain.login import Login
from daemon.domain.post import FINAL
from daemon.domain.session import SessionState
from daemon.ports import Places

NONE = "none"  # shown where there is nothing: before 2024.11 Home Assistant cannot make such a sensor unknown again
MISSED_BEATS = 3
QOS = 1

Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity: its key within the device, its platform, and what else Home Assistant must know."""

    key: str
    platform: str
    name: str
    options: Options


def daemon_availability(places: Places) -> Options:
    """Return when the daemon's entities are available."""
    return {"availability": [{"topic": places.availability}], "availability_mode": "all"}


def account_availability(places: Places, account: str) -> Options:
    """Return when an account's entities are available: the daemon is there, and the account is enabled."""
    enabled = {"topic": places.state(f"account/{account}"), "value_template": available("value_json.enabled")}
    return {"availability": [{"topic": places.availability}, enabled], "availability_mode": "all"}


def daemon_entities(places: Places, settings: HomeAssistantSettings) -> tuple[Entity, ...]:
    """Return the daemon's own entities."""
    own = {"state_topic": places.state("daemon"), "qos": QOS}
    health = own | {"entity_category": "diagnostic"}
    told = "{'degraded': value_json.degraded, 'problems': value_json.problems, 'boot': value_json.boot}"
    connected = {
        "state_topic": places.availability, "qos": QOS, "payload_on": "online", "payload_off": "offline",
        "device_class": "connectivity", "entity_category": "diagnostic",
        "availability": [],  # it must not become unavailable itself
    }  # fmt: skip
    problem = health | {
        "device_class": "problem", "value_template": on_off("value_json.problems"),
        "json_attributes_topic": places.state("daemon"), "json_attributes_template": attributes(told),
        "expire_after": int(settings.heartbeat_s * MISSED_BEATS),  # a second line behind the will
    }  # fmt: skip
    started = health | {"device_class": "timestamp", "value_template": state("value_json.started_at")}
    versions = "{'installed_version': value_json.version, 'latest_version': value_json.version}"
    update = health | {"title": "tokd", "value_template": attributes(versions)}
    paused = own | {
        "entity_category": "config", "value_template": on_off("value_json.paused"),
        "command_topic": places.command(settings.actor, "system/paused"),
    } | positions({})  # fmt: skip
    return (
        Entity("connected", "binary_sensor", "Connected", connected),
        Entity("problem", "binary_sensor", "Problem", problem),
        Entity("started", "sensor", "Started", started),
        Entity("version", "update", "Version", update),
        Entity("paused", "switch", "Posting paused", paused),
    )


def account_entities(
    places: Places, settings: HomeAssistantSettings, account: AccountFacts
) -> tuple[Entity, ...]:
    """Return the entities of one account."""
    name, profile = account.name, account.profile
    topic = places.state(f"account/{name}")
    found = [
        *_sensors(topic),
        _event("post", "Post", places, f"value_json.data.account == '{name}'"),
        _event(
            "session_event", "Session event", places, f"value_json.data.profile == '{profile}'", "session"
        ),
        _button("open_session", "Open session", places, settings, "session/open", {"profile": profile}),
        _button("close_session", "Close session", places, settings, "session/close", {"profile": profile}),
        _button(
            "publish_next", "Publish next post now", places, settings, "post/publish_now", {"account": name}
        ),
        _button("check_login", "Check login", places, settings, "account/check", {"account": name}),
        _enabled(topic, places, settings, name),
    ]
    if settings.screenshots:
        found += [_screenshot(places, name), _picture_button(places, settings)]
    return tuple(found)


def _sensors(topic: str) -> tuple[Entity, ...]:
    own = {"state_topic": topic, "qos": QOS}
    health = own | {"entity_category": "diagnostic"}

    def told(expression: str) -> Options:
        return {"json_attributes_topic": topic, "json_attributes_template": attributes(expression)}

    enum = {"device_class": "enum"}
    login = own | {"device_class": "connectivity", "value_template": on_off("value_json.login == 'ok'")}
    problem = health | {"device_class": "problem", "value_template": on_off("value_json.problems")}
    problem |= told("{'problems': value_json.problems, 'detail': value_json.get('detail')}")
    browser = own | enum | {"options": [NONE, *(found.value for found in Login)]}
    browser |= {"value_template": state(f"value_json.get('browser_login', {{}}).get('state', '{NONE}')")}
    browser |= told("value_json.get('browser_login')")
    session = own | enum | {"options": [NONE, *(found.value for found in SessionState)]}
    session |= {"value_template": state("value_json.session")}
    session |= told(
        "{'session': value_json.session_id, 'profile': value_json.profile, 'ends_at': value_json.session_ends_at}"
    )
    result = own | enum | {"options": [NONE, *sorted(found.value for found in FINAL)]}
    result |= {"value_template": state(f"(value_json.last_result or {{}}).get('state', '{NONE}')")}
    result |= told("value_json.last_result")
    error = health | {"value_template": text(f"(value_json.last_error or {{}}).get('code', '{NONE}')")}
    error |= told("value_json.last_error")
    next_post = own | {"device_class": "timestamp", "value_template": state("value_json.next_post_at")}
    queue = own | {"state_class": "measurement", "unit_of_measurement": "posts"}
    queue |= {"value_template": state("value_json.queued")}
    days = health | {"device_class": "duration", "state_class": "measurement", "unit_of_measurement": "d"}
    days |= {"value_template": state("value_json.token_days_left")}
    return (
        Entity("login", "binary_sensor", "Logged in", login),
        Entity("problem", "binary_sensor", "Problem", problem),
        Entity("browser_login", "sensor", "Browser login", browser),
        Entity("session", "sensor", "Session", session),
        Entity("next_post", "sensor", "Next post", next_post),
        Entity("queue", "sensor", "Queue", queue),
        Entity("last_result", "sensor", "Last result", result),
        Entity("last_error", "sensor", "Last error", error),
        Entity("token_days", "sensor", "Token days left", days),
    )


def _event(key: str, name: str, places: Places, condition: str, channel: str = "post") -> Entity:
    options = {
        "state_topic": places.event(channel), "qos": QOS, "event_types": list(types_of(channel)),
        "value_template": event(condition),
    }  # fmt: skip
    return Entity(key, "event", name, options)


def _button(
    key: str, name: str, places: Places, settings: HomeAssistantSettings, verb: str, args: Options
) -> Entity:
    options = {
        "command_topic": places.command(settings.actor, verb), "command_template": command(key, args), "qos": QOS,
    }  # fmt: skip
    return Entity(key, "button", name, options)


def _enabled(topic: str, places: Places, settings: HomeAssistantSettings, account: str) -> Entity:
    options = daemon_availability(places) | {  # not the account's: what is switched off must go on again
        "state_topic": topic, "qos": QOS, "entity_category": "config",
        "value_template": on_off("value_json.enabled"),
        "command_topic": places.command(settings.actor, "account/enabled"),
    } | positions({"account": account})  # fmt: skip
    return Entity("enabled", "switch", "Enabled", options)


def _screenshot(places: Places, account: str) -> Entity:
    options = {
        "image_topic": places.screenshot(account), "image_encoding": "b64", "content_type": "image/jpeg",
        "enabled_by_default": False,
    }  # fmt: skip
    return Entity("screenshot", "image", "Screenshot", options)


def _picture_button(places: Places, settings: HomeAssistantSettings) -> Entity:
    found = _button("take_screenshot", "Take screenshot", places, settings, "session/screenshot", {})
    return Entity(found.key, found.platform, found.name, found.options | {"enabled_by_default": False})
