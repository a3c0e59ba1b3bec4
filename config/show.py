"""The effective configuration as TOML, each value with its origin, no secret in it."""

from collections.abc import Iterator, Mapping

from config.catalogue import Key, keys, sections
from config.settings import Settings
from config.sources import Origin
from config.toml_text import toml_value


def effective(settings: Settings, origins: Mapping[str, Origin]) -> str:
    """Return `settings` as valid TOML; a key that is not set is a comment, or shows what stands in for it."""
    stand_ins = {
        "secrets.key_file": settings.key_file,
        "control.socket": settings.control_socket,
        "mqtt.client_id": settings.mqtt_client_id,
    }
    if settings.daemon.database_url is None:
        stand_ins["daemon.database_url"] = settings.database_url_text
    blocks = []
    for section in sections():
        lines = [f"[{section}]"]
        lines += _lines(settings, section, stand_ins, origins)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _lines(
    settings: Settings, section: str, stand_ins: Mapping[str, object], origins: Mapping[str, Origin]
) -> Iterator[str]:
    for key in (key for key in keys().values() if key.section == section):
        value = _value(settings, key)
        shown = stand_ins.get(key.name) if value is None else value
        origin = str(origins.get(key.name, Origin("default"))).replace("\n", " ")
        if shown is not None:
            yield f"{key.short_name} = {toml_value(shown)}  # {origin}"
        elif not key.is_hidden:
            yield f"# {key.short_name} is not set  # {origin}"


def _value(settings: Settings, key: Key) -> object:
    value: object = settings
    for step in key.name.split("."):
        value = getattr(value, step)
    return value
