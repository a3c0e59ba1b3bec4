"""Profiles for tests: a small one made by hand, orders, and the hash of a whole tree."""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from adapters.profiles import ProfilesSettings, ProfileStore
from adapters.scheduler.clock import SystemClock
from daemon.domain.ids import ProfileName, SessionId
from daemon.domain.session import SessionKind, SessionOrder
from tests.waiting import wait_until

CHROMIUM = shutil.which("chromium") or ""

MASTER = ProfileName("master")
PREFERENCES = (
    '{"profile":{"name":"Größe 日本","exit_type":"Crashed","exited_cleanly":false},'
    '"session":{"startup_urls":["https://a.test/ü"]}}'
)
CACHES = (
    "Default/Cache/Cache_Data/f_1", "Default/Code Cache/js/x", "Default/GPUCache/data_0",
    "Default/DawnGraphiteCache/data_0",
    "Default/DawnWebGPUCache/d", "Default/Service Worker/CacheStorage/a/b", "Default/Service Worker/Database/LOG",
    "Default/blob_storage/1/a", "Default/GCM Store/LOG", "Default/optimization_guide_hint_cache_store/LOG",
    "Default/Sessions/Tabs_1", "GrShaderCache/data_0", "ShaderCache/data_0", "Safe Browsing/list", "Crashpad/reports/a",
    "BrowserMetrics/a.pma", "BrowserMetrics-spare.pma", "component_crx_cache/x", "segmentation_platform/y",
    "DevToolsActivePort",
)  # fmt: skip
STATE = (
    "Local State", "Default/Preferences", "Default/Cookies", "Default/Cookies-journal",
    "Default/Local Storage/leveldb/CURRENT", "Default/IndexedDB/https_a.test_0.indexeddb.leveldb/CURRENT",
    "Default/WebStorage/1/x", "Default/Session Storage/CURRENT", "Default/Something New/state",
    "Profile 1/Preferences",
)  # fmt: skip


@contextmanager
def short_folder() -> Iterator[Path]:
    """Lend a folder whose path leaves room for a browser's socket, which pytest's own does not."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def descriptors() -> set[tuple[str, str]]:
    """Return this process's open descriptors, each with what it leads to.

    Two numbers of them cannot be compared: what an earlier test has left to a thread may be closed at any time.
    """
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that has listed them
            found.add((entry.name, str(entry.readlink())))
    return found


def write_cookies(path: Path, prefix: bytes = b"v10", rows: int = 2) -> None:
    """Make a cookie database of Chromium's shape, as far as anybody looks at it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS cookies (name TEXT, encrypted_value BLOB)")
    database.executemany(
        "INSERT INTO cookies VALUES (?, ?)", [(f"c{n}", prefix + b"\x01\x02secret") for n in range(rows)]
    )
    database.commit()
    database.close()


def make_profile(folder: Path, prefix: bytes = b"v10") -> Path:
    """Make a profile with state, caches, and links that must not be followed."""
    for name in (*STATE, *CACHES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    folder.parent.chmod(0o700)
    for name in ("Default/Cookies", "Default/Cookies-journal"):
        (folder / name).unlink()
    write_cookies(folder / "Default/Cookies", prefix)
    (folder / "Default/Cookies-journal").touch()
    for name in ("Default/Preferences", "Profile 1/Preferences"):
        (folder / name).write_text(PREFERENCES, encoding="utf-8")
    return folder


def fingerprint(folder: Path) -> str:
    """Return one hash over every name, kind, mode, time and byte of a tree."""
    found = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted([*names, *folders]):
            path = Path(place, name)
            status = path.lstat()
            found.update(f"{path.relative_to(folder)} {status.st_mode} {status.st_mtime_ns}\n".encode())
            if path.is_symlink():
                found.update(str(path.readlink()).encode())
            elif path.is_file():
                found.update(path.read_bytes())
    return found.hexdigest()


def files_of(folder: Path) -> set[str]:
    """Return every file below a folder, by its relative name."""
    return {
        Path(place, name).relative_to(folder).as_posix()
        for place, _, names in os.walk(folder)
        for name in names
    }


def order(
    session: str = "00000000000000a1", profile: str = MASTER, kind: SessionKind = SessionKind.TIKTOK
) -> SessionOrder:
    """Return an order of a session."""
    return SessionOrder(
        session=SessionId(session), kind=kind, profile=ProfileName(profile), url="https://a.test/?token=secret",
        headless=True, require_login=True, timeout_s=60,
    )  # fmt: skip


def a_store(root: Path, environ: Mapping[str, str] | None = None, **changes: Any) -> ProfileStore:
    """Return an opened store."""
    reached = changes.pop("reached", lambda _step: None)
    settings = ProfilesSettings(root=root, environ=environ or {}, **({"min_free_bytes": 0} | changes))
    store = ProfileStore(settings, SystemClock(), reached=reached)
    store.open()
    return store


class Chromium:
    """A real Chromium on a profile, headless, that reaches no network. Ended by its own process group."""

    def __init__(self, user_data_dir: Path, temp_dir: Path, url: str = "about:blank") -> None:
        self._url = url
        self._dir = user_data_dir
        self._temp_dir = temp_dir
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._temp_dir.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--password-store=basic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--remote-debugging-port=0",
                f"--user-data-dir={self._dir}", self._url,
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "TMPDIR": str(self._temp_dir)},
        )  # fmt: skip
        wait_until(self._is_up, within_s=30, what="Chromium opens its profile")
        return self

    def _is_up(self) -> bool:
        is_debugged = (self._dir / "DevToolsActivePort").exists() and (self._dir / "SingletonSocket").exists()
        return is_debugged and (self._dir / "Default/History").exists()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def close(self) -> None:
        """Ask for a clean end, and wait for it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def kill(self) -> None:
        """Kill it and its children."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def __exit__(self, *_: object) -> None:
        self.kill()
