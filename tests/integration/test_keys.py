"""Key rotation with real files and a real daemon: whatever is cut short, every secret can be read."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.vault import FernetVault, add_key, key_id, load_keys, prune_keys
from daemon.domain.errors import StartRefused
from tests.daemons import ROOT, Daemon, Simulator
from tests.integration.test_backup import tokd

KILLED_ADD = """
import os, signal, sys
from pathlib import Path
from adapters import vault

call, count = sys.argv[2], int(sys.argv[3])
true = getattr(os, call)

def dies(*args, **kwargs):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return true(*args, **kwargs)

setattr(os, call, dies)
vault.add_key(Path(sys.argv[1]))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    load_keys(path, None, create=True)
    return path


def keys_of(path: Path) -> list[str]:
    return load_keys(path, None, create=False)[0]


def test_a_new_key_comes_before_the_others(file: Path) -> None:
    (old,) = keys_of(file)

    name = add_key(file)

    fresh, kept = keys_of(file)
    assert (key_id(fresh), kept) == (name, old)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_vault_reads_its_keys_anew_and_opens_what_is_old(file: Path) -> None:
    vault = FernetVault(keys_of(file), source=lambda: keys_of(file))
    sealed = vault.seal("access_token", "ada", "act")
    add_key(file)
    assert vault.is_newest(sealed)

    vault.read_keys()

    assert not vault.is_newest(sealed)
    assert vault.open("access_token", "ada", sealed) == "act"
    assert vault.is_newest(vault.seal("access_token", "ada", "act"))


def test_a_key_file_that_is_gone_leaves_the_vault_as_it_was(file: Path) -> None:
    vault = FernetVault(keys_of(file), source=lambda: keys_of(file))
    sealed = vault.seal("access_token", "ada", "act")
    file.unlink()

    with pytest.raises(StartRefused):
        vault.read_keys()

    assert vault.open("access_token", "ada", sealed) == "act"


def test_pruning_keeps_the_newest_only(file: Path) -> None:
    (old,) = keys_of(file)
    name = add_key(file)

    assert prune_keys(file) == [key_id(old)]
    assert [key_id(key) for key in keys_of(file)] == [name]
    assert prune_keys(file) == []


def test_a_keys_name_is_no_piece_of_it(file: Path) -> None:
    (key,) = keys_of(file)

    assert re.fullmatch(r"[0-9a-f]{12}", key_id(key))
    assert key_id(key) not in key


@pytest.mark.parametrize(("call", "count"), [("fchmod", 1), ("fsync", 1), ("rename", 1), ("fsync", 2)])
def test_killed_at_any_step_the_file_is_whole(file: Path, call: str, count: int) -> None:
    (old,) = keys_of(file)

    done = subprocess.run(
        [sys.executable, "-c", KILLED_ADD, str(file), call, str(count)], cwd=ROOT, check=False, timeout=30
    )

    assert done.returncode == -9
    assert keys_of(file)[-1] == old
    assert len(keys_of(file)) == (2 if (call, count) == ("fsync", 2) else 1)
    add_key(file)  # the next try is not kept from it by what is left


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("keys")
    simulator = Simulator(folder / "simulator")
    found = Daemon(folder).use_simulator(simulator)
    try:
        found.start()
        found.link(simulator)
        yield found
    finally:
        found.stop()
        simulator.stop()


def test_a_running_daemon_changes_over_and_forgets_the_old_key(daemon: Daemon) -> None:
    file = daemon.state_dir / "secrets" / "fernet.keys"
    (old,) = keys_of(file)
    before = daemon.rows("SELECT access_token, refresh_token FROM account")

    rotated = tokd(daemon, "keys", "rotate")
    pruned = tokd(daemon, "keys", "prune")

    assert "2 secrets sealed anew" in rotated.stdout, rotated.stderr
    assert key_id(old) in pruned.stdout, pruned.stderr
    ((access, refresh),) = daemon.rows("SELECT access_token, refresh_token FROM account")
    assert before != [(access, refresh)]
    vault = FernetVault(keys_of(file))
    assert all(vault.is_newest(sealed) for sealed in (access, refresh))
    for text in (rotated.stdout + rotated.stderr + pruned.stdout + pruned.stderr, daemon.log.read_text()):
        assert not [key for key in (old, *keys_of(file)) if key in text]


def test_a_rotation_that_was_killed_goes_on_while_tokd_is_down(daemon: Daemon) -> None:
    file = daemon.state_dir / "secrets" / "fernet.keys"
    add_key(file)  # here it was killed: the new key is there, nothing is sealed with it
    daemon.stop()
    daemon.start()
    daemon.stop()

    done = tokd(daemon, "keys", "rotate", "--reseal-only")

    assert "2 secrets sealed anew" in done.stdout, done.stderr
    assert len(keys_of(file)) == 2


def test_no_key_is_removed_that_something_may_need(daemon: Daemon) -> None:
    file = daemon.state_dir / "secrets" / "fernet.keys"
    daemon.stop()
    kept = file.read_text()
    file.unlink()
    load_keys(file, None, create=True)
    add_key(file)
    try:
        done = tokd(daemon, "keys", "prune")

        assert done.returncode == 1
        assert "2 secrets could not be opened" in done.stderr
        assert len(keys_of(file)) == 2
    finally:
        file.write_text(kept)
