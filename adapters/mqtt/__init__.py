"""The MQTT door: commands in, replies, events and states out."""

from adapters.mqtt.gateway import MqttGateway
from adapters.mqtt.settings import MqttSettings, TlsSettings
from adapters.mqtt.topics import Topics

__all__ = ["MqttGateway", "MqttSettings", "TlsSettings", "Topics"]
