"""From entities to discovery messages: one for a device, or one for each of its components."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.homeassistant.entities import (
    Entity,
    Options,
    account_availability,
    account_entities,
    daemon_availability,
    daemon_entities,
)
from adapters.homeassistant.names import device_id, entity_id
from adapters.homeassistant.settings import HomeAssistantSettings
from daemon.domain.events import as_json
from daemon.domain.introduction import Facts
from daemon.ports import Places


@dataclass(frozen=True, slots=True)
class Card:
    """One discovery message: its topic, what it says, and the platform of each component in it by its key."""

    topic: str
    message: Mapping[str, Any]
    components: Mapping[str, str]

    @property
    def payload(self) -> str:
        """Return the message's bytes as text."""
        return as_json(self.message)

    @property
    def digest(self) -> str:
        """Return a digest of the message."""
        return hashlib.sha256(self.payload.encode()).hexdigest()[:16]

    def with_removed(self, lost: Mapping[str, str]) -> str:
        """Return the message with components that go: reduced to their platform, as the first of two steps."""
        reduced = {key: {"platform": platform} for key, platform in lost.items()}
        return as_json({**self.message, "components": {**self.message["components"], **reduced}})


@dataclass(frozen=True, slots=True)
class _Device:
    id: str
    owner: str
    device: Options
    shared: Options
    entities: tuple[Entity, ...]


def cards(facts: Facts, places: Places, settings: HomeAssistantSettings) -> Iterator[Card]:
    """Return all messages that the facts make; none where discovery is off."""
    if settings.mode == "off":
        return
    origin = {"name": "tokd", "sw_version": facts.version} | (
        {"support_url": settings.url} if settings.url else {}
    )
    for found in _devices(facts, places, settings):
        if settings.mode == "device":
            yield _device_card(found, origin, settings.prefix)
        else:
            yield from _component_cards(found, origin, settings.prefix)


def _devices(facts: Facts, places: Places, settings: HomeAssistantSettings) -> Iterator[_Device]:
    hub = device_id(facts.node)
    common = {"manufacturer": "tokd", "sw_version": facts.version}
    yield _Device(
        hub, facts.node, {"identifiers": [hub], "name": f"tokd {facts.node}", "model": "Daemon"} | common,
        daemon_availability(places), daemon_entities(places, settings),
    )  # fmt: skip
    for account in facts.accounts:
        own = device_id(facts.node, account.name)
        device = {
            "identifiers": [own],
            "name": f"TikTok {account.name}",
            "model": "Account",
            "via_device": hub,
        }
        yield _Device(
            own, account.name, device | common, account_availability(places, account.name),
            account_entities(places, settings, account),
        )  # fmt: skip


def _component(found: _Device, entity: Entity) -> Options:
    return {
        "unique_id": f"{found.id}_{entity.key}",
        "default_entity_id": entity_id(entity.platform, found.owner, entity.key),
        "name": entity.name,
    } | entity.options


def _device_card(found: _Device, origin: Options, prefix: str) -> Card:
    components = {
        entity.key: {"platform": entity.platform} | _component(found, entity) for entity in found.entities
    }
    message = {"device": found.device, "origin": origin} | found.shared | {"components": components}
    return Card(
        f"{prefix}/device/{found.id}/config",
        message,
        {entity.key: entity.platform for entity in found.entities},
    )


def _component_cards(found: _Device, origin: Options, prefix: str) -> Iterator[Card]:
    for entity in found.entities:
        message = {"device": found.device, "origin": origin} | found.shared | _component(found, entity)
        yield Card(
            f"{prefix}/{entity.platform}/{found.id}/{entity.key}/config",
            message,
            {entity.key: entity.platform},
        )
