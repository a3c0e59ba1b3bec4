"""Where profiles and clones may be: a setting that would harm a profile refuses the start, and changes nothing."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.domain.errors import Code, Rejected, StartRefused
from daemon.domain.session import SessionKind
from tests.profiles import a_store, fingerprint, make_profile, order, short_folder


@pytest.fixture
def root(folder: Path) -> Path:
    make_profile(folder / "data/master")
    return folder / "data"


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["Local State", "Default/Preferences", "SingletonLock"])
def test_a_browsers_own_folder_is_no_folder_of_profiles(folder: Path, name: str) -> None:
    chromium = folder / "chromium"
    (chromium / "Default").mkdir(parents=True)
    if name == "SingletonLock":
        (chromium / name).symlink_to("some-host-1")
    else:
        (chromium / name).touch()
    chromium.chmod(0o755)
    before = fingerprint(folder)

    with pytest.raises(
        StartRefused, match=r"browser's own folder.*set session\.user_data_master_dir to a new folder"
    ):
        a_store(chromium)

    assert fingerprint(folder) == before


@pytest.mark.parametrize(
    "place",
    ["", ".", "master", "master/clones", "master/Default", "shop/clones", "backups", "backups/x", ".locks", "..", "../.."],
)  # fmt: skip
def test_a_clones_folder_in_the_profiles_way_refuses_the_start(root: Path, place: str) -> None:
    before = fingerprint(root)

    with pytest.raises(StartRefused, match=r"session\.clones_dir"):
        a_store(root, clones_dir=root / place)

    assert fingerprint(root) == before


def test_a_clones_folder_in_a_profile_behind_a_link_refuses_the_start(root: Path, folder: Path) -> None:
    make_profile(folder / "elsewhere/shop")
    (root / "shop").symlink_to(folder / "elsewhere/shop")
    (folder / "link").symlink_to(root / "master")

    for place in (folder / "elsewhere/shop/clones", folder / "link/clones", folder / "link"):
        with pytest.raises(StartRefused, match=r"session\.clones_dir"):
            a_store(root, clones_dir=place)


def test_a_clones_folder_that_holds_profiles_refuses_the_start(root: Path, folder: Path) -> None:
    make_profile(folder / "others/shop")

    with pytest.raises(StartRefused, match="holds a profile"):
        a_store(root, clones_dir=folder / "others")


@pytest.mark.parametrize("place", ["clones", "clones/deeper", "sessions", "../sessions"])
def test_a_clones_folder_of_its_own_is_fine_before_and_after_a_session(root: Path, place: str) -> None:
    for _ in range(2):
        store = a_store(root, clones_dir=root / place)
        assert store.problems() == []
        store.prepare(order(f"{len(store.survey().held):016x}"))
        assert [facts.name for facts in store.facts()] == ["master"]


def test_a_session_folder_cannot_be_logged_in_to(root: Path) -> None:
    store = a_store(root, clones_dir=root / "sessions")
    store.prepare(order())

    with pytest.raises(Rejected) as caught:
        store.prepare(order("00000000000000a2", "sessions", SessionKind.LOGIN))

    assert caught.value.code is Code.NO_SUCH_PROFILE


def test_a_folder_that_is_made_or_empty_is_made_private(folder: Path) -> None:
    (folder / "empty").mkdir(mode=0o755)

    a_store(folder / "empty", clones_dir=folder / "made/clones")

    assert {mode_of(folder / "empty"), mode_of(folder / "made/clones")} == {0o700}


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_a_folder_that_others_may_look_into_is_refused_and_never_changed(root: Path, mode: int) -> None:
    root.chmod(mode)

    with pytest.raises(StartRefused, match=f"chmod 700 {root}"):
        a_store(root)

    assert mode_of(root) == mode


def test_clones_that_others_may_look_into_are_refused(root: Path, folder: Path) -> None:
    (folder / "clones/something").mkdir(parents=True)
    (folder / "clones").chmod(0o755)

    with pytest.raises(StartRefused, match=f"chmod 700 {folder}/clones"):
        a_store(root, clones_dir=folder / "clones")
