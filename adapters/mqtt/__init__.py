"""The MQTT door: commands in, replies, events and states out."""

from adapters.mqtt.gateway import MqttGateway
from adapters.mqtt.settings import MqttSettings, TlsSettings

__all__ = ["MqttGateway", "MqttSettings", "TlsSettings"]
