"""Clones of profiles on a real disk: what is in them, what the profile keeps, and what is left when they go."""

import fcntl
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.profiles import ProfileStore
from adapters.profiles.cloning import Walk
from daemon.domain.errors import Code, Rejected, StartRefused
from daemon.domain.session import Encryption, SessionKind, Workplace
from tests.profiles import (
    CACHES,
    MASTER,
    STATE,
    a_store,
    descriptors,
    files_of,
    fingerprint,
    make_profile,
    order,
    short_folder,
    write_cookies,
)
from tests.waiting import wait_until

HOLD = """
import sys, threading
from pathlib import Path
from daemon.domain.session import SessionKind
from tests.profiles import a_store, order
store = a_store(Path(sys.argv[1]))
place = store.prepare(order(sys.argv[2], "master", SessionKind(sys.argv[3])))
print(place.folder, flush=True)
threading.Event().wait()
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_profile(tmp_path / "data/master")
    return tmp_path / "data"


@pytest.fixture
def store(root: Path) -> ProfileStore:
    return a_store(root)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def sharing_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk whose files can share their blocks."""
    folder, image = tmp_path / "sharing", tmp_path / "image"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(320 << 20)  # the least that XFS takes; hardly any of it is written
    # `make test` installs it: without it this is a failure. To mount is a right, which not every machine gives.
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount an XFS here")
    folder.chmod(0o700)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def holding(root: Path, kind: SessionKind, session: str = "00000000000000ff") -> subprocess.Popen[str]:
    """Start another process that has a session; wait until it has it."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), session, kind.value], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline()
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def refusal(store: ProfileStore, **changes: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        store.prepare(order(**changes))  # type: ignore[arg-type]
    return caught.value


def clone_of(place: Workplace) -> Path:
    return Path(place.user_data_dir)


# -- what is in a clone ----------------------------------------------------------------------------------


def test_a_clone_has_the_state_and_none_of_the_caches(store: ProfileStore) -> None:
    place = store.prepare(order())

    assert files_of(clone_of(place)) == set(STATE)
    assert not files_of(clone_of(place)) & set(CACHES)


def test_a_running_browsers_locks_do_not_come_along(root: Path, store: ProfileStore) -> None:
    (root / "master/SingletonLock").symlink_to(f"{socket.gethostname()}-999999999")
    (root / "master/SingletonCookie").symlink_to("123")

    place = store.prepare(order())

    assert not [path for path in clone_of(place).iterdir() if path.name.startswith("Singleton")]


def test_no_file_of_a_clone_is_a_file_of_the_profile(root: Path, store: ProfileStore) -> None:
    place = store.prepare(order())

    ours = {path.stat().st_ino for path in clone_of(place).rglob("*")}
    theirs = {path.stat().st_ino for path in (root / "master").rglob("*")}
    assert not ours & theirs


def test_links_and_pipes_are_left_out(root: Path, store: ProfileStore, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private/diary").write_text("secret")
    (root / "master/Default/away").symlink_to(tmp_path / "private")
    (root / "master/Default/diary").symlink_to(tmp_path / "private/diary")
    os.mkfifo(root / "master/Default/pipe")

    place = store.prepare(order())

    assert files_of(clone_of(place)) == set(STATE)
    assert sorted(place.warnings) == [
        f"Default/{name} is a link, which is not followed: it was left out" for name in ("away", "diary")
    ]


def test_a_session_is_for_the_person_alone(root: Path, store: ProfileStore) -> None:
    place = store.prepare(order())

    found = [Path(place.folder), *Path(place.folder).rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_the_profile_is_byte_for_byte_the_same_afterwards(root: Path, store: ProfileStore) -> None:
    before = fingerprint(root / "master")

    place = store.prepare(order())
    store.facts()
    (clone_of(place) / "Default/Cookies").write_text("the browser worked here")
    store.release(place)

    assert fingerprint(root / "master") == before


def test_the_clones_preferences_forget_how_the_browser_ended_and_keep_every_letter(
    store: ProfileStore,
) -> None:
    place = store.prepare(order())

    for folder in ("Default", "Profile 1"):
        text = (clone_of(place) / folder / "Preferences").read_text(encoding="utf-8")
        assert "Größe 日本" in text
        assert json.loads(text) == {
            "profile": {"name": "Größe 日本"},
            "session": {"startup_urls": ["https://a.test/ü"], "restore_on_startup": 5},
        }


def test_half_a_letter_in_the_preferences_does_not_break_them(root: Path, store: ProfileStore) -> None:
    (root / "master/Default/Preferences").write_text('{"profile":{"name":"\\ud83d ü"}}', encoding="utf-8")

    place = store.prepare(order())

    assert json.loads((clone_of(place) / "Default/Preferences").read_bytes())["profile"]["name"] == "\ud83d ü"


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00" * 20])
def test_preferences_that_are_no_json_are_left_alone_with_a_warning(
    root: Path, store: ProfileStore, text: str
) -> None:
    (root / "master/Default/Preferences").write_text(text)

    place = store.prepare(order())

    assert (clone_of(place) / "Default/Preferences").read_text() == text
    assert any("Default" in warning for warning in place.warnings)


def test_a_note_tells_whose_folder_it_is_and_no_secret(store: ProfileStore) -> None:
    place = store.prepare(order())

    text = Path(place.folder, "session.json").read_text()
    note = json.loads(text)
    assert (note["session"], note["profile"], note["kind"], note["pid"]) == (
        place.session,
        "master",
        "tiktok",
        os.getpid(),
    )
    assert "secret" not in text


def test_a_clone_on_another_file_system_is_whole(root: Path) -> None:
    elsewhere = Path("/dev/shm", f"tokd-{os.getpid()}")
    (root / "master/Default/big").write_bytes(os.urandom(3_000_000))
    try:
        place = a_store(root, clones_dir=elsewhere).prepare(order())

        assert (clone_of(place) / "Default/big").read_bytes() == (root / "master/Default/big").read_bytes()
    finally:
        shutil.rmtree(elsewhere)


def test_a_clone_takes_no_room_where_files_can_share_their_blocks(sharing_disk: Path) -> None:
    make_profile(sharing_disk / "data/master")
    (sharing_disk / "data/master/Default/big").write_bytes(os.urandom(20 << 20))
    store = a_store(sharing_disk / "data")
    subprocess.run(["sync", "-f", sharing_disk], check=True)
    before = shutil.disk_usage(sharing_disk).used

    place = store.prepare(order())

    subprocess.run(["sync", "-f", sharing_disk], check=True)
    assert (clone_of(place) / "Default/big").stat().st_size == 20 << 20
    assert shutil.disk_usage(sharing_disk).used - before < 5 << 20
    store.release(place)


def test_clones_are_far_from_each_other_on_a_file_system_that_lets_them(
    root: Path, store: ProfileStore, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    can = not subprocess.run(
        ["chattr", "+T", tmp_path / "other"], capture_output=True, check=False
    ).returncode

    clones = clone_of(store.prepare(order())).parent.parent

    listed = subprocess.run(["lsattr", "-d", clones], capture_output=True, text=True, check=can).stdout
    assert ("T" in listed.partition(" ")[0]) == can


def test_a_profile_may_be_a_link_to_where_it_is(root: Path, store: ProfileStore) -> None:
    (root / "other").symlink_to(root / "master")

    assert files_of(clone_of(store.prepare(order(profile="other")))) == set(STATE)


def test_two_sessions_of_a_profile_have_a_clone_each(store: ProfileStore) -> None:
    one, other = store.prepare(order("00000000000000a1")), store.prepare(order("00000000000000a2"))

    assert one.user_data_dir != other.user_data_dir
    assert files_of(clone_of(one)) == files_of(clone_of(other))


def test_the_browsers_socket_fits_into_a_path(root: Path, tmp_path: Path) -> None:
    deep = tmp_path.joinpath("a-folder-with-a-name" * 3, "and-another-one" * 3)
    store = a_store(root, clones_dir=deep, temp_base=tmp_path)

    place = store.prepare(order())
    assert Path(place.temp_dir).parent == tmp_path
    store.release(place)

    assert not Path(place.temp_dir).exists()


def test_somebody_elses_folder_in_the_temp_folders_place_is_not_taken(root: Path, tmp_path: Path) -> None:
    deep = tmp_path.joinpath("a-folder-with-a-name" * 3, "and-another-one" * 3)
    (tmp_path / f"tokd-s-{order().session}").mkdir()

    place = a_store(root, clones_dir=deep, temp_base=tmp_path).prepare(order())

    assert Path(place.temp_dir).parent == tmp_path
    assert Path(place.temp_dir).name != f"tokd-s-{order().session}"


# -- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../master", ".locks", "clones", "backups", "", "a/b", "x" * 65])
def test_a_name_that_is_none_is_no_profile(store: ProfileStore, name: str) -> None:
    assert refusal(store, profile=name).code is Code.NO_SUCH_PROFILE


def test_an_unknown_profile_is_refused_with_the_known_ones(store: ProfileStore) -> None:
    found = refusal(store, profile="shop")

    assert found.code is Code.NO_SUCH_PROFILE
    assert "known are master" in found.message
    assert "`tokd profile login shop`" in found.message


@pytest.mark.parametrize("kind", [SessionKind.TIKTOK, SessionKind.LOGIN])
@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_no_folder_in_a_profiles_place_is_named_and_left_alone(
    root: Path, store: ProfileStore, kind: SessionKind, what: str
) -> None:
    if what == "file":
        (root / "shop").write_text("a shopping list")
    else:
        (root / "shop").symlink_to(root / "nowhere")
    before = fingerprint(root)

    found = refusal(store, profile="shop", kind=kind)

    assert found.code is Code.NO_SUCH_PROFILE
    assert f"{root}/shop" in found.message
    assert "is no folder; move it away" in found.message
    assert fingerprint(root) == before


def test_a_login_is_refused_where_the_profiles_disk_is_full(tmp_path: Path, small_disk: Path) -> None:
    store = a_store(small_disk / "data", clones_dir=tmp_path / "clones", min_free_bytes=100_000_000)

    found = refusal(store, kind=SessionKind.LOGIN)

    assert found.code is Code.DISK_FULL
    assert str(small_disk) in found.message
    assert not (small_disk / "data/master").exists()


def test_a_disk_below_its_floor_is_refused_and_nothing_is_left(root: Path) -> None:
    found = refusal(a_store(root, min_free_bytes=10**18))

    assert (found.code, found.retryable) == (Code.DISK_FULL, True)
    assert list((root / "clones").iterdir()) == []


def test_a_disk_that_runs_full_while_cloning_leaves_nothing(root: Path, small_disk: Path) -> None:
    (root / "master/Default/big").write_bytes(os.urandom(2_000_000))
    store = a_store(root, clones_dir=small_disk)

    found = refusal(store)

    assert (found.code, found.retryable) == (Code.DISK_FULL, True)
    assert list(small_disk.iterdir()) == []
    (root / "master/Default/big").unlink()
    assert store.release(store.prepare(order()))


@pytest.mark.parametrize("kind", [SessionKind.TIKTOK, SessionKind.LOGIN])
def test_cookies_of_the_keyring_need_the_session_bus(tmp_path: Path, kind: SessionKind) -> None:
    make_profile(tmp_path / "master", b"v11")
    before = fingerprint(tmp_path / "master")

    found = refusal(a_store(tmp_path), kind=kind)

    assert found.code is Code.KEYRING_UNREACHABLE
    assert "user service" in found.message
    assert list((tmp_path / "clones").iterdir()) == []
    assert fingerprint(tmp_path / "master") == before


def test_a_basic_password_store_cannot_read_cookies_of_the_keyring(tmp_path: Path) -> None:
    make_profile(tmp_path / "master", b"v11")

    found = refusal(a_store(tmp_path, password_store="basic"))

    assert found.code is Code.KEYRING_UNREACHABLE
    assert "session.password_store is basic" in found.message


def test_cookies_that_are_no_database_are_a_warning(root: Path, store: ProfileStore) -> None:
    (root / "master/Default/Cookies").write_text("no database, but long enough to be taken for one" * 50)

    place = store.prepare(order())

    assert place.encryption == Encryption()
    assert any("cookies of Default" in warning for warning in place.warnings)


@pytest.mark.parametrize("word", ["headless", "LangUage"])
def test_a_clones_folder_that_the_driver_would_misread_refuses_the_start(
    root: Path, tmp_path: Path, word: str
) -> None:
    with pytest.raises(StartRefused, match=r"session\.clones_dir"):
        a_store(root, clones_dir=tmp_path / word / "clones")


def test_a_folder_shared_with_others_refuses_the_start(root: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)

    with pytest.raises(StartRefused, match="yours alone"):
        a_store(root, clones_dir=shared)


# -- release and survey ----------------------------------------------------------------------------------


def test_a_released_session_leaves_nothing_and_holds_nothing(root: Path, store: ProfileStore) -> None:
    before = descriptors()

    place = store.prepare(order())

    assert store.release(place)
    assert list((root / "clones").iterdir()) == []
    assert descriptors() <= before


def test_releasing_twice_closes_nobody_elses_descriptor(store: ProfileStore, tmp_path: Path) -> None:
    place = store.prepare(order())
    store.release(place)
    reused = os.open(tmp_path, os.O_RDONLY)

    assert store.release(place)
    assert os.fstat(reused)
    os.close(reused)


def test_a_link_in_a_clone_does_not_lead_the_removal_out(store: ProfileStore, tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/me").touch()
    place = store.prepare(order())
    (clone_of(place) / "out").symlink_to(tmp_path / "keep")

    assert store.release(place)
    assert (tmp_path / "keep/me").exists()


def test_what_will_not_go_is_renamed_and_goes_with_a_later_survey(root: Path, store: ProfileStore) -> None:
    place = store.prepare(order())
    stuck = clone_of(place) / "Default"
    if subprocess.run(["chattr", "+i", stuck], check=False, capture_output=True).returncode:
        pytest.skip("no right to make a folder immutable here")

    is_gone = store.release(place)
    left = [path.name for path in (root / "clones").iterdir()]
    subprocess.run(["chattr", "-i", root / "clones" / left[0] / "profile/Default"], check=True)

    assert (is_gone, left) == (False, [f".gone-{place.session}"])
    assert store.survey().orphans == ()
    assert list((root / "clones").iterdir()) == []


def test_a_session_of_a_living_process_is_left_alone(root: Path, store: ProfileStore) -> None:
    child = holding(root, SessionKind.TIKTOK)

    found = store.survey()
    kill(child)

    assert (found.orphans, found.held) == ((), {"00000000000000ff"})


def test_a_session_whose_process_was_killed_is_an_orphan_and_can_be_released(
    root: Path, store: ProfileStore
) -> None:
    kill(holding(root, SessionKind.TIKTOK))

    (orphan,) = store.survey().orphans

    assert (orphan.session, orphan.is_master) == ("00000000000000ff", False)
    assert orphan.user_data_dir == f"{root}/clones/00000000000000ff/profile"
    assert store.survey().held == {orphan.session}, "it is locked now"
    assert store.release(orphan)
    assert list((root / "clones").iterdir()) == []


def test_an_orphaned_login_keeps_its_profile(root: Path, store: ProfileStore) -> None:
    kill(holding(root, SessionKind.LOGIN))

    (orphan,) = store.survey().orphans
    store.release(orphan)

    assert (orphan.is_master, orphan.user_data_dir) == (True, f"{root}/master")
    assert files_of(root / "master") >= set(STATE)


@pytest.mark.parametrize("note", ["", "{", '{"user_data_dir": "/etc", "temp_dir": "/etc"}', "[]"])
def test_a_broken_note_leads_nowhere_else(root: Path, store: ProfileStore, note: str) -> None:
    kill(holding(root, SessionKind.TIKTOK))
    folder = root / "clones/00000000000000ff"
    (folder / "session.json").write_text(note)

    (orphan,) = store.survey().orphans

    assert (orphan.user_data_dir, orphan.temp_dir) == (f"{folder}/profile", f"{folder}/t")


def test_a_short_temp_folder_of_an_orphan_goes_with_it(root: Path, tmp_path: Path) -> None:
    store = a_store(root, temp_base=tmp_path)
    kill(holding(root, SessionKind.TIKTOK))
    outside = tmp_path / "tokd-s-abc"
    outside.mkdir()
    note = root / "clones/00000000000000ff/session.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"temp_dir": str(outside)}))

    (orphan,) = store.survey().orphans

    assert store.release(orphan)
    assert not outside.exists()


@pytest.mark.parametrize("name", [".new-00000000000000ff", "00000000000000ff"])
def test_a_temp_folder_that_no_note_tells_of_goes_with_its_session(
    root: Path, tmp_path: Path, name: str
) -> None:
    store = a_store(root, temp_base=tmp_path)
    (root / "clones" / name / "profile").mkdir(parents=True)
    (root / "clones" / name / "lock").touch()
    ours, other = tmp_path / "tokd-s-00000000000000ff", tmp_path / "tokd-s-00000000000000fe"
    for folder in (ours, other):
        folder.mkdir()

    for orphan in store.survey().orphans:
        store.release(orphan)

    assert (ours.exists(), other.exists()) == (False, True)
    assert list((root / "clones").iterdir()) == []


def test_a_beginning_that_was_broken_off_is_cleared_away(root: Path, store: ProfileStore) -> None:
    for name, has_lock in ((".new-a", True), (".new-b", False), (".gone-c", False)):
        (root / "clones" / name).mkdir()
        if has_lock:
            (root / "clones" / name / "lock").touch()

    assert store.survey().orphans == ()

    assert list((root / "clones").iterdir()) == []


def test_a_beginning_that_has_no_lock_yet_is_left_alone_while_somebody_makes_one(
    root: Path, store: ProfileStore
) -> None:
    (root / "clones/.new-b").mkdir()
    door = os.open(root / "clones", os.O_RDONLY)
    fcntl.flock(door, fcntl.LOCK_SH)

    store.survey()

    assert (root / "clones/.new-b").is_dir()
    os.close(door)


def test_other_peoples_folders_are_never_touched(root: Path, store: ProfileStore) -> None:
    for name in ("photos", "project", ".config", ".new-", "with space"):
        (root / "clones" / name).mkdir()
        (root / "clones" / name / "file").touch()
        os.utime(root / "clones" / name, (1, 1))
    (root / "clones/project/lock").touch()
    (root / "clones/notes.txt").touch()
    before = files_of(root / "clones")

    found = store.survey()

    assert (found.orphans, found.held) == ((), frozenset())
    assert files_of(root / "clones") == before


def test_an_old_session_without_a_lock_is_an_orphan(root: Path, store: ProfileStore) -> None:
    kill(holding(root, SessionKind.TIKTOK))
    folder = root / "clones/00000000000000ff"
    (folder / "lock").unlink()
    assert store.survey().orphans == ()
    os.utime(folder, (1, 1))

    (orphan,) = store.survey().orphans

    assert store.release(orphan)


# -- facts -----------------------------------------------------------------------------------------------


def test_facts_tell_size_use_and_encryption(root: Path, store: ProfileStore) -> None:
    write_cookies(root / "shop/Default/Cookies", b"v11", rows=3)
    os.utime(root / "shop/Default/Cookies", (1_700_000_000, 1_700_000_000))

    master, shop = store.facts()

    assert (master.name, shop.name) == (MASTER, "shop")
    assert (shop.files, shop.size) == (1, (root / "shop/Default/Cookies").stat().st_size)
    assert shop.used_at is not None
    assert shop.used_at.timestamp() == 1_700_000_000
    assert (master.encryption, shop.encryption) == (Encryption(v10=2), Encryption(v11=3))
    assert (master.in_use_by, shop.in_use_by) == (None, None)


def test_facts_of_nothing_are_empty(tmp_path: Path) -> None:
    assert a_store(tmp_path / "new").facts() == []


# -- logins ----------------------------------------------------------------------------------------------


def test_a_login_gets_the_profile_itself(root: Path, store: ProfileStore) -> None:
    place = store.prepare(order(kind=SessionKind.LOGIN))

    assert (place.user_data_dir, place.is_master, len(place.locks)) == (f"{root}/master", True, 2)
    assert Path(place.temp_dir).is_dir()


def test_a_login_makes_a_new_profile_for_the_person_alone(root: Path, store: ProfileStore) -> None:
    store.prepare(order(profile="shop", kind=SessionKind.LOGIN))

    assert stat.S_IMODE((root / "shop").stat().st_mode) == 0o700


def test_releasing_a_login_keeps_the_profile_and_lets_go_of_it(root: Path, store: ProfileStore) -> None:
    before = fingerprint(root / "master")
    place = store.prepare(order(kind=SessionKind.LOGIN))

    assert store.release(place)
    assert fingerprint(root / "master") == before
    assert store.prepare(order())


@pytest.mark.parametrize("kind", [SessionKind.TIKTOK, SessionKind.LOGIN])
def test_nobody_else_gets_a_profile_during_its_login(
    root: Path, store: ProfileStore, kind: SessionKind
) -> None:
    child = holding(root, SessionKind.LOGIN)

    found = refusal(store, kind=kind)
    facts = store.facts()
    kill(child)

    assert (found.code, found.retryable) == (Code.USER_DATA_LOCKED, True)
    assert "a tokd login session (00000000000000ff)" in found.message
    assert facts[0].in_use_by == "a tokd login session (00000000000000ff)"


def test_a_killed_login_locks_nobody_out(root: Path, store: ProfileStore) -> None:
    kill(holding(root, SessionKind.LOGIN))

    assert wait_until(lambda: store.prepare(order(kind=SessionKind.LOGIN)))


def test_a_walk_that_leaves_nothing_out_copies_all(root: Path, tmp_path: Path) -> None:
    Walk(lambda _parts, in_profile: False).run(root / "master", tmp_path / "copy")

    assert files_of(tmp_path / "copy") == {*STATE, *CACHES}
