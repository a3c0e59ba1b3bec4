"""A ledger that is gone, damaged, cut short or an older copy is not worked with, not touched, and no empty one made."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.storage.backup import BackupFailed, take_backup
from adapters.storage.check import check_ledger
from adapters.storage.examine import CheckLimits
from adapters.storage.mark import Mark, mark_of, read_mark
from adapters.storage.restore import accept_ledger, restore_backup
from adapters.storage.starts import StartLog, require_unharmed
from adapters.storage.store import PENDING, SqlStore
from adapters.vault import load_keys
from daemon.cli import disk_checks
from daemon.domain.errors import StartRefused
from daemon.domain.events import Event, EventType
from daemon.domain.safe_mode import SafeMode
from tests.daemons import Daemon
from tests.fakes.values import NODE, NOW, a_post, an_account
from tests.integration.test_backup import tokd

WRITES = 8  # transactions, each with one event


def store_of(ledger: Path) -> SqlStore:
    return SqlStore(f"sqlite:///{ledger}", NODE, mark=Mark(mark_of(ledger)))


def write(store: SqlStore, number: int) -> None:
    with store.transaction() as unit:
        unit.add_post(a_post(f"p_{number}"))
        unit.add_event(Event(EventType.DAEMON_PAUSED, "daemon/main", NOW, {"reason": str(number)}))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state folder as kill -9 leaves it: all of the last minutes stands in the log."""
    folder = tmp_path_factory.mktemp("killed")
    store = store_of(folder / "at-work" / "tokd.db")
    store.open()
    with store.transaction() as unit:
        unit.save_account(an_account())
    store.close()
    shutil.copytree(folder / "at-work", folder / "older")
    store.open()
    for number in range(WRITES):
        write(store, number)
    shutil.copytree(folder / "at-work", folder / "state")
    store.close()
    return folder


@pytest.fixture
def ledger(killed: Path, tmp_path: Path) -> Path:
    """Return the ledger of a copy that the last daemon did not leave cleanly."""
    shutil.copytree(killed / "state", tmp_path / "state")
    path = tmp_path / "state" / "tokd.db"
    assert begin(path) is None, "it must be sound"
    return path


def begin(
    ledger: Path, limits: CheckLimits | None = None, *, later: timedelta = timedelta()
) -> SafeMode | None:
    return StartLog(ledger.parent, ledger, 0, 600, limits).begin(NOW + later)


def end(ledger: Path) -> None:
    StartLog(ledger.parent, ledger, 0, 600).end()


def log_of(ledger: Path) -> Path:
    return ledger.with_name("tokd.db-wal")


def checkpoint(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def bytes_of(ledger: Path) -> dict[str, bytes]:
    files = (ledger, log_of(ledger), mark_of(ledger))
    found = {path.name: path.read_bytes() for path in files if path.exists()}
    if not found.get(log_of(ledger).name):
        found.pop(log_of(ledger).name, None)  # a reader may leave an empty one
    return found


def cut(ledger: Path, share: float) -> None:
    with log_of(ledger).open("r+b") as file:
        file.truncate(int(log_of(ledger).stat().st_size * share))


def replace(ledger: Path, other: Path) -> None:
    log_of(ledger).unlink()
    ledger.write_bytes(other.read_bytes())


def another(ledger: Path) -> None:
    fresh = ledger.with_name("fresh.db")
    store = store_of(fresh)
    store.open()
    for number in range(3 * WRITES):
        write(store, number)
    store.close()
    replace(ledger, fresh)


def garble(ledger: Path) -> None:
    checkpoint(ledger)
    with ledger.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 3 * 4096)


def forget(ledger: Path) -> None:
    for path in (ledger, log_of(ledger)):
        path.unlink()


