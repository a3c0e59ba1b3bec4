"""Cookies that a browser would delete: counted wherever they are, kept before a login, and never promoted away."""

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.profiles import ProfileStore, cookies, safekeeping
from daemon.domain.errors import Code, Rejected
from daemon.domain.session import Encryption, SessionKind
from tests.profiles import MASTER, a_store, fingerprint, make_profile, order, short_folder, write_cookies
from tests.session_bus import DBUS_DAEMON, SECRETS, a_bus

needs_bus = pytest.mark.skipif(not DBUS_DAEMON, reason="no dbus-daemon here")


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found


@pytest.fixture
def root(folder: Path) -> Path:
    make_profile(folder / "data/master", b"v11")
    return folder / "data"


@pytest.fixture
def store(root: Path, folder: Path) -> Iterator[ProfileStore]:
    """A store beside a session bus that has a keyring."""
    with a_bus(folder, startable=[SECRETS]) as address:
        yield a_store(root, {"DBUS_SESSION_BUS_ADDRESS": address})


def copies(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "backups").glob("master-cookies-*"))


# -- the keyring's cookies -------------------------------------------------------------------------------


@needs_bus
@pytest.mark.parametrize("kind", [SessionKind.TIKTOK, SessionKind.LOGIN])
def test_a_session_bus_without_a_keyring_is_refused(root: Path, folder: Path, kind: SessionKind) -> None:
    before = fingerprint(root / "master")
    with a_bus(folder) as address, pytest.raises(Rejected) as caught:
        a_store(root, {"DBUS_SESSION_BUS_ADDRESS": address}).prepare(order(kind=kind))

    assert caught.value.code is Code.KEYRING_UNREACHABLE
    assert SECRETS in caught.value.message
    assert fingerprint(root / "master") == before


@needs_bus
def test_cookies_of_the_keyring_are_cloned_where_there_is_one(store: ProfileStore) -> None:
    assert store.prepare(order()).encryption == Encryption(v11=2)


