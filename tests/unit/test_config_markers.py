"""The login markers: the built-in file, a person's file over it, and every mistake told at once."""

import tomllib
from pathlib import Path

import pytest

from config.load import ConfigError, load, load_with_origins
from config.login_markers import LoginMarkers, built_in_toml, load_markers, markers_toml
from config.show import effective

HINT = "[session] login_markers_file names it; `tokd config markers` prints one to start from"

FIVE_MISTAKES = """\
hosts = []
cookie = ["sessionid"]
dom_in = ["", '[data-e2e="x"]']
login_paths = ["login"]

[[page_state]]
script = "STATE"
context = []
user = []
id_keys = ["uid"]

[[page_state]]
script = "OTHER"
context = []
user = []
id_keys = []
"""


def write(folder: Path, text: str, name: str = "markers.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def complaints(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_markers(path)
    return str(caught.value).splitlines()


# -- the built-in file -----------------------------------------------------------------------------------------


def test_the_built_in_markers_are_right():
    assert load_markers(None).hosts == ("tiktok.com",)


def test_the_built_in_file_sets_every_marker():
    assert set(tomllib.loads(built_in_toml())) == set(LoginMarkers.model_fields)


def test_the_built_in_page_states_are_the_new_one_and_the_one_before():
    states = load_markers(None).page_state

    assert [(state.script, state.context, state.user) for state in states] == [
        ("__UNIVERSAL_DATA_FOR_REHYDRATION__", ("__DEFAULT_SCOPE__", "webapp.app-context"), ("user",)),
        ("SIGI_STATE", ("AppContext", "appContext"), ("user",)),
    ]


@pytest.mark.parametrize("name", ["sid_tt", "sid_guard", "uid_tt", "ttwid", "msToken", "odin_tt"])
def test_a_cookie_that_guests_have_is_no_login_cookie(name):
    assert name not in load_markers(None).cookies


def test_no_selector_speaks_for_both_sides():
    markers = load_markers(None)

    assert set(markers.dom_in).isdisjoint(markers.dom_out + markers.challenge)


def test_the_markers_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_markers(None).hosts = ()  # type: ignore[misc]


# -- a person's file -------------------------------------------------------------------------------------------


def test_the_built_in_file_changes_nothing(tmp_path):
    assert load_markers(write(tmp_path, built_in_toml())) == load_markers(None)


def test_an_empty_file_changes_nothing(tmp_path):
    assert load_markers(write(tmp_path, "")) == load_markers(None)


def test_a_key_replaces_the_whole_of_the_built_in_one(tmp_path):
    assert load_markers(write(tmp_path, 'cookies = ["sid"]\n')).cookies == ("sid",)


def test_a_key_leaves_the_others_alone(tmp_path):
    assert load_markers(write(tmp_path, 'cookies = ["sid"]\n')).dom_in == load_markers(None).dom_in


def test_page_states_replace_all_built_in_ones(tmp_path):
    path = write(tmp_path, '[[page_state]]\nscript = "S"\ncontext = []\nuser = ["me"]\nid_keys = ["id"]\n')

    assert [state.script for state in load_markers(path).page_state] == ["S"]


@pytest.mark.parametrize("name", sorted(set(LoginMarkers.model_fields) - {"hosts"}))
def test_every_sign_can_be_switched_off(tmp_path, name):
    assert getattr(load_markers(write(tmp_path, f"{name} = []\n")), name) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "TikTok.com"])
def test_a_host_is_a_name_or_an_address_in_lower_case(tmp_path, host):
    assert load_markers(write(tmp_path, f'hosts = ["{host}"]\n')).hosts == (host.lower(),)


def test_what_holds_can_be_loaded_again(tmp_path):
    markers = load_markers(write(tmp_path, 'cookies = []\ndom_out = ["a[title=\'\\"x\\"\']"]\n'))

    assert load_markers(write(tmp_path, markers_toml(markers), "again.toml")) == markers


def test_what_holds_without_page_state_can_be_loaded_again(tmp_path):
    markers = load_markers(write(tmp_path, "page_state = []\n"))

    assert load_markers(write(tmp_path, markers_toml(markers), "again.toml")) == markers


# -- mistakes --------------------------------------------------------------------------------------------------