def contradict(ledger: Path) -> None:
    """Take a row out of an index, and leave it in the table: what a torn write of one page does."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as raw:
        found = raw.execute("SELECT name, sql FROM sqlite_master WHERE name = 'post_account'").fetchone()
        raw.execute("PRAGMA writable_schema=ON")
        change = "UPDATE sqlite_master SET sql = ? WHERE name = ?"
        raw.execute(change, (f"{found[1]} WHERE 0", found[0]))
        raw.execute("PRAGMA writable_schema=RESET")
        raw.execute("DELETE FROM post WHERE id = 'p_0'")
        raw.execute("PRAGMA writable_schema=ON")
        raw.execute(change, (found[1], found[0]))
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# -- the mark ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_a_log_that_was_cut_short_is_noticed_wherever_it_was_cut(ledger: Path, share: float) -> None:
    cut(ledger, share)
    before = bytes_of(ledger)

    found = begin(ledger)

    assert found is not None
    assert found.is_blind
    assert bytes_of(ledger) == before


def test_it_says_how_much_is_missing_and_what_to_do(ledger: Path) -> None:
    cut(ledger, 0.99)  # the last commit only

    found = begin(ledger)

    assert found is not None
    assert "1 commit that tokd had acknowledged and 1 event are missing" in found.reason
    assert "tokd restore FILE" in found.todo
    assert "tokd db accept" in found.todo


def test_an_older_copy_in_the_ledgers_place_is_noticed(ledger: Path, killed: Path) -> None:
    replace(ledger, killed / "older" / "tokd.db")

    found = begin(ledger)

    assert found is not None
    assert f"and {WRITES} events are missing" in found.reason


def test_another_ledger_is_noticed_though_it_has_seen_more(ledger: Path) -> None:
    another(ledger)

    found = begin(ledger)

    assert found is not None
    assert "another ledger" in found.reason


def test_a_mark_that_a_power_cut_has_left_behind_is_normal(ledger: Path, killed: Path) -> None:
    shutil.copy(killed / "older" / "tokd.mark", mark_of(ledger))

    assert begin(ledger) is None


@pytest.mark.parametrize("text", ["", "tokd-mark-1 abc 99999 99999 1", "\xff\xfe"])
def test_a_mark_that_cannot_be_read_says_nothing(ledger: Path, text: str) -> None:
    mark_of(ledger).write_text(text)

    assert begin(ledger) is None


def test_a_commit_moves_the_mark_and_what_is_rolled_back_or_only_read_does_not(tmp_path: Path) -> None:
    path = tmp_path / "tokd.db"
    store = store_of(path)
    store.open()
    seen = [read_mark(mark_of(path))]
    write(store, 1)
    seen.append(read_mark(mark_of(path)))
    with store.transaction() as unit:
        assert unit.accounts() == []
    with pytest.raises(ZeroDivisionError), store.transaction() as unit:
        unit.set_flag("late", str(1 // 0))
    seen.append(read_mark(mark_of(path)))
    with store.transaction() as unit:
        unit.set_flag("without", "an event")
    seen.append(read_mark(mark_of(path)))
    store.close()

    counts = [(mark.commits, mark.sequence) for mark in seen if mark is not None]
    assert counts == [(0, 0), (1, 1), (1, 1), (2, 1)]


def test_whoever_writes_without_the_mark_leaves_it_behind_and_harms_nothing(ledger: Path) -> None:
    store = SqlStore(f"sqlite:///{ledger}", NODE)
    store.open()
    write(store, 99)
    store.close()

    assert begin(ledger) is None


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE account SET creator = '{"x": 1}'""",
        "UPDATE post SET state = 'schedumed' WHERE id = 'p_3'",
        "UPDATE account SET name = CAST(x'ff61' AS TEXT)",
        "UPDATE account SET linked_at = linked_at | (1 << 61)",
    ],
)
def test_a_value_that_no_tokd_has_written_is_noticed_before_it_is_worked_with(
    ledger: Path, change: str
) -> None:
    with closing(sqlite3.connect(ledger)) as raw, raw:
        raw.execute("PRAGMA ignore_check_constraints=ON")
        raw.execute(change)

    found = begin(ledger)

    assert found is not None
    assert found.is_blind
    assert [look.name for look in check_ledger(f"sqlite:///{ledger}") if not look.is_ok] in (
        ["rows"],
        ["file"],
    )


