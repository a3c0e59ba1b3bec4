"""Cloning a profile of 217 MB and 4,700 files, most of it caches, against copying all of it."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from adapters.profiles import ProfileStore
from daemon.domain.session import Workplace
from tests.bench.report import p50, tell
from tests.profiles import a_store, order, write_cookies

ROUNDS = 5
# Folder, files, bytes each: the state of the reference profile (129 files, 38 MB), and its caches.
STATE = (
    ("Default/IndexedDB/https_a.test_0.indexeddb.leveldb", 30, 500_000),
    ("Default/Local Storage/leveldb", 20, 400_000),
    ("Default/WebStorage/1", 20, 300_000),
    ("Default/Session Storage", 15, 200_000),
    ("Default/Extensions/abc/1.0", 30, 100_000),
    ("Default", 11, 440_000),
)
CACHES = (
    ("Default/Cache/Cache_Data", 3_000, 40_000),
    ("Default/Code Cache/js", 1_000, 30_000),
    ("Default/Service Worker/CacheStorage/a", 400, 50_000),
    ("GrShaderCache", 170, 50_000),
)


def _seed(master: Path) -> None:
    for folder, count, size in (*STATE, *CACHES):
        (master / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (master / folder / f"f_{number:06}").write_bytes(os.urandom(size))
    (master / "Local State").write_text("{}")
    (master / "Default/Preferences").write_text('{"profile":{"name":"Größe"}}')
    write_cookies(master / "Default/Cookies")
    os.sync()


def _timed(work: Callable[[], object]) -> float:
    os.sync()  # what the other way has written must not be paid for by this one
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def _prepared(store: ProfileStore, number: int, places: list[Workplace]) -> None:
    places.append(store.prepare(order(f"{number:016x}")))


def main() -> None:
    """Print both times, their ratio, and what removing a clone takes."""
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        _seed(root / "master")
        store = a_store(root)
        ours: list[float] = []
        theirs: list[float] = []
        removals: list[float] = []
        for number in range(ROUNDS):
            places: list[Workplace] = []
            copy = root / "backups" / "all"
            theirs.append(_timed(lambda copy=copy: shutil.copytree(root / "master", copy)))
            shutil.rmtree(copy)
            ours.append(_timed(lambda n=number, p=places: _prepared(store, n, p)))
            removals.append(_timed(lambda p=places: store.release(p[0])))
        (facts,) = store.facts()
        megabytes = facts.size / 1_000_000
        tell(f"copying all of a profile ({megabytes:.0f} MB, {facts.files} files)", p50(theirs), "ms")
        tell(
            "cloning it for a session, locks and checks included",
            p50(ours),
            "ms",
            floor=p50(theirs),
            floor_name="shutil.copytree",
        )
        tell("  that is faster by the factor", p50(theirs) / p50(ours), "", aim=">= 20")
        tell("removing the clone", p50(removals), "ms")


if __name__ == "__main__":
    main()
