"""Profiles that a browser has open: refused, or cloned as well as it can be; with a real Chromium where it matters."""

import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from adapters.profiles.cookies import InUse, back_up
from adapters.profiles.in_use import Holder, holder_of
from adapters.profiles.live import WARNING, LiveWalk
from daemon.domain.errors import Code, Rejected
from daemon.domain.session import Encryption, SessionKind
from tests.profiles import (
    CHROMIUM,
    MASTER,
    Chromium,
    a_store,
    files_of,
    make_profile,
    order,
    short_folder,
    write_cookies,
)
from tests.waiting import wait_until

HERE = socket.gethostname()
WAIT = "import sys, threading; print(flush=True); threading.Event().wait()"
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def short(tmp_path: Path) -> Path:
    return tmp_path / ".t"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_profile(tmp_path / "master")
    return tmp_path


@contextmanager
def a_process(*words: str, program: str = sys.executable, cwd: Path | None = None) -> Iterator[int]:
    child = subprocess.Popen([program, "-c", WAIT, *words], stdout=subprocess.PIPE, cwd=cwd)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        yield child.pid
    finally:
        child.kill()
        child.communicate()


def claim(master: Path, pid: int, host: str = HERE) -> None:
    (master / "SingletonLock").symlink_to(f"{host}-{pid}")


def refusal(root: Path, kind: SessionKind = SessionKind.TIKTOK, *, allow_live: bool = False) -> Rejected:
    with pytest.raises(Rejected) as caught:
        a_store(root, allow_live=allow_live).prepare(order(kind=kind))
    assert list((root / "clones").iterdir()) == []
    return caught.value


# -- whose lock it is ------------------------------------------------------------------------------------


def test_a_profile_without_a_lock_is_free(root: Path) -> None:
    assert holder_of(root / "master") is None


def test_a_lock_of_a_dead_process_is_stale(root: Path) -> None:
    with a_process(f"--user-data-dir={root}/master") as pid:
        pass
    claim(root / "master", pid)

    assert holder_of(root / "master") is None
    assert a_store(root).prepare(order())


def test_a_lock_of_a_process_with_exactly_this_profile_holds(root: Path) -> None:
    with a_process(f"--user-data-dir={root}/master") as pid:
        claim(root / "master", pid)

        found = holder_of(root / "master")
        assert found is not None
        assert (found.pid, found.machine) == (pid, None)


def test_a_profile_is_known_behind_links_and_relative_names(root: Path) -> None:
    (root / "link").symlink_to(root / "master")
    with a_process("--user-data-dir=link", cwd=root) as pid:
        claim(root / "master", pid)

        assert holder_of(root / "master") is not None


@pytest.mark.parametrize("other", ["/elsewhere", "{root}/master2", "{root}"])
def test_a_lock_of_a_process_with_another_profile_is_stale(root: Path, other: str) -> None:
    with a_process(f"--user-data-dir={other.format(root=root)}") as pid:
        claim(root / "master", pid)

        assert holder_of(root / "master") is None


def test_a_process_that_is_no_browser_does_not_hold_a_profile(root: Path) -> None:
    with a_process() as pid, listening(root / "master"):
        claim(root / "master", pid)

        assert holder_of(root / "master") is None


def test_a_lock_of_a_browser_that_has_joined_its_arguments_holds(tmp_path: Path) -> None:
    master = make_profile(tmp_path / "my profiles" / "master")
    joined = f"/usr/bin/chromium --x=1 --user-data-dir={master} about:blank"
    child = subprocess.Popen(["bash", "-c", f"exec -a '{joined}' cat"], stdin=subprocess.PIPE)
    try:
        wait_until(lambda: Path(f"/proc/{child.pid}/cmdline").read_text() == f"{joined}\0")
        claim(master, child.pid)

        assert holder_of(master) is not None
    finally:
        child.kill()
        child.communicate()


@contextmanager
def listening(master: Path) -> Iterator[None]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{folder}/SingletonSocket")
        door.listen()
        (master / "SingletonSocket").symlink_to(f"{folder}/SingletonSocket")
        yield