# -- the checks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "word"),
    [(forget, "is gone"), (garble, "is damaged"), (contradict, "index post_account"),
     (lambda path: (forget(path), path.write_bytes(b"")), "is empty"),
     (lambda path: path.write_bytes(b"something else" * 1000), "is damaged")],
)  # fmt: skip
def test_a_ledger_that_is_not_whole_is_not_worked_with_and_stays_as_it_is(
    ledger: Path, harm: Callable[[Path], object], word: str
) -> None:
    harm(ledger)
    before = bytes_of(ledger)

    found = begin(ledger)

    assert found is not None
    assert found.is_blind
    assert word in found.reason
    assert "tokd restore FILE" in found.todo
    assert bytes_of(ledger) == before


def test_the_quick_check_does_not_see_what_the_full_one_sees(ledger: Path) -> None:
    contradict(ledger)
    large = CheckLimits(always=0)

    assert begin(ledger, large) is None
    assert begin(ledger, large, later=timedelta(days=8)) is not None, "once a week it is looked at in full"


def test_harm_is_looked_for_again_though_the_last_end_was_clean(ledger: Path) -> None:
    contradict(ledger)
    large = CheckLimits(always=0)
    assert begin(ledger, large, later=timedelta(days=8)) is not None
    end(ledger)

    assert begin(ledger, large) is not None, "in full, though the week is not over"


def test_the_harm_of_a_huge_ledger_is_looked_for_again_too(ledger: Path) -> None:
    checkpoint(ledger)
    with ledger.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\xa5" * 4096)
    huge = CheckLimits(always=0, weekly=0)
    assert begin(ledger, huge) is not None
    end(ledger)

    assert begin(ledger, huge) is not None


def test_harm_that_was_mended_is_forgotten(ledger: Path) -> None:
    whole = bytes_of(ledger)
    garble(ledger)
    assert begin(ledger) is not None
    end(ledger)
    for name, content in whole.items():
        ledger.with_name(name).write_bytes(content)

    assert begin(ledger) is None


def test_a_ledger_lost_in_its_first_hour_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "tokd.db"
    assert begin(path) is None, "there has never been one"
    store = store_of(path)
    store.open()
    store.close()
    path.unlink()

    assert begin(path) is not None


@pytest.mark.parametrize("cause", ["a folder", "another program", "a restore", "a newer program"])
def test_what_a_person_must_mend_first_is_a_refused_start(ledger: Path, cause: str) -> None:
    checkpoint(ledger)
    match cause:
        case "a folder":
            ledger.unlink()
            ledger.mkdir()
        case "a restore":
            ledger.with_name(ledger.name + PENDING).write_text("{}")
        case "a newer program":
            with closing(sqlite3.connect(ledger)) as raw, raw:
                raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with closing(
        sqlite3.connect(ledger, isolation_level=None) if ledger.is_file() else sqlite3.connect(":memory:")
    ) as raw:
        if cause == "another program":
            raw.execute("PRAGMA locking_mode=EXCLUSIVE")
            raw.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StartRefused):
            begin(ledger)


# -- the ways out --------------------------------------------------------------------------------------------


def test_a_restore_is_no_older_copy(ledger: Path, tmp_path: Path) -> None:
    take_backup(ledger, tmp_path / "b.tar", version="1", node=NODE, taken_at="2026-12-01T12:00:00Z")
    for _ in range(2):
        restore_backup(tmp_path / "b.tar", ledger, NODE, NOW, has_broker=False)
        assert begin(ledger) is None
        store = store_of(ledger)
        store.open()
        write(store, 100)
        store.close()


def test_the_ledger_that_a_restore_has_replaced_is_not_taken_for_its_successor(
    ledger: Path, tmp_path: Path
) -> None:
    take_backup(ledger, tmp_path / "b.tar", version="1", node=NODE, taken_at="2026-12-01T12:00:00Z")
    done = restore_backup(tmp_path / "b.tar", ledger, NODE, NOW, has_broker=False)
    store = store_of(ledger)
    store.open()
    store.close()
    assert done.kept is not None

    checkpoint(done.kept)
    ledger.write_bytes(done.kept.read_bytes())

    assert begin(ledger) is not None


