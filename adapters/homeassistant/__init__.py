"""tokd in Home Assistant's words: MQTT discovery, as values. Nothing here publishes anything."""

from adapters.homeassistant.birth import Birth
from adapters.homeassistant.introducer import HomeAssistant
from adapters.homeassistant.settings import HomeAssistantSettings

__all__ = ["Birth", "HomeAssistant", "HomeAssistantSettings"]
