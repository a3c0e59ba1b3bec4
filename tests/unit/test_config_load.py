"""Loading the settings: precedence, paths, secrets, and every mistake told at once."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from config.load import ConfigError, load, load_with_origins
from config.settings import MqttSettings, Settings, TikTokSettings

FIVE_MISTAKES = """\
[mqtt]
prot = 1884
keepalive_s = "often"
password_file = "missing"

[daemon]
workers = 65

[tiktok]
api_base = "http://tiktok.example"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "tokd.toml"
    path.write_text(text)
    return path


def complaints(
    path: Path | None, overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, environ or {})
    return str(caught.value).splitlines()


def secret_file(folder: Path, content: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_five_mistakes_are_reported_at_once_with_their_lines(tmp_path):
    path = write(tmp_path, FIVE_MISTAKES)

    assert complaints(path) == [
        f'{path}:2: mqtt.prot: unknown key; did you mean "port"?',
        f"{path}:3: mqtt.keepalive_s: should be a valid integer",
        (
            f"{path}:4: mqtt.password_file: {tmp_path}/missing: no such file or directory; "
            "create it, readable by tokd's user only"
        ),
        f"{path}:7: daemon.workers: should be less than or equal to 64",
        (
            f"{path}:10: tiktok.api_base: must be https: plain http is for this machine only "
            "(127.0.0.1, ::1, localhost)"
        ),
    ]


def test_a_file_is_named_as_it_was_given(tmp_path, monkeypatch):
    write(tmp_path, "[mqtt]\nprot = 1\n")
    monkeypatch.chdir(tmp_path)

    assert complaints(Path("tokd.toml")) == ['tokd.toml:2: mqtt.prot: unknown key; did you mean "port"?']


def test_a_variable_beats_the_file(tmp_path):
    path = write(tmp_path, '[mqtt]\nhost = "file.lan"\n')

    assert load(path, {}, {"TOKD_MQTT__HOST": "variable.lan"}).mqtt.host == "variable.lan"


def test_an_override_beats_a_variable(tmp_path):
    environ = {"TOKD_MQTT__HOST": "variable.lan"}

    assert load(None, {"mqtt.host": "override.lan"}, environ).mqtt.host == "override.lan"


def test_the_file_beats_a_default(tmp_path):
    assert load(write(tmp_path, "[mqtt]\nport = 8883\n"), {}, {}).mqtt.port == 8883


def test_a_mistake_in_the_file_does_not_matter_where_a_variable_wins(tmp_path):
    path = write(tmp_path, '[mqtt]\nport = "x"\n')

    assert load(path, {}, {"TOKD_MQTT__PORT": "1884"}).mqtt.port == 1884


def test_every_value_knows_its_origin(tmp_path):
    path = write(tmp_path, '[mqtt]\nhost = "a"\nport = 1884\n')

    loaded = load_with_origins(path, {"log.level": "debug"}, {"TOKD_MQTT__PORT": "1885"})

    names = ("daemon.node", "mqtt.host", "mqtt.port", "log.level")
    assert [str(loaded.origins[name]) for name in names] == [
        "default", f"file {path}:2", "environment TOKD_MQTT__PORT", "override",
    ]  # fmt: skip


def test_the_file_can_be_named_by_a_variable(tmp_path):
    path = write(tmp_path, '[daemon]\nnode = "attic"\n')

    assert load(None, {}, {"TOKD_CONFIG": str(path)}).daemon.node == "attic"


def test_tokd_toml_in_the_working_directory_is_found(tmp_path, monkeypatch):
    write(tmp_path, '[daemon]\nnode = "attic"\n')
    monkeypatch.chdir(tmp_path)

    assert load(None, {}, {}).daemon.node == "attic"


def test_a_named_file_that_is_missing_is_a_problem(tmp_path):
    path = tmp_path / "nowhere.toml"

    assert complaints(path) == [f"{path}: cannot be read: no such file or directory"]


def test_a_syntax_error_is_one_problem_with_its_line(tmp_path):
    path = write(tmp_path, '[mqtt]\nhost = "a"\nport : 5\n')

    assert complaints(path) == [f"{path}:3: is not valid TOML: expected '=' after a key in a key/value pair"]


def test_a_file_cut_short_points_at_its_last_line(tmp_path):
    path = write(tmp_path, '[mqtt]\nhost = "a"\nport =')

    assert complaints(path) == [f"{path}:3: is not valid TOML: invalid value"]


def test_a_mistyped_variable_is_refused_with_a_suggestion():
    assert complaints(None, environ={"TOKD_MQTT_HOST": "a"}) == [
        "environment: TOKD_MQTT_HOST: unknown variable; did you mean TOKD_MQTT__HOST?"
    ]


def test_a_wrong_value_in_a_variable_names_the_variable():
    assert complaints(None, environ={"TOKD_MQTT__PORT": "many"}) == [
        "environment TOKD_MQTT__PORT: mqtt.port: should be a valid integer"
    ]


def test_variables_of_others_are_left_alone():
    assert load(None, {}, {"TOKDX": "1", "PATH": "/bin"}) == load(None, {}, {})


def test_an_unknown_override_is_refused_with_a_suggestion():
    assert complaints(None, {"mqtt.hosts": "a"}) == [
        'override: mqtt.hosts: unknown key; did you mean "host"?'
    ]


def test_selectors_are_known_by_another_name(tmp_path):
    path = write(tmp_path, '[session]\nselectors = "a"\n')

    for found in (complaints(path), complaints(None, environ={"TOKD_SESSION__SELECTORS": "{}"})):
        assert found[0].endswith("session.login_markers_file names; `tokd config markers` prints it")


def test_a_mistyped_section_is_refused_with_a_suggestion(tmp_path):
    path = write(tmp_path, "\n[mqqt]\nport = 1\n")

    assert complaints(path) == [f'{path}:2: mqqt: unknown section; did you mean "mqtt"?']


def test_a_key_in_the_wrong_section_is_sent_home(tmp_path):
    path = write(tmp_path, '[mqtt]\nclient_secret_file = "a"\n')

    assert complaints(path) == [f"{path}:2: mqtt.client_secret_file: unknown key; it belongs to [tiktok]"]


def test_a_value_where_a_table_belongs_is_refused(tmp_path):
    path = write(tmp_path, "mqtt = 1\n")

    assert complaints(path) == [f"{path}:1: mqtt: must be a table; write [mqtt]"]


def test_an_inline_table_points_at_its_line(tmp_path):
    path = write(tmp_path, "[mqtt]\nport = 1\ntls = { verify = 5 }\n")

    assert complaints(path) == [f"{path}:3: mqtt.tls.verify: should be a valid boolean"]


def test_a_key_after_a_comment_in_a_nested_table_keeps_its_line(tmp_path):
    path = write(tmp_path, "# port = 0\n[mqtt]\nport = 1\n[mqtt.tls] # here\n\n'verify' = 5\n")

    assert complaints(path) == [f"{path}:6: mqtt.tls.verify: should be a valid boolean"]


def test_the_wrong_item_of_a_list_is_named(tmp_path):
    path = write(tmp_path, "[posts]\nretry_delays_s = [5, -1]\n")

    assert complaints(path) == [f"{path}:2: posts.retry_delays_s[1]: should be greater than 0"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("daemon.node", '"a b"', id="space in node"),
        pytest.param("mqtt.port", "true", id="boolean as number"),
        pytest.param("mqtt.port", '"1883"', id="text as number"),
        pytest.param("mqtt.host", '"mqtt://a"', id="address as host"),
        pytest.param("mqtt.prefix", '"/tokd"', id="leading slash"),
        pytest.param("mqtt.prefix", '"tokd/"', id="trailing slash"),
        pytest.param("mqtt.prefix", '"a//b"', id="empty level"),
        pytest.param("mqtt.prefix", '"a/+"', id="wildcard"),
        pytest.param("mqtt.prefix", '"$SYS"', id="dollar"),
        pytest.param("mqtt.protocol", '"4"', id="unknown protocol"),
        pytest.param("mqtt.unix_socket", '""', id="empty path"),
        pytest.param("posts.late_after_s", "nan", id="not a number"),
        pytest.param("posts.status_delays_s", "[]", id="no status delay"),
        pytest.param("posts.uncertain_steps", "[[60, 15], [60, 30]]", id="steps out of order"),
        pytest.param("tiktok.chunk_size", "33_000_000", id="chunk over half of a single chunk"),
        pytest.param("daemon.database_url", '"postgres://a/b"', id="other driver"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused(tmp_path, key, value):
    section, _, name = key.partition(".")
    path = write(tmp_path, f"[{section}]\n{name} = {value}\n")

    assert len(complaints(path)) == 1


def test_protocol_5_may_be_written_as_a_number(tmp_path):
    assert load(write(tmp_path, "[mqtt]\nprotocol = 5\n"), {}, {}).mqtt.protocol == "5"


def test_host_and_unix_socket_exclude_each_other(tmp_path):
    path = write(tmp_path, '[mqtt]\nhost = "a"\nunix_socket = "b"\n')

    assert complaints(path) == [f"{path}:1: mqtt: set host or unix_socket, not both"]


def test_mqtt_is_off_without_host_and_socket():
    assert not load(None, {}, {}).mqtt.is_enabled


def test_paths_in_a_file_start_at_its_folder(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    path = write(tmp_path / "etc", '[daemon]\nstate_dir = "../state"\n[media]\nroots = ["videos"]\n')
    monkeypatch.chdir(tmp_path)

    settings = load(path, {}, {})

    assert (settings.state_dir, settings.media.roots) == (tmp_path / "state", (tmp_path / "etc" / "videos",))


def test_paths_in_variables_and_defaults_start_at_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = load(None, {}, {"TOKD_DAEMON__STATE_DIR": "here"})

    assert (settings.state_dir, settings.media.roots) == (tmp_path / "here", (tmp_path / "media",))


def test_what_is_not_set_is_derived_from_the_state_folder(tmp_path):
    settings = load(None, {"daemon.state_dir": str(tmp_path)}, {})

    assert (settings.key_file, settings.control_socket, settings.database_url_text) == (
        tmp_path / "secrets" / "fernet.keys", tmp_path / "control.sock", f"sqlite:///{tmp_path}/tokd.db",
    )  # fmt: skip


def test_the_client_id_follows_the_node():
    assert load(None, {"daemon.node": "attic"}, {}).mqtt_client_id == "tokd-attic"


def test_a_list_in_a_variable_may_use_commas():
    settings = load(None, {}, {"TOKD_POSTS__RETRY_DELAYS_S": "1, 2.5"})

    assert settings.posts.retry_delays_s == (1, 2.5)


def test_a_list_in_a_variable_may_be_json():
    settings = load(None, {}, {"TOKD_POSTS__UNCERTAIN_STEPS": "[[1, 1], [5, 2]]"})

    assert settings.posts.uncertain_steps == ((1, 1), (5, 2))


def test_an_empty_variable_clears_an_optional_setting(tmp_path):
    path = write(tmp_path, '[mqtt]\nhost = "a"\n')

    assert load(path, {}, {"TOKD_MQTT__HOST": ""}).mqtt.host is None


def test_a_secret_file_gives_its_one_line(tmp_path):
    environ = {"TOKD_MQTT__PASSWORD_FILE": str(secret_file(tmp_path, "opensesame\n"))}

    password = load(None, {}, environ).mqtt.password

    assert password is not None and password.get_secret_value() == "opensesame"  # noqa: PT018


def test_a_secret_file_of_two_lines_is_refused(tmp_path):
    path = secret_file(tmp_path, "open\nsesame\n")

    assert complaints(None, {"mqtt.password_file": str(path)}) == [
        f"override: mqtt.password_file: {path}: must be one line of text, without control characters"
    ]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_secret_file_others_can_read_is_refused(tmp_path, mode):
    path = secret_file(tmp_path, "opensesame", mode)

    assert complaints(None, {"mqtt.password_file": str(path)}) == [
        f"override: mqtt.password_file: {path}: mode {mode:04o} lets others read it; chmod 600 it"
    ]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440])
def test_a_private_secret_file_is_accepted(tmp_path, mode):
    path = secret_file(tmp_path, "opensesame", mode)

    assert load(None, {"mqtt.password_file": str(path)}, {}).mqtt.password is not None


def test_a_systemd_credential_may_have_any_mode(tmp_path):
    path = secret_file(tmp_path, "opensesame", 0o444)

    settings = load(None, {"mqtt.password_file": str(path)}, {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert settings.mqtt.password is not None


def test_a_directory_is_no_secret_file(tmp_path):
    assert complaints(None, {"mqtt.password_file": str(tmp_path)}) == [
        f"override: mqtt.password_file: {tmp_path}: is not a regular file"
    ]


def test_a_secret_and_its_file_in_one_source_are_refused(tmp_path):
    path = write(tmp_path, '[mqtt]\npassword = "opensesame"\npassword_file = "secret"\n')

    assert complaints(path) == [f"{path}:3: mqtt.password_file: password is set as well; keep one"]


def test_a_secret_in_a_variable_beats_a_secret_file_named_in_the_file(tmp_path):
    path = write(tmp_path, '[mqtt]\npassword_file = "missing"\n')

    password = load(path, {}, {"TOKD_MQTT__PASSWORD": "opensesame"}).mqtt.password

    assert password is not None and password.get_secret_value() == "opensesame"  # noqa: PT018


def test_a_database_address_can_come_from_a_secret_file(tmp_path):
    path = secret_file(tmp_path, "postgresql+psycopg://tokd:opensesame@db/tokd\n")

    settings = load(None, {"daemon.database_url_file": str(path)}, {})

    assert settings.database_url_text == "postgresql+psycopg://tokd:opensesame@db/tokd"


def test_secrets_are_not_in_the_repr(tmp_path):
    settings = load(None, {"mqtt.password": "opensesame", "tiktok.client_secret": "opensesame"}, {})

    assert "opensesame" not in repr(settings)


def test_every_secret_is_handed_to_the_redactor():
    overrides = {
        "daemon.database_url": "postgresql+psycopg://tokd:p/ss@db/tokd",
        "mqtt.password": "opensesame",
        "tiktok.client_secret": "hocuspocus",
    }

    assert load(None, overrides, {}).secret_values == (
        "postgresql+psycopg://tokd:p/ss@db/tokd", "opensesame", "hocuspocus", "p/ss",
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        'password = ["opensesame"]',
        'password = "open\\nopensesame"',
        'passwort = "opensesame"',
        'host = "user:opensesame@broker"',
    ],
)
def test_a_complaint_never_repeats_a_value(tmp_path, line):
    path = write(tmp_path, f"[mqtt]\n{line}\n")

    assert "opensesame" not in "\n".join(complaints(path))


def test_a_secret_in_a_file_others_can_read_is_a_warning(tmp_path):
    path = write(tmp_path, '[mqtt]\npassword = "opensesame"\n')
    path.chmod(0o644)

    assert load_with_origins(path, {}, {}).warnings == (
        f"{path}: others may read mqtt.password: chmod 600 it, or use mqtt.password_file",
    )


def test_trusting_any_broker_is_a_warning():
    loaded = load_with_origins(None, {"mqtt.tls.enabled": "yes", "mqtt.tls.verify": "no"}, {})

    assert loaded.warnings == ("mqtt.tls.verify is false: anyone on the way can pose as the broker",)


def test_a_bare_model_reads_no_environment(monkeypatch):
    monkeypatch.setenv("TOKD_MQTT__PORT", "1")
    monkeypatch.setenv("MQTT", '{"port": 1}')

    assert Settings().mqtt.port == 1883


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        MqttSettings().port = 1  # type: ignore[misc]


def test_the_api_base_loses_its_last_slash():
    assert TikTokSettings(api_base="http://127.0.0.1:8080/").api_base == "http://127.0.0.1:8080"
