"""Clones that become the profile: in one step, only where nothing would be lost, and through every crash."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.profiles import ProfileStore
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import ProfileName
from daemon.domain.session import SessionKind, Workplace
from tests.profiles import (
    CHROMIUM,
    MASTER,
    Chromium,
    a_store,
    files_of,
    fingerprint,
    make_profile,
    order,
    short_folder,
)

STEPS = ("flushed", "waiting", "exchanged", "backed_up")
CRASH = """
import os, sys
from pathlib import Path
from tests.profiles import MASTER, a_store, order
def reached(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), 9)
store = a_store(Path(sys.argv[1]), reached=reached)
place = store.prepare(order())
Path(place.user_data_dir, "Default/new").write_text("made in the session")
store.promote(place, MASTER)
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_profile(tmp_path / "master")
    return tmp_path


@pytest.fixture
def store(root: Path) -> ProfileStore:
    return a_store(root)


@pytest.fixture
def used(store: ProfileStore) -> Workplace:
    """A clone that a session has worked in."""
    place = store.prepare(order())
    Path(place.user_data_dir, "Default/new").write_text("made in the session")
    return place


def refusal(store: ProfileStore, place: Workplace, profile: str = MASTER) -> Rejected:
    before = files_of(Path(place.user_data_dir))
    with pytest.raises(Rejected) as caught:
        store.promote(place, ProfileName(profile))
    assert files_of(Path(place.user_data_dir)) == before, "the clone is where it was"
    return caught.value


def test_the_clone_becomes_the_profile_and_the_old_one_is_kept(
    root: Path, store: ProfileStore, used: Workplace
) -> None:
    before = fingerprint(root / "master")

    backup = Path(store.promote(used, MASTER))

    assert (root / "master/Default/new").read_text() == "made in the session"
    assert backup.parent == root / "backups"
    assert fingerprint(backup) == before
    assert [facts.name for facts in store.facts()] == [MASTER]


def test_after_a_promotion_the_session_is_released_as_ever(
    root: Path, store: ProfileStore, used: Workplace
) -> None:
    store.promote(used, MASTER)

    assert store.release(used)
    assert list((root / "clones").iterdir()) == []
    assert (root / "master/Default/new").exists()


def test_the_new_profile_can_be_cloned_at_once(store: ProfileStore, used: Workplace) -> None:
    store.promote(used, MASTER)

    place = store.prepare(order("00000000000000a2"))

    assert Path(place.user_data_dir, "Default/new").exists()


def test_the_persons_own_start_page_comes_back(root: Path, store: ProfileStore) -> None:
    path = root / "master/Default/Preferences"
    path.write_text('{"session":{"restore_on_startup":1},"größe":"ü"}', encoding="utf-8")
    place = store.prepare(order())

    store.promote(place, MASTER)

    assert json.loads(path.read_bytes())["session"] == {"restore_on_startup": 1}
    assert "größe" in path.read_text(encoding="utf-8")
    assert "restore_on_startup" not in (root / "master/Profile 1/Preferences").read_text()


def test_a_clone_brings_no_locks_of_its_browser(root: Path, store: ProfileStore, used: Workplace) -> None:
    Path(used.user_data_dir, "SingletonLock").symlink_to(f"{socket.gethostname()}-1")

    store.promote(used, MASTER)

    assert not os.path.lexists(root / "master/SingletonLock")


def test_a_profile_that_has_changed_since_is_kept(root: Path, store: ProfileStore, used: Workplace) -> None:
    (root / "master/Default/Cookies").touch()

    found = refusal(store, used)

    assert found.code is Code.PROFILE_CHANGED
    assert "has changed since it was cloned" in found.message


def test_of_two_clones_only_the_first_can_be_promoted(store: ProfileStore, used: Workplace) -> None:
    second = store.prepare(order("00000000000000a2"))
    store.promote(used, MASTER)

    assert refusal(store, second).code is Code.PROFILE_CHANGED


def test_a_clone_never_replaces_another_profile(root: Path, store: ProfileStore, used: Workplace) -> None:
    make_profile(root / "shop")

    assert refusal(store, used, "shop").code is Code.PROFILE_CHANGED


def test_a_clone_can_become_a_new_profile(root: Path, store: ProfileStore, used: Workplace) -> None:
    before = fingerprint(root / "master")

    assert store.promote(used, ProfileName("shop")) == ""
    assert (root / "shop/Default/new").exists()
    assert fingerprint(root / "master") == before


def test_a_profile_that_is_a_link_is_not_exchanged(root: Path, store: ProfileStore, used: Workplace) -> None:
    (root / "master").rename(root / "elsewhere")
    (root / "master").symlink_to(root / "elsewhere")

    assert refusal(store, used).code is Code.PROFILE_CHANGED


def test_a_login_has_nothing_to_promote(store: ProfileStore) -> None:
    place = store.prepare(order(kind=SessionKind.LOGIN))

    assert refusal(store, place).code is Code.BAD_FIELD


def test_a_profile_during_its_login_is_not_replaced(root: Path, store: ProfileStore, used: Workplace) -> None:
    a_store(root).prepare(order("00000000000000a2", kind=SessionKind.LOGIN))

    assert refusal(store, used).code is Code.USER_DATA_LOCKED


# -- a clone that may not become the profile -------------------------------------------------------------