def test_a_browser_that_names_no_profile_holds_it_while_its_socket_answers(
    root: Path, tmp_path: Path
) -> None:
    browser = tmp_path / "chromium"  # only the name counts here
    browser.symlink_to(sys.executable)
    with a_process(program=str(browser)) as pid:
        claim(root / "master", pid)

        assert holder_of(root / "master") is None
        with listening(root / "master"):
            assert holder_of(root / "master") == Holder(pid, "chromium")


def test_a_lock_of_another_machine_is_refused_and_says_how_to_clear_it(root: Path) -> None:
    claim(root / "master", 4711, "other-machine")

    found = refusal(root, allow_live=True)

    assert found.code is Code.USER_DATA_LOCKED
    assert "another machine" in found.message
    assert "other-machine, pid 4711" in found.message
    assert f"remove {root}/master/SingletonLock" in found.message


def test_a_lock_that_is_no_link_is_broken_and_holds_nothing(root: Path) -> None:
    (root / "master/SingletonLock").write_text("x")

    assert holder_of(root / "master") is None


# -- a real browser --------------------------------------------------------------------------------------


@needs_chromium
@pytest.mark.parametrize("kind", [SessionKind.TIKTOK, SessionKind.LOGIN])
def test_a_profile_that_chromium_has_open_is_refused_with_its_pid(
    root: Path, short: Path, kind: SessionKind
) -> None:
    with Chromium(root / "master", short) as chromium:
        found = refusal(root, kind)
        (facts,) = a_store(root).facts()

        assert (found.code, found.retryable) == (Code.USER_DATA_LOCKED, True)
        assert f"chromium, pid {chromium.pid}; close that browser" in found.message
        assert facts.in_use_by == f"chromium, pid {chromium.pid}"


@needs_chromium
@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_profile_that_chromium_has_left_is_free(root: Path, short: Path, end: str) -> None:
    with Chromium(root / "master", short) as chromium:
        getattr(chromium, end)()

    place = a_store(root).prepare(order())

    assert place.warnings == ()


@needs_chromium
def test_a_live_clone_is_made_in_seconds_with_its_cookies_and_a_warning(tmp_path: Path, short: Path) -> None:
    write_real_profile(tmp_path / "master", short)
    with Chromium(tmp_path / "master", short):
        start = time.monotonic()
        place = a_store(tmp_path, allow_live=True).prepare(order())
        took_s = time.monotonic() - start

    assert took_s < 5
    assert place.warnings == (WARNING,)
    assert integrity(Path(place.user_data_dir, "Default/Cookies")) == "ok"
    found = files_of(Path(place.user_data_dir))
    assert {"Local State", "Default/Cookies"} <= found
    assert not {name for name in found if name.endswith(("History", "Web Data", "Login Data", "-journal"))}


@needs_chromium
def test_a_live_clone_can_be_opened_by_a_browser(tmp_path: Path, short: Path) -> None:
    write_real_profile(tmp_path / "master", short)
    with Chromium(tmp_path / "master", short / "a"):
        place = a_store(tmp_path, allow_live=True).prepare(order())

        with Chromium(Path(place.user_data_dir), short / "b") as chromium:
            chromium.close()


@needs_chromium
def test_a_live_clone_never_replaces_its_profile(tmp_path: Path, short: Path) -> None:
    write_real_profile(tmp_path / "master", short)
    store = a_store(tmp_path, allow_live=True)
    with Chromium(tmp_path / "master", short):
        place = store.prepare(order())

        with pytest.raises(Rejected) as caught:
            store.promote(place, MASTER)

    assert caught.value.code is Code.USER_DATA_LOCKED


@needs_chromium
def test_a_live_clone_does_not_replace_its_profile_when_that_browser_is_gone(
    tmp_path: Path, short: Path
) -> None:
    write_real_profile(tmp_path / "master", short)
    store = a_store(tmp_path, allow_live=True)
    with Chromium(tmp_path / "master", short) as chromium:
        place = store.prepare(order())
        chromium.kill()

    with pytest.raises(Rejected) as caught:
        store.promote(place, MASTER)

    assert caught.value.code is Code.PROFILE_CHANGED
    assert "while a browser had it open" in caught.value.message


