"""A clone that is cut short: soon after somebody asked, with nothing left or left for the sweep."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.profiles import ProfileStore, folders
from adapters.profiles.cloning import Walk
from daemon.domain.errors import Interrupted
from tests.profiles import (
    CHROMIUM,
    Chromium,
    a_store,
    files_of,
    fingerprint,
    make_profile,
    order,
    short_folder,
)

_MANY = 400


@pytest.fixture
def root() -> Iterator[Path]:
    with short_folder() as folder:
        crowd(make_profile(folder / "data/master"))
        yield folder / "data"


def crowd(profile: Path) -> None:
    """Fill a profile with very many small files."""
    folder = profile / "Default/IndexedDB/crowd"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(_MANY):
        (folder / str(number)).write_bytes(b"x")


@pytest.fixture
def store(root: Path) -> ProfileStore:
    return a_store(root)


def after(asked: int) -> Callable[[], bool]:
    """Return what says yes once it was asked so many times."""
    left = asked

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    return stop


def test_a_stopped_clone_leaves_nothing(root: Path, store: ProfileStore) -> None:
    before = fingerprint(root / "master")

    with pytest.raises(Interrupted):
        store.prepare(order(), after(2))

    assert list((root / "clones").iterdir()) == []
    assert fingerprint(root / "master") == before
    assert store.release(store.prepare(order()))


def test_a_stop_is_asked_before_anything_is_copied(root: Path, store: ProfileStore) -> None:
    with pytest.raises(Interrupted):
        store.prepare(order(), lambda: True)

    assert list((root / "clones").iterdir()) == []


def test_a_clone_asks_every_few_files(store: ProfileStore) -> None:
    asked: list[int] = []

    store.prepare(order(), lambda: bool(asked.append(1)))  # type: ignore[func-returns-value]

    assert len(asked) > _MANY // 64


def test_a_clone_asks_within_one_big_file(root: Path, tmp_path: Path) -> None:
    (root / "big").mkdir()
    (root / "big/file").write_bytes(b"x" * (20 << 20))

    with pytest.raises(Interrupted):
        Walk(stop=after(2)).run(root / "big", tmp_path / "copy")

    assert (tmp_path / "copy/file").stat().st_size < 20 << 20


def test_a_half_clone_that_takes_too_long_to_remove_is_left_for_the_sweep(
    root: Path, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_QUICK_FILES", 10)

    with pytest.raises(Interrupted):
        store.prepare(order(), after(4))

    assert [path.name for path in (root / "clones").iterdir()] == [f".gone-{order().session}"]
    assert files_of(root / "clones")
    assert store.survey().orphans == ()
    assert list((root / "clones").iterdir()) == []


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_a_live_clone_can_be_stopped(root: Path) -> None:
    with Chromium(root / "live", root / "temp"):
        crowd(root / "live")
        store = a_store(root, allow_live=True)

        with pytest.raises(Interrupted):
            store.prepare(order(profile="live"), after(1))

    assert list((root / "clones").iterdir()) == []
