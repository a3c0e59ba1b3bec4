"""What the settings look like: a JSON schema for editors and a commented example for people.

`config/defaults.toml` is the example, kept in step by a test. To write it anew:
`python -c "from config.schema import example_toml; print(example_toml(), end='')" > config/defaults.toml`
"""

from typing import Any

from config.catalogue import Key, keys, sections
from config.settings import Settings
from config.toml_text import toml_value

_INTRODUCTION = """\
# Settings of tokd. Every key is optional: what is commented out shows its default, or an example where
# it says "Not set by default". A relative path starts at this file's folder. Every key can also be given
# by the environment: [mqtt] host is TOKD_MQTT__HOST. Check with `tokd config check`.
"""


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of the settings file, without what is only for tokd's own tests."""
    schema = Settings.model_json_schema()
    for definition in [schema, *schema.get("$defs", {}).values()]:
        properties = definition.get("properties", {})
        for name in [name for name, field in properties.items() if field.get("hidden")]:
            del properties[name]
        for field in properties.values():
            if "$ref" in field:
                field.pop("default", None)  # a section's defaults stand at its keys
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def example_toml() -> str:
    """Return a settings file that changes nothing: every key commented out, with its sentence."""
    blocks = [_INTRODUCTION]
    for section, description in sections().items():
        lines = [f"# {description}", f"[{section}]"]
        for key in keys().values():
            if key.section == section and not key.is_hidden:
                lines += _describe(key)
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _describe(key: Key) -> list[str]:
    default = key.info.default
    note = " Not set by default." if default is None else ""
    value = (key.info.examples or [""])[0] if default is None else default
    return ["", f"# {key.info.description}{note}", f"#{key.short_name} = {toml_value(value)}"]
