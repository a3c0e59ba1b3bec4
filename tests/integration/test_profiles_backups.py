"""How many whole profiles are kept among the backups."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from adapters.profiles import ProfileStore
from daemon.domain.ids import ProfileName
from tests.profiles import MASTER, a_store, make_profile, order, short_folder

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
