"""Whether a browser has thrown away the cookies of a keyring: told by their number, whoever keeps the key."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapters.browser.keyring import KeyringWatch
from daemon.domain.session import Encryption, Workplace
from tests.profiles import write_cookies


def watch(folder: Path) -> KeyringWatch:
    place = Workplace(
        session="a", folder=str(folder), user_data_dir=str(folder), temp_dir=str(folder), encryption=Encryption(v11=2)
    )  # fmt: skip
    return KeyringWatch(place)


def purge(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM cookies")
        database.commit()


@pytest.mark.parametrize("tag", [b"v11", b"v12"])
def test_cookies_that_are_there_are_not_lost_whichever_key_they_have(tmp_path: Path, tag: bytes) -> None:
    write_cookies(tmp_path / "Default/Cookies", tag)

    assert not watch(tmp_path).is_lost()


def test_cookies_in_another_profile_than_the_first_are_not_lost(tmp_path: Path) -> None:
    write_cookies(tmp_path / "Default/Cookies", b"v10")
    write_cookies(tmp_path / "Profile 1/Cookies", b"v11")

    assert not watch(tmp_path).is_lost()


def test_cookies_that_were_deleted_are_lost_though_there_are_new_ones(tmp_path: Path) -> None:
    write_cookies(tmp_path / "Default/Cookies", b"v12")
    purge(tmp_path / "Default/Cookies")
    write_cookies(tmp_path / "Default/Cookies", b"v10")

    assert watch(tmp_path).is_lost()


def test_nobody_can_tell_while_the_browser_has_no_cookies_yet(tmp_path: Path) -> None:
    assert not watch(tmp_path).is_lost()
