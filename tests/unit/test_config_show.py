"""What people get to see of the settings: the effective file, the example and the schema."""

import tomllib
from pathlib import Path

import pytest

from config.catalogue import keys
from config.load import load, load_with_origins
from config.schema import example_toml, settings_schema
from config.settings import Settings
from config.show import effective


def test_the_effective_settings_show_each_origin(tmp_path):
    path = tmp_path / "tokd.toml"
    path.write_text('[mqtt]\nhost = "a.lan"\n')
    loaded = load_with_origins(path, {"mqtt.prefix": "home"}, {"TOKD_MQTT__PORT": "1884"})

    lines = effective(loaded.settings, loaded.origins).splitlines()

    assert {
        f'host = "a.lan"  # file {path}:2',
        "port = 1884  # environment TOKD_MQTT__PORT",
        'prefix = "home"  # override',
        "keepalive_s = 30  # default",
        "# username is not set  # default",
    } <= set(lines)


def test_the_effective_settings_hide_secrets():
    overrides = {
        "mqtt.password": "opensesame",
        "daemon.database_url": "postgresql+psycopg://a:opensesame@b/c",
    }
    loaded = load_with_origins(None, overrides, {})

    text = effective(loaded.settings, loaded.origins)

    assert ("opensesame" in text, text.count('"**********"')) == (False, 2)


def test_the_effective_settings_can_be_loaded_again(tmp_path):
    loaded = load_with_origins(None, {"mqtt.host": "a", "daemon.state_dir": str(tmp_path)}, {})
    path = tmp_path / "shown.toml"
    path.write_text(effective(loaded.settings, loaded.origins))

    again = load_with_origins(path, {}, {})

    shown = [
        [line.partition("  # ")[0] for line in effective(each.settings, {}).splitlines()]
        for each in (loaded, again)
    ]
    # The SQLite address that was derived is now set, so it counts as a secret.
    assert [line for line in shown[0] if "database_url" not in line] == [
        line for line in shown[1] if "database_url" not in line
    ]


def test_the_failpoint_is_shown_only_when_set():
    shown = [effective(Settings(), {}), effective(load(None, {"daemon.failpoint": "x"}, {}), {})]

    assert ["failpoint" in text for text in shown] == [False, True]


def test_defaults_toml_is_the_generated_example():
    path = Path(__file__).parents[2] / "config" / "defaults.toml"

    assert path.read_text() == example_toml(), "write it anew as config/schema.py says"


def test_the_example_changes_nothing(tmp_path):
    path = tmp_path / "tokd.toml"
    path.write_text(example_toml())

    assert load(path, {}, {}).posts == Settings().posts


@pytest.mark.parametrize("name", [key.name for key in keys().values() if not key.is_hidden])
def test_every_key_of_the_example_is_toml_when_uncommented(name):
    section, _, short = name.rpartition(".")
    block = example_toml().split(f"\n[{section}]\n")[1]
    line = next(line for line in block.splitlines() if line.startswith(f"#{short} = "))

    assert list(tomllib.loads(line[1:])) == [short]


@pytest.mark.parametrize("name", [key.name for key in keys().values()])
def test_every_key_is_described_in_one_sentence(name):
    description = keys()[name].info.description

    assert description and description.endswith(".")  # noqa: PT018


def test_the_schema_refuses_unknown_keys():
    definitions = settings_schema()["$defs"].values()

    assert all(definition["additionalProperties"] is False for definition in definitions)


def test_the_schema_hides_the_failpoint():
    assert "failpoint" not in str(settings_schema())