@needs_bus
def test_a_login_keeps_a_copy_of_the_keyrings_cookies(root: Path, store: ProfileStore) -> None:
    place = store.prepare(order(kind=SessionKind.LOGIN))

    (kept,) = (root / "backups").iterdir()
    assert kept.name.startswith("master-cookies-")
    assert (kept / "Default/Cookies").read_bytes() == (root / "master/Default/Cookies").read_bytes()
    assert stat.S_IMODE((kept / "Default/Cookies").stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert place.warnings == ()


@needs_bus
def test_a_login_that_has_lost_the_keyrings_cookies_names_their_copy(root: Path, store: ProfileStore) -> None:
    place = store.prepare(order(kind=SessionKind.LOGIN))
    assert store.loss(place) is None
    with closing(sqlite3.connect(root / "master/Default/Cookies")) as database:
        database.execute("DELETE FROM cookies")
        database.commit()

    told = store.loss(place)

    (kept,) = (root / "backups").iterdir()
    assert told is not None
    assert str(kept) in told


def test_a_login_that_needs_no_keyring_loses_nothing(folder: Path) -> None:
    make_profile(folder / "data/master")
    store = a_store(folder / "data")

    assert store.loss(store.prepare(order(kind=SessionKind.LOGIN))) is None


@needs_bus
def test_new_cookies_of_another_key_do_not_hide_the_loss(root: Path, store: ProfileStore) -> None:
    """So it was with a real keyring that held another key."""
    place = store.prepare(order(kind=SessionKind.LOGIN))
    rewrite(root / "master/Default/Cookies", ["c0", "new"])

    assert store.loss(place) is not None


@needs_bus
def test_a_login_that_gives_each_cookie_a_new_value_loses_nothing(root: Path, store: ProfileStore) -> None:
    place = store.prepare(order(kind=SessionKind.LOGIN))
    rewrite(root / "master/Default/Cookies", ["c0", "c1", "new"])

    assert store.loss(place) is None


def rewrite(path: Path, names: list[str]) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM cookies")
        values = [(name, b"v11 another key, another value of " + name.encode()) for name in names]
        database.executemany("INSERT INTO cookies VALUES (?, ?)", values)
        database.commit()


@needs_bus
def test_what_a_session_does_to_its_clone_is_no_loss_of_the_profile(store: ProfileStore) -> None:
    place = store.prepare(order())
    Path(place.user_data_dir, "Default/Cookies").unlink()

    assert store.loss(place) is None


def test_the_newest_three_copies_are_kept_and_no_other_backup_goes(root: Path) -> None:
    other = make_profile(root / "backups/master-cookies-20200101T000000Z")

    for day in (1, 2, 3, 3, 4):
        safekeeping.keep(root, MASTER, root / "master", datetime(2026, 1, day, tzinfo=UTC))

    stamp = "master-cookies-202601{}T000000Z".format
    assert copies(root) == [other.name, stamp("03"), f"{stamp('03')}-2", stamp("04")]
    assert (other / "Local State").exists()


def test_a_login_that_needs_no_keyring_keeps_no_copy(folder: Path) -> None:
    make_profile(folder / "data/master")

    a_store(folder / "data").prepare(order(kind=SessionKind.LOGIN))

    assert not (folder / "data/backups").exists()


# -- promotion -------------------------------------------------------------------------------------------


@needs_bus
def test_a_clone_that_has_lost_the_keyrings_cookies_is_not_promoted(root: Path, store: ProfileStore) -> None:
    place = store.prepare(order())
    before = fingerprint(root / "master")
    clone = Path(place.user_data_dir, "Default/Cookies")
    with closing(sqlite3.connect(clone)) as database:
        database.execute("DELETE FROM cookies")
        database.commit()
    write_cookies(clone, b"v10")

    with pytest.raises(Rejected) as caught:
        store.promote(place, MASTER)

    assert caught.value.code is Code.PROFILE_CHANGED
    assert "has lost them" in caught.value.message
    assert fingerprint(root / "master") == before


@needs_bus
def test_a_clone_that_has_cookies_of_another_key_instead_is_not_promoted(store: ProfileStore) -> None:
    place = store.prepare(order())
    rewrite(Path(place.user_data_dir, "Default/Cookies"), ["new"])

    with pytest.raises(Rejected, match="has lost them"):
        store.promote(place, MASTER)


@needs_bus
def test_a_clone_that_has_its_keyrings_cookies_is_promoted(store: ProfileStore) -> None:
    place = store.prepare(order())

    assert store.promote(place, MASTER)


def test_a_clone_of_cookies_that_nobody_understood_is_not_promoted(folder: Path) -> None:
    make_profile(folder / "data/master")
    (folder / "data/master/Default/Cookies").write_text("no database, but long enough for one" * 50)
    store = a_store(folder / "data")
    place = store.prepare(order())

    with pytest.raises(Rejected) as caught:
        store.promote(place, MASTER)

    assert caught.value.code is Code.PROFILE_CHANGED


# -- counting --------------------------------------------------------------------------------------------


def left_by_a_killed_browser(profile: Path, mode: str) -> None:
    """Leave a database whose newest rows, or whose old ones, are only in the file beside it."""
    path, copy = profile / "Default/Cookies", profile / "copy"
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("PRAGMA cache_size=1")
        database.execute("CREATE TABLE cookies (name TEXT, encrypted_value BLOB)")
        rows = [(f"c{number}", b"v11" + bytes(500)) for number in range(200)]
        database.executemany("INSERT INTO cookies VALUES (?, ?)", rows)
        database.commit()
        if mode == "DELETE":  # a change that was never finished, already in the file
            database.execute("UPDATE cookies SET encrypted_value = ?", (b"v10" + bytes(500),))
        shutil.copytree(profile / "Default", copy)
        database.rollback()
    shutil.rmtree(profile / "Default")
    copy.rename(profile / "Default")


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_rows_that_only_a_log_knows_are_counted_and_nothing_is_written(folder: Path, mode: str) -> None:
    profile = make_profile(folder / "data/master")
    left_by_a_killed_browser(profile, mode)
    assert (profile / f"Default/Cookies-{'wal' if mode == 'WAL' else 'journal'}").stat().st_size
    before = fingerprint(profile)

    assert cookies.read(profile).encryption == Encryption(v11=200)
    assert fingerprint(profile) == before


def test_a_copy_that_a_killed_tokd_has_left_goes_with_the_next_survey(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for name in ("tokd-cookies-old", "tokd-cookies-young", "others"):
        (folder / name).mkdir()
        (folder / name / "Cookies").touch()
        os.utime(folder / name, (1, 1) if name != "tokd-cookies-young" else None)

    a_store(root).survey()

    assert {path.name for path in folder.iterdir()} >= {"tokd-cookies-young", "others"}
    assert not (folder / "tokd-cookies-old").exists()


def test_a_key_that_nobody_knows_yet_is_somebodys(folder: Path) -> None:
    write_cookies(make_profile(folder / "data/master") / "Default/Cookies", b"v12")

    found = cookies.read(folder / "data/master")

    assert (found.encryption, found.tags) == (Encryption(v10=2, v11=2), {"v12"})


def test_a_login_to_cookies_that_cannot_be_counted_is_refused(folder: Path) -> None:
    make_profile(folder / "data/master")
    (folder / "data/master/Default/Cookies").write_text("no database, but long enough for one" * 50)

    with pytest.raises(Rejected) as caught:
        a_store(folder / "data").prepare(order(kind=SessionKind.LOGIN))

    assert "the cookies of Default could not be counted" in caught.value.message
    assert "move that file away" in caught.value.message
    assert list((folder / "data/clones").iterdir()) == []