def test_a_clone_that_was_refused_is_kept_and_can_be_a_profile_of_its_own(
    root: Path, store: ProfileStore, used: Workplace
) -> None:
    (root / "master/Default/Cookies").touch()
    before = fingerprint(root / "master")
    refusal(store, used)

    kept = store.keep(used, MASTER)
    store.release(used)

    assert kept is not None
    assert Path(kept).parent == root / "backups"
    assert fingerprint(root / "master") == before
    Path(kept).rename(root / "rescued")
    place = store.prepare(order("00000000000000a2", "rescued"))
    assert Path(place.user_data_dir, "Default/new").read_text() == "made in the session"


def test_a_kept_clone_has_the_persons_own_start_page_and_no_locks(root: Path, store: ProfileStore) -> None:
    (root / "master/Default/Preferences").write_text('{"session":{"restore_on_startup":1}}')
    place = store.prepare(order())
    Path(place.user_data_dir, "SingletonLock").symlink_to(f"{socket.gethostname()}-1")

    kept = store.keep(place, MASTER)

    assert kept is not None
    assert json.loads(Path(kept, "Default/Preferences").read_bytes())["session"] == {"restore_on_startup": 1}
    assert not os.path.lexists(f"{kept}/SingletonLock")


def test_two_clones_that_are_kept_in_one_second_are_both_there(store: ProfileStore) -> None:
    places = [store.prepare(order(f"00000000000000a{number}")) for number in range(2)]

    assert len({store.keep(place, MASTER) for place in places} - {None}) == 2


def test_a_profile_itself_is_never_put_away(root: Path, store: ProfileStore) -> None:
    before = fingerprint(root / "master")

    assert store.keep(store.prepare(order(kind=SessionKind.LOGIN)), MASTER) is None
    assert fingerprint(root / "master") == before


def test_a_clone_that_is_gone_already_cannot_be_kept(store: ProfileStore, used: Workplace) -> None:
    store.promote(used, MASTER)

    assert store.keep(used, MASTER) is None


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_a_profile_that_a_browser_has_open_is_not_replaced(
    root: Path, store: ProfileStore, used: Workplace
) -> None:
    with short_folder() as short:
        with Chromium(root / "master", short) as chromium:
            found = refusal(store, used)

        assert found.code is Code.USER_DATA_LOCKED
        assert f"pid {chromium.pid}" in found.message


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_a_promoted_clone_opens_in_a_browser(root: Path, store: ProfileStore) -> None:
    with short_folder() as short:
        with Chromium(root / "shop", short) as chromium:
            chromium.close()
        place = store.prepare(order(profile="shop"))
        with Chromium(Path(place.user_data_dir), short) as chromium:
            chromium.close()

        store.promote(place, ProfileName("shop"))

        with Chromium(root / "shop", short) as chromium:
            chromium.close()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    folder = Path("/dev/shm", f"tokd-promotion-{os.getpid()}")
    yield folder
    shutil.rmtree(folder)


def test_a_clone_on_another_file_system_is_promoted_too(root: Path, elsewhere: Path) -> None:
    store = a_store(root, clones_dir=elsewhere)
    place = store.prepare(order())
    Path(place.user_data_dir, "Default/new").touch()

    backup = store.promote(place, MASTER)

    assert (root / "master/Default/new").exists()
    assert Path(backup, "Default/Cookies").exists()
    assert store.release(place)
    assert list((root / ".promoting").iterdir()) == []


def test_a_clone_on_another_file_system_is_kept_too(root: Path, elsewhere: Path) -> None:
    store = a_store(root, clones_dir=elsewhere)
    place = store.prepare(order())
    Path(place.user_data_dir, "Default/new").touch()

    kept = store.keep(place, MASTER)

    assert kept is not None
    assert Path(kept, "Default/new").exists()
    assert [path.name for path in (root / "backups").iterdir()] == [Path(kept).name]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_of_a_promotion_loses_nothing(root: Path, step: str) -> None:
    before = fingerprint(root / "master")
    done = subprocess.run([sys.executable, "-c", CRASH, str(root), step], check=False)
    assert done.returncode == -9

    store = a_store(root)
    backups = list((root / "backups").iterdir())
    standing = [root / "master", *backups, *(Path(place.user_data_dir) for place in store.survey().orphans)]

    assert fingerprint(root / "master") == before or (root / "master/Default/new").exists()
    assert any(fingerprint(folder) == before for folder in standing if folder.exists())
    assert any((folder / "Default/new").exists() for folder in standing)
    assert list((root / ".promoting").iterdir()) == []
    assert a_store(root).prepare(order("00000000000000a2"))


def test_a_recovery_does_not_disturb_a_promotion_that_runs(root: Path) -> None:
    seen = []

    def reached(step: str) -> None:
        if step == "waiting":
            a_store(root)  # another tokd starts
            seen.extend((root / ".promoting").iterdir())

    store = a_store(root, reached=reached)
    place = store.prepare(order())

    assert store.promote(place, MASTER)
    assert seen == [root / ".promoting/master"]


def test_half_a_copy_from_another_file_system_is_thrown_away(root: Path) -> None:
    (root / ".promoting/.partial-master").mkdir(parents=True)

    a_store(root)

    assert list((root / ".promoting").iterdir()) == []
    assert not (root / "backups").exists()


def test_half_a_kept_clone_is_thrown_away_once_nobody_can_be_at_it(root: Path) -> None:
    for name in ("old", "young"):
        (root / f"backups/.partial-{name}").mkdir(parents=True)
    os.utime(root / "backups/.partial-old", (1, 1))

    a_store(root)

    assert [path.name for path in (root / "backups").iterdir()] == [".partial-young"]


def test_what_a_broken_promotion_had_in_hand_is_named_in_the_log(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_profile(root / ".promoting/master")

    a_store(root)

    (kept,) = (root / "backups").iterdir()
    assert str(kept) in caplog.text