def test_five_mistakes_are_reported_at_once_with_their_lines(tmp_path):
    path = write(tmp_path, FIVE_MISTAKES)

    assert complaints(path) == [
        f"{path}:1: hosts: must not be empty",
        f'{path}:2: cookie: unknown key; did you mean "cookies"?',
        f"{path}:3: dom_in[0]: must be one line of text, not empty and without control characters",
        f'{path}:4: login_paths[0]: must be a path that starts with "/", without space, "?" or "#"',
        f"{path}:16: page_state[1].id_keys: must not be empty",
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('hosts = "tiktok.com"', 1, "hosts: should be a valid list"),
        ("cookies = [1]", 1, "cookies[0]: should be a valid string"),
        (
            'hosts = ["https://a.b"]',
            1,
            "hosts[0]: must be a host name or IP address, without scheme, port or path",
        ),
        ('cookies = ["a=1"]', 1, "cookies[0]: must be the name of a cookie, without its value"),
        ('info_paths = ["/a?b=1"]', 1, 'info_paths[0]: must be a path that starts with "/", without space, "?" or "#"'),
        (f'dom_in = ["{"x" * 301}"]', 1, "dom_in[0]: string should have at most 300 characters"),
        ("[page_state]\nscript = 'x'", 1, "page_state: should be a valid list"),
        ("zebra = 1", 1, "zebra: unknown key"),
        (
            "[[page_state]]\nscript='#x'\ncontext=[]\nuser=[]\nid_keys=['a']",
            2,
            'page_state[0].script: must be the id of a script element, without "#" and space',
        ),
        (
            "[[page_state]]\nscript='x'\ncontext=[]\nuser=[]\nid_keys=['a']\nidkeys=[]",
            6,
            'page_state[0].idkeys: unknown key; did you mean "id_keys"?',
        ),
        (
            "[[page_state]]\nscript='x'\ncontext=[]\nuser=[]\nid_keys=['a']\ncookies=[]",
            6,
            "page_state[0].cookies: unknown key; it belongs above the first [[page_state]]",
        ),
        ("[[page_state]]\ncontext=[]\nuser=[]\nid_keys=['a']", 1, "page_state[0].script: field required"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(tmp_path, text, line, message):
    path = write(tmp_path, text)

    assert complaints(path) == [f"{path}:{line}: {message}"]


def test_a_list_has_an_end(tmp_path):
    path = write(tmp_path, f"dom_in = {['a'] * 51}\n")

    assert complaints(path) == [
        f"{path}:1: dom_in: list should have at most 50 items after validation, not 51"
    ]


def test_a_missing_file_is_a_problem(tmp_path):
    path = tmp_path / "nowhere.toml"

    assert complaints(path) == [f"{path}: cannot be read: no such file or directory; {HINT}"]


def test_a_folder_is_a_problem(tmp_path):
    assert complaints(tmp_path) == [f"{tmp_path}: cannot be read: is a directory; {HINT}"]


def test_a_file_that_is_no_toml_is_a_problem(tmp_path):
    path = write(tmp_path, "hosts = [\n")

    assert [line.partition(": ")[0] for line in complaints(path)] == [f"{path}:1"]


def test_a_file_that_is_no_text_is_a_problem(tmp_path):
    path = tmp_path / "markers.toml"
    path.write_bytes(b"\xff\xfe")

    assert complaints(path) == [f"{path}: is not UTF-8 text; {HINT}"]


# -- with the settings -----------------------------------------------------------------------------------------


def test_without_a_file_the_settings_come_with_the_built_in_markers():
    assert load_with_origins(None, {}, {}).markers == load_markers(None)


def test_the_file_is_found_beside_the_settings_that_name_it(tmp_path):
    write(tmp_path, 'cookies = ["sid"]\n')
    settings = write(tmp_path, '[session]\nlogin_markers_file = "markers.toml"\n', "tokd.toml")

    assert load_with_origins(settings, {}, {}).markers.cookies == ("sid",)


def test_mistakes_in_both_files_are_told_together(tmp_path):
    path = write(tmp_path, "cookies = 1\n")
    settings = write(tmp_path, '[session]\nlogin_markers_file = "markers.toml"\nprofil = "a"\n', "tokd.toml")

    with pytest.raises(ConfigError) as caught:
        load(settings, {}, {})

    assert str(caught.value).splitlines() == [
        f"{path}:1: cookies: should be a valid list",
        f'{settings}:3: session.profil: unknown key; did you mean "profile"?',
    ]


# -- the folder of the profiles, by another program's variable ------------------------------------------------

FOREIGN = "CAMOUFOX_USER_DATA_DIR"
OURS = "TOKD_SESSION__USER_DATA_MASTER_DIR"


def folder(path: Path | None, environ: dict[str, str], overrides: dict[str, str] | None = None) -> str:
    return str(load(path, overrides or {}, environ).session.user_data_master_dir)


def test_another_programs_variable_beats_the_file(tmp_path):
    path = write(tmp_path, '[session]\nuser_data_master_dir = "/file"\n', "tokd.toml")

    assert folder(path, {FOREIGN: "/foreign"}) == "/foreign"


def test_our_variable_beats_another_programs():
    assert folder(None, {FOREIGN: "/foreign", OURS: "/ours"}) == "/ours"


def test_an_override_beats_another_programs_variable():
    assert folder(None, {FOREIGN: "/foreign"}, {"session.user_data_master_dir": "/override"}) == "/override"


def test_another_programs_variable_starts_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert folder(None, {FOREIGN: "profiles"}) == str(tmp_path / "profiles")


def test_another_programs_empty_variable_says_nothing(tmp_path):
    path = write(tmp_path, '[session]\nuser_data_master_dir = "/file"\n', "tokd.toml")

    assert folder(path, {FOREIGN: ""}) == "/file"


def test_another_programs_variable_is_shown_as_the_origin():
    loaded = load_with_origins(None, {}, {FOREIGN: "/foreign"})

    shown = effective(loaded.settings, loaded.origins).splitlines()

    assert f'user_data_master_dir = "/foreign"  # environment {FOREIGN}' in shown


def test_our_variable_is_shown_as_the_origin_where_it_wins():
    loaded = load_with_origins(None, {}, {FOREIGN: "/foreign", OURS: "/ours"})

    assert str(loaded.origins["session.user_data_master_dir"]) == f"environment {OURS}"
