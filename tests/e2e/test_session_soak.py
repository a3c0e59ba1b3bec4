"""After many sessions, some of them killed, a daemon holds what it held before; and a leak would be seen."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemons import ROOT
from tests.e2e.session_soak import AT_ONCE, Counts, Soak, settled
from tests.e2e.session_stage import SessionStage, sessions
from tests.notes import note

SESSIONS = int(os.environ.get("TOKD_SESSIONS", "30"))
SEED = int(os.environ.get("TOKD_SEED", "20"))
# What is counted, and the guard without which that grows: where it stands, and what stands there then.
LEAKS = {
    "daemon_fds": (
        "adapters/profiles/store.py",
        """\
        for lock in held.locks:
            with suppress(OSError):
                os.close(lock)
""",
        "",
    ),
    "zombies": (
        "adapters/browser/nursery.py",
        "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "    signal.signal(signal.SIGCHLD, signal.SIG_DFL)",
    ),
    "nursery_fds": (
        "adapters/browser/nursery.py",
        """\
        for fd in fds:
            os.close(fd)
""",
        "",
    ),
    "clone_files": (
        "adapters/profiles/store.py",
        "        is_gone = self._folders.remove(folder, Path(place.temp_dir))",
        "        is_gone = True",
    ),
}


@dataclass
class Soaked:
    """The counts before and after."""

    before: Counts
    after: Counts
    soak: Soak


def warm(stage: SessionStage) -> Counts:
    """Open as many sessions at once as there will be: what is made once is made now."""
    Soak(stage, 1).run(AT_ONCE)
    return settled(stage)


@pytest.fixture(scope="module")
def soaked(site: str, logged_in: Path) -> Iterator[Soaked]:
    with sessions(site, logged_in) as stage:
        before = warm(stage)
        soak = Soak(stage, SEED)
        soak.run(SESSIONS)
        after = settled(stage, before)
        print(f"\n{SESSIONS} sessions: {before}, {after}, {dict(soak.killed)}")
        killed = soak.killed.total()
        note(
            {"browser started and ended": SESSIONS - killed, "process of a session killed": killed},
            orders=SESSIONS,
        )
        yield Soaked(before, after, soak)


@pytest.mark.parametrize("what", Counts.__dataclass_fields__)
def test_after_many_sessions_the_count_is_what_it_was(soaked: Soaked, what: str) -> None:
    assert getattr(soaked.after, what) == getattr(soaked.before, what)


def test_after_many_sessions_there_is_no_zombie(soaked: Soaked) -> None:
    assert soaked.after.zombies == 0


def test_after_many_sessions_there_is_no_clone(soaked: Soaked) -> None:
    assert (soaked.after.clone_files, soaked.after.temp_files) == (0, 0)


def test_every_session_has_ended_once(soaked: Soaked) -> None:
    assert len(soaked.soak.ends) == SESSIONS
    assert [ends for ends in soaked.soak.ends.values() if len(ends) != 1] == []


def test_one_in_ten_was_killed(soaked: Soaked) -> None:
    assert soaked.soak.killed.total() == round(SESSIONS * 0.1)


# -- what cannot find a leak proves nothing ------------------------------------------------------------------


@pytest.fixture(scope="module")
def leaky(site: str, logged_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soaked]:
    """A daemon without its guards, and no more sessions at once than before."""
    root = tmp_path_factory.mktemp("leaky")
    for package in ("daemon", "adapters", "config"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, guard, instead in LEAKS.values():
        source = root / name
        text = source.read_text()
        assert text.count(guard) == 1, f"{name} has changed: mend this test with it"
        source.write_text(text.replace(guard, instead))
    with sessions(site, logged_in, root=root) as stage:
        before = warm(stage)
        soak = Soak(stage, SEED)
        soak.run(AT_ONCE)
        yield Soaked(before, settled(stage), soak)


@pytest.mark.parametrize("what", LEAKS)
def test_a_daemon_without_this_guard_is_caught_by_the_same_count(leaky: Soaked, what: str) -> None:
    assert getattr(leaky.after, what) >= getattr(leaky.before, what) + AT_ONCE