def write_real_profile(folder: Path, short: Path) -> None:
    with Chromium(folder, short) as chromium:
        chromium.close()


class Greeter(BaseHTTPRequestHandler):
    """Sets a login cookie at the first visit, and remembers the cookies of each."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path == "/":
            self.seen.append(self.headers.get("Cookie", ""))
        self.send_response(200)
        if self.path == "/" and len(self.seen) == 1:
            self.send_header("Set-Cookie", "sid=abc123; Max-Age=1000000")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@needs_chromium
def test_a_login_in_the_profile_is_one_in_its_clone(tmp_path: Path, short: Path) -> None:
    Greeter.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        with Chromium(tmp_path / "master", short, url) as chromium:
            wait_until(lambda: len(Greeter.seen) == 1, what="the login")
            chromium.close()

        place = a_store(tmp_path).prepare(order())
        with Chromium(Path(place.user_data_dir), short, url):
            wait_until(lambda: len(Greeter.seen) == 2, what="the visit in the clone")
        server.shutdown()

    assert Greeter.seen == ["", "sid=abc123"]
    assert place.encryption == Encryption(v10=1)


# -- databases and LevelDB folders in use ----------------------------------------------------------------


def integrity(path: Path) -> str:
    database = sqlite3.connect(path)
    try:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        database.close()


def test_a_database_that_stays_locked_is_given_up(tmp_path: Path) -> None:
    write_cookies(tmp_path / "Cookies")
    database = sqlite3.connect(tmp_path / "Cookies", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()

    with pytest.raises(InUse):
        back_up(tmp_path / "Cookies", tmp_path / "copy", within_s=0.3)

    assert time.monotonic() - start < 3
    assert not (tmp_path / "copy").exists()
    database.close()


def test_a_database_that_is_written_all_the_time_is_copied_whole(tmp_path: Path) -> None:
    write_cookies(tmp_path / "Cookies", rows=5000)
    script = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
        "print(flush=True)\n"
        "while True: db.execute('UPDATE cookies SET name = name || 1 WHERE rowid % 50 = abs(random() % 50)')\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, tmp_path / "Cookies"], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()

    found = set()
    for number in range(30):
        copy = tmp_path / f"copy{number}"
        back_up(tmp_path / "Cookies", copy, within_s=3)
        found.add(integrity(copy))
    writer.kill()
    writer.communicate()

    assert found == {"ok"}


def test_locked_cookies_refuse_a_live_clone(root: Path, tmp_path: Path) -> None:
    database = sqlite3.connect(root / "master/Default/Cookies", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")

    with pytest.raises(Rejected) as caught:
        LiveWalk(MASTER).run(root / "master", tmp_path / "copy")

    database.close()
    assert caught.value.code is Code.USER_DATA_LOCKED


def test_a_locked_database_that_no_login_needs_is_left_out(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "master/Default/Cookies", root / "master/Default/Unheard Of")
    database = sqlite3.connect(root / "master/Default/Unheard Of", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")

    LiveWalk(MASTER).run(root / "master", tmp_path / "copy")

    database.close()
    assert "Default/Unheard Of" not in files_of(tmp_path / "copy")
    assert "Default/Cookies" in files_of(tmp_path / "copy")


def test_a_leveldb_folder_that_never_holds_still_is_copied_with_a_warning(root: Path, tmp_path: Path) -> None:
    folder = root / "master/Default/Local Storage/leveldb"
    for number in range(200):  # so that a copy takes longer than a change
        (folder / f"{number:06}.ldb").write_bytes(bytes(50_000))
    is_over = threading.Event()

    def change() -> None:
        number = 1000
        while not is_over.is_set():
            number += 1
            (folder / f"{number:06}.log").touch()
            (folder / f"{number - 1:06}.log").unlink(missing_ok=True)

    writer = threading.Thread(target=change)
    writer.start()
    walk = LiveWalk(MASTER)
    walk.run(root / "master", tmp_path / "copy")
    is_over.set()
    writer.join()

    assert walk.warnings[1:] == ["Default/Local Storage/leveldb changed all the while and may be incomplete"]
    assert (tmp_path / "copy/Default/Local Storage/leveldb/CURRENT").exists()
