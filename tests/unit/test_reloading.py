"""A reload takes what is good, keeps the old where anything is bad, and says which settings need a restart."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.load import Loaded, load_with_origins
from config.logging import Redactor, set_level
from config.login_markers import load_markers, markers_toml
from daemon.reloading import Reloader, changed


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    root = logging.getLogger()
    before, handlers = root.level, [(handler, handler.level) for handler in root.handlers]
    yield
    root.setLevel(before)
    for handler, level in handlers:
        handler.setLevel(level)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "tokd.toml"
        self.write('[log]\nlevel = "info"')
        self.redactor = Redactor()
        self.reload = Reloader(self.read, self.read(), self.redactor)

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.file.chmod(0o600)

    def read(self) -> Loaded:
        return load_with_origins(self.file, {}, {})


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_the_log_level_changes_at_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.write('[log]\nlevel = "debug"')

    stage.reload()

    assert logging.getLogger().level == logging.DEBUG
    assert "reloaded; log.level is debug" in caplog.text


def test_what_needs_a_restart_is_named_without_its_value(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.write(
        '[mqtt]\nhost = "127.0.0.1"\npassword = "fifteen-letters"\n[http]\nport = 8123\n[log]\nlevel = "warning"'
    )

    stage.reload()

    assert "these need a restart to count: http.port, mqtt.host, mqtt.password" in caplog.text
    assert "fifteen-letters" not in caplog.text
    assert logging.getLogger().level == logging.WARNING


def test_login_markers_that_were_changed_in_their_file_need_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    markers = tmp_path / "markers.toml"
    markers.write_text(markers_toml(load_markers(None)))
    stage = Stage(tmp_path)
    stage.write(f'[session]\nlogin_markers_file = "{markers}"')
    stage.reload = Reloader(stage.read, stage.read(), stage.redactor)
    markers.write_text(markers.read_text().replace("sessionid", "sessionid2"))

    stage.reload()

    assert "these need a restart to count: the login markers" in caplog.text


def test_a_new_secret_is_kept_out_of_the_log_from_then_on(stage: Stage) -> None:
    stage.write('[mqtt]\npassword = "fifteen-letters"')

    stage.reload()

    assert "fifteen-letters" not in stage.redactor.clean("a line with fifteen-letters in it")


@pytest.mark.parametrize("text", ['[log]\nlevel = "loud"', "[log\n", "[lgo]\nx = 1"])
def test_bad_settings_are_named_and_change_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    set_level("error")
    stage.write(text)

    stage.reload()

    assert logging.getLogger().level == logging.ERROR
    assert str(stage.file) in caplog.text
    assert "Traceback" not in caplog.text
    assert "the old settings stay in use" in caplog.text


def test_a_file_that_is_gone_changes_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.file.unlink()

    stage.reload()

    assert "the old settings stay in use" in caplog.text


def test_the_same_settings_differ_in_nothing(stage: Stage) -> None:
    assert changed(stage.read().settings, stage.read().settings) == []