def test_a_restore_over_a_log_that_was_cut_gives_no_event_number_twice(
    ledger: Path, killed: Path, tmp_path: Path
) -> None:
    older = killed / "older" / "tokd.db"
    take_backup(older, tmp_path / "b.tar", version="1", node=NODE, taken_at="2026-12-01T12:00:00Z")
    marked = read_mark(mark_of(ledger))
    cut(ledger, 0.5)

    restore_backup(tmp_path / "b.tar", ledger, NODE, NOW, has_broker=False)

    assert marked is not None
    assert last_event(ledger) == ("dev.tokd.daemon.restored", marked.sequence + 1)


def test_the_doctor_says_it_too(ledger: Path) -> None:
    cut(ledger, 0.5)

    (found,) = [found for found in disk_checks._database(f"sqlite:///{ledger}") if found.name == "database"]

    assert found.verdict == "fail"
    assert "that tokd had acknowledged" in found.text
    assert "tokd db accept" in found.advice


@pytest.mark.parametrize("harm", [forget, contradict, lambda path: cut(path, 0.5)])
def test_no_command_writes_to_such_a_ledger_or_makes_one_anew(
    ledger: Path, harm: Callable[[Path], object]
) -> None:
    harm(ledger)
    before = bytes_of(ledger)

    with pytest.raises(StartRefused, match="tokd restore FILE"):
        require_unharmed(ledger.parent, ledger)

    assert bytes_of(ledger) == before


def test_keys_are_not_rotated_into_an_empty_ledger(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    store = store_of(daemon.state_dir / "tokd.db")
    store.open()
    store.close()
    (daemon.state_dir / "tokd.db").unlink()
    load_keys(daemon.state_dir / "secrets" / "fernet.keys", None, create=True)

    done = tokd(daemon, "keys", "rotate")

    assert done.returncode == 78, done.stderr
    assert "tokd restore FILE" in done.stderr
    assert not (daemon.state_dir / "tokd.db").exists()


def last_event(ledger: Path) -> tuple[str, int]:
    with closing(sqlite3.connect(ledger)) as raw:
        payload = raw.execute("SELECT payload FROM outbox ORDER BY sequence DESC LIMIT 1").fetchone()[0]
    event = json.loads(payload)
    return event["type"], int(event["sequence"])


def test_a_person_accepts_what_is_left_and_it_is_taken_like_a_backup(ledger: Path) -> None:
    marked = read_mark(mark_of(ledger))
    cut(ledger, 0.5)
    assert [look.name for look in check_ledger(f"sqlite:///{ledger}") if not look.is_ok] == ["mark"]

    accept_ledger(ledger, NODE, NOW, "1", has_broker=False)

    assert marked is not None
    assert last_event(ledger) == ("dev.tokd.daemon.restored", marked.sequence + 1)
    with closing(sqlite3.connect(ledger)) as raw:
        assert raw.execute("SELECT 1 FROM flag WHERE name = 'restored'").fetchone() == (1,)
    assert begin(ledger) is None
    assert [look for look in check_ledger(f"sqlite:///{ledger}") if not look.is_ok] == []


def cut_and_contradict(ledger: Path) -> None:
    cut(ledger, 0.8)
    contradict(ledger)


@pytest.mark.parametrize("harm", [lambda _path: None, garble, cut_and_contradict, forget])
def test_a_ledger_that_lacks_nothing_or_is_damaged_cannot_be_accepted(
    ledger: Path, harm: Callable[[Path], object]
) -> None:
    harm(ledger)
    before = bytes_of(ledger)

    with pytest.raises(BackupFailed):
        accept_ledger(ledger, NODE, NOW, "1", has_broker=False)

    assert bytes_of(ledger) == before
