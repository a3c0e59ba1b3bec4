"""How many whole profiles are kept among the backups."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from adapters.profiles import ProfileStore, promotion
from daemon.domain.ids import ProfileName
from tests.profiles import MASTER, a_store, make_profile, order, short_folder, write_cookies

SESSIONS = (f"{number:016x}" for number in count(1))


@pytest.fixture
def root() -> Iterator[Path]:
    with short_folder() as folder:
        make_profile(folder / "master")
        yield folder


def promote(store: ProfileStore, profile: str = MASTER) -> Path:
    """Make a fresh clone the profile; return where the one before is kept."""
    name = ProfileName(profile)
    place = store.prepare(order(next(SESSIONS), name))
    kept = store.promote(place, name)
    store.release(place)
    return Path(kept)


def refuse(store: ProfileStore) -> Path:
    """Keep a clone that did not become the profile; return where."""
    place = store.prepare(order(next(SESSIONS)))
    kept = store.keep(place, MASTER)
    store.release(place)
    assert kept is not None
    return Path(kept)


def backups(root: Path) -> set[Path]:
    return set((root / "backups").iterdir())


def test_the_newest_backups_of_a_profile_are_kept(root: Path) -> None:
    store = a_store(root, backups=2)

    made = [promote(store) for _ in range(4)]

    assert backups(root) == set(made[-2:])


def test_with_0_all_backups_are_kept(root: Path) -> None:
    store = a_store(root, backups=0)

    made = [promote(store) for _ in range(7)]

    assert backups(root) == set(made)


def test_profiles_that_were_replaced_and_clones_that_were_refused_are_counted_apart(root: Path) -> None:
    store = a_store(root, backups=1)

    refused = [refuse(store) for _ in range(2)]
    replaced = [promote(store) for _ in range(2)]

    assert backups(root) == {refused[-1], replaced[-1]}


def test_the_backup_that_was_just_made_stays_whatever_the_clock_says(root: Path) -> None:
    store = a_store(root, backups=2)
    for year in (2997, 2998, 2999):
        make_profile(root / f"backups/master-{year}0101T000000Z")

    made = promote(store)

    assert backups(root) == {made, root / "backups/master-29990101T000000Z"}


@pytest.mark.parametrize(
    "other",
    ["shop-20260101T000000Z", "master-cookies-20260101T000000Z", "master-20260101T000000Z.tar", "master-old"],
)
def test_what_is_no_backup_of_the_profile_is_left_alone(root: Path, other: str) -> None:
    store = a_store(root, backups=1)
    make_profile(root / "backups" / other)

    made = [promote(store) for _ in range(2)]

    assert backups(root) == {made[-1], root / "backups" / other}


def test_where_a_profile_is_called_like_a_clone_of_another_no_backup_is_removed(root: Path) -> None:
    make_profile(root / "master-clone")
    store = a_store(root, backups=1)

    made = {refuse(store), refuse(store), promote(store, "master-clone"), promote(store, "master-clone")}

    assert backups(root) == made


def test_a_backup_that_was_half_removed_is_gone_at_the_next_start(root: Path) -> None:
    half = make_profile(root / "backups/.partial-master-20260101T000000Z")
    os.utime(half, (0, 0))

    a_store(root)

    assert not half.exists()


def test_what_a_person_has_put_in_a_backups_place_is_left_alone(root: Path) -> None:
    """Such as a link, where they have moved the backup to another disk."""
    store = a_store(root, backups=1)
    old = promote(store)
    old.rename(root / "elsewhere")
    old.symlink_to(root / "elsewhere")
    (root / "backups/master-20260101T000000Z").write_text("a note")

    made = promote(store)

    assert backups(root) == {made, old, root / "backups/master-20260101T000000Z"}
    assert (old / "Local State").is_file()


def test_copies_of_cookies_are_no_backups_of_a_profile_that_is_called_like_them(root: Path) -> None:
    make_profile(root / "master-cookies")
    copies = {root / f"backups/master-cookies-2026010{day}T000000Z" for day in (1, 2, 3)}
    for copy in copies:
        write_cookies(copy / "Default/Cookies")
    store = a_store(root, backups=1)

    made = [promote(store, "master-cookies") for _ in range(2)]

    assert backups(root) == copies | {made[-1]}


def test_backups_of_a_profile_that_is_gone_are_not_taken_for_anothers_clones(root: Path) -> None:
    make_profile(root / "master-clone")
    store = a_store(root, backups=1)
    last = {promote(store, "master-clone"), promote(store, "master-clone")}
    (root / "master-clone").rename(root / "put-away")

    refused = {refuse(store), refuse(store)}

    assert backups(root) == last | refused


def test_of_two_clones_that_are_refused_at_once_one_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, keep = a_store(root, backups=1), promotion.keep
    places = [store.prepare(order(next(SESSIONS))) for _ in range(2)]
    both = threading.Barrier(2)

    def keep_together(*of: Any) -> str:
        kept = keep(*of)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return kept

    monkeypatch.setattr(promotion, "keep", keep_together)
    with ThreadPoolExecutor() as pool:
        kept = list(pool.map(lambda place: store.keep(place, MASTER), places))
    for place in places:
        store.release(place)

    assert None not in kept
    assert len(backups(root)) == 1
