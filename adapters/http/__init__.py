"""Commands over HTTP: a translation onto the same verbs as MQTT, with no logic of its own."""

from adapters.http.server import HttpServer
from adapters.http.settings import HttpSettings

__all__ = ["HttpServer", "HttpSettings"]
