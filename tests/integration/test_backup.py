"""A backup in the middle of a campaign, more posts, a restore: nothing is posted twice (row A8 of the scorecard)."""

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.storage.backup import BackupFailed, read_manifest, take_backup
from adapters.storage.check import Look, check_ledger
from adapters.storage.restore import restore_backup
from adapters.storage.store import PENDING, SqlStore
from daemon.domain.errors import StartRefused
from daemon.domain.events import Event, EventType
from daemon.domain.ids import NodeName
from daemon.domain.post import State
from tests.daemons import ROOT, Daemon, Simulator, make_clip
from tests.fakes.values import NOW, a_post, a_request, an_account
from tests.waiting import wait_until

POSTS = 5  # an account may begin six in a minute


def tokd(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with the daemon's settings."""
    environ = {f"TOKD_{key.upper().replace('.', '__')}": value for key, value in daemon.settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "daemon", *words], cwd=daemon.folder, capture_output=True, text=True, timeout=60,
        check=False, env=os.environ | environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@dataclass
class Campaign:
    """What was seen on the way."""

    daemon: Daemon
    simulator: Simulator
    backup: subprocess.CompletedProcess[str] | None = None
    while_running: subprocess.CompletedProcess[str] | None = None
    restored: subprocess.CompletedProcess[str] | None = None
    states: list[str] = field(default_factory=list)
    open_in_backup: set[str] = field(default_factory=set)
    doubted: set[str] = field(default_factory=set)
    events_before: list[str] = field(default_factory=list)
    events_after: list[str] = field(default_factory=list)
    checked: list[Look] = field(default_factory=list)
    metrics: list[tuple[str, str]] = field(default_factory=list)


def published(simulator: Simulator) -> Counter[str]:
    """Return how often each upload has become a post: the simulator's own word."""
    return Counter(entry["publish_id"] for entry in simulator.ledger()["publishes"])


def order(daemon: Daemon, place: int, clip: bytes) -> str:
    """Schedule a file of its own size, one after the other; return the post."""
    padding = 100 + place
    box = (8 + padding).to_bytes(4, "big") + b"free" + bytes(padding)
    (daemon.media / f"clip{place}.mp4").write_bytes(clip + box)
    at = datetime.now(UTC) + timedelta(seconds=place)  # the backup must fall between them
    reply = daemon.schedule(f"clip{place}.mp4", at=at.isoformat())
    assert reply["status"] == "done", reply
    return str(reply["result"]["post"])


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    folder = tmp_path_factory.mktemp("campaign")
    simulator = Simulator(folder / "simulator")
    daemon = Daemon(folder).use_simulator(simulator)
    found = Campaign(daemon, simulator)
    try:
        clip = make_clip(folder / "clip.mp4").read_bytes()
        daemon.start()
        daemon.link(simulator)
        posts = [order(daemon, place, clip) for place in range(POSTS)]
        wait_until(
            lambda: daemon.rows("SELECT 1 FROM post WHERE state = 'published'") != [], what="a first post"
        )
        found.backup = tokd(daemon, "backup", "b.tar", "--json")
        found.while_running = tokd(daemon, "restore", "b.tar")
        for post in posts:
            daemon.wait_state(post, "published", within_s=60)
        found.metrics = daemon.rows("SELECT name, value FROM flag WHERE name = 'last_backup'")
        found.events_before = [event["id"] for event in daemon.events()]
        daemon.stop()
        found.restored = tokd(daemon, "restore", "b.tar", "--json")
        found.open_in_backup = {
            row[0] for row in daemon.rows("SELECT id FROM post WHERE state <> 'published'")
        }
        daemon.start()
        daemon.call("system/resume", id="on")
        for post in posts:
            found.states.append(daemon.wait_state(post, "published", "uncertain", within_s=60)["state"])
        found.events_after = [
            event["id"] for event in daemon.events() if event["id"] not in found.events_before
        ]
        found.doubted = {
            event["data"]["post"]
            for event in daemon.events()
            if event["type"] == "dev.tokd.post.uncertain" and event["id"] not in found.events_before
        }
        found.checked = list(check_ledger(f"sqlite:///{daemon.state_dir / 'tokd.db'}"))
        yield found
    finally:
        daemon.stop()
        simulator.stop()


def test_a_backup_is_made_while_tokd_works(campaign: Campaign) -> None:
    assert campaign.backup is not None
    assert campaign.backup.returncode == 0, campaign.backup.stderr
    told = json.loads(campaign.backup.stdout)
    assert (told["node"], told["noted"], told["has_keys"]) == ("main", True, False)
    assert told["counts"]["post"] == POSTS
    assert [name for name, _ in campaign.metrics] == ["last_backup"]


def test_a_backup_is_for_its_owner_only_and_holds_no_key_and_no_profile(campaign: Campaign) -> None:
    file = campaign.daemon.folder / "b.tar"

    with tarfile.open(file) as archive:
        assert archive.getnames() == ["manifest.json", "tokd.db"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_restore_is_refused_while_tokd_runs(campaign: Campaign) -> None:
    assert campaign.while_running is not None
    assert campaign.while_running.returncode == 1
    assert "another tokd" in campaign.while_running.stderr


def test_nothing_is_posted_twice_after_a_restore(campaign: Campaign) -> None:
    assert campaign.restored is not None
    assert campaign.restored.returncode == 0, campaign.restored.stderr
    out = published(campaign.simulator)
    assert (len(out), out.total()) == (POSTS, POSTS)


def test_every_post_that_was_open_in_the_backup_is_doubted(campaign: Campaign) -> None:
    assert campaign.open_in_backup
    assert campaign.doubted == campaign.open_in_backup
    assert set(campaign.states) <= {"uncertain", "published"}


def test_no_event_number_is_given_a_second_time(campaign: Campaign) -> None:
    assert campaign.events_after
    assert min(campaign.events_after) > max(campaign.events_before)


def test_the_restored_ledger_passes_its_check(campaign: Campaign) -> None:
    assert len(campaign.checked) == 8
    assert [look for look in campaign.checked if not look.is_ok] == []


def test_the_ledger_that_was_replaced_is_kept(campaign: Campaign) -> None:
    assert campaign.restored is not None
    kept = Path(json.loads(campaign.restored.stdout)["kept"])

    with closing(sqlite3.connect(f"{kept.as_uri()}?mode=ro", uri=True)) as raw:
        assert raw.execute("SELECT COUNT(*) FROM post WHERE state = 'published'").fetchone() == (POSTS,)


# -- the file itself, without a daemon ---------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "tokd.db"
    store = SqlStore(f"sqlite:///{path}", NodeName("main"))
    store.open()
    with store.transaction() as unit:
        unit.save_account(an_account())
        unit.add_post(a_post())
    store.close()
    return path


def take(ledger: Path, target: Path, node: str = "main") -> Path:
    take_backup(ledger, target, version="1", node=node, taken_at="2026-12-01T12:00:00Z")
    return target


def restore(source: Path, ledger: Path) -> None:
    restore_backup(source, ledger, NodeName("main"), NOW, has_broker=False)


def test_what_is_not_checkpointed_yet_is_in_a_backup(ledger: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(ledger)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("INSERT INTO flag VALUES ('main', 'late', 'x')")
        writer.commit()
        take(ledger, tmp_path / "b.tar")

    restore(tmp_path / "b.tar", ledger)

    with closing(sqlite3.connect(ledger)) as raw:
        assert raw.execute("SELECT value FROM flag WHERE name = 'late'").fetchone() == ("x",)


def test_a_backup_replaces_no_file(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")

    with pytest.raises(BackupFailed, match="is there already"):
        take(ledger, tmp_path / "b.tar")

    assert (tmp_path / "b.tar").read_text() == "mine"


def test_a_damaged_ledger_is_not_backed_up_and_no_draft_stays(ledger: Path, tmp_path: Path) -> None:
    damage(ledger)

    with pytest.raises(BackupFailed):
        take(ledger, tmp_path / "b.tar")

    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def damage(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 3 * 4096)


def test_a_damaged_backup_is_refused_and_the_ledger_not_touched(ledger: Path, tmp_path: Path) -> None:
    backup = take(ledger, tmp_path / "b.tar")
    before = ledger.read_bytes()
    whole = backup.read_bytes()
    backup.write_bytes(whole[:20_000] + b"\x5a" * 4096 + whole[24_096:])

    with pytest.raises(BackupFailed, match="SHA-256"):
        restore(backup, ledger)

    assert ledger.read_bytes() == before
    assert not [path for path in ledger.parent.iterdir() if "restoring" in path.name or "before" in path.name]


def test_a_file_that_is_no_backup_is_refused(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)

    with pytest.raises(BackupFailed, match="cannot be read as a backup"):
        restore(tmp_path / "b.tar", ledger)


def test_another_nodes_backup_is_refused(ledger: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="node 'other'"):
        restore(take(ledger, tmp_path / "b.tar", node="other"), ledger)


def test_a_backup_by_a_newer_program_is_refused(ledger: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(ledger)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.commit()

    with pytest.raises(StartRefused, match="newer"):
        restore(take(ledger, tmp_path / "b.tar"), ledger)


def test_the_manifest_can_be_read_alone(ledger: Path, tmp_path: Path) -> None:
    manifest = read_manifest(take(ledger, tmp_path / "b.tar"))

    assert (manifest.counts["post"], manifest.counts["account"], manifest.has_keys) == (1, 1, False)


def test_a_restore_takes_the_place_of_a_damaged_ledger(ledger: Path, tmp_path: Path) -> None:
    backup = take(ledger, tmp_path / "b.tar")
    damage(ledger)

    done = restore_backup(backup, ledger, NodeName("main"), NOW, has_broker=False)

    assert not done.former_was_readable
    with closing(sqlite3.connect(ledger)) as raw:
        assert raw.execute("SELECT COUNT(*) FROM post").fetchone() == (1,)
        assert raw.execute("SELECT MAX(sequence) > 1000000 FROM outbox").fetchone() == (1,)


def test_a_restore_that_was_cut_short_keeps_the_daemon_from_an_empty_start(
    ledger: Path, tmp_path: Path
) -> None:
    backup = take(ledger, tmp_path / "b.tar")
    ledger.with_name(ledger.name + PENDING).write_text("{}")
    ledger.rename(ledger.with_name("tokd.db.before-now"))
    store = SqlStore(f"sqlite:///{ledger}", NodeName("main"))

    with pytest.raises(StartRefused, match="interrupted"):
        store.open()
    assert not ledger.exists()

    restore(backup, ledger)
    store.open()
    store.close()


def test_an_order_that_was_open_in_the_backup_is_answered_and_not_begun_again(
    ledger: Path, tmp_path: Path
) -> None:
    store = SqlStore(f"sqlite:///{ledger}", NodeName("main"))
    store.open()
    with store.transaction() as unit:
        unit.add_command(a_request(verb="post/schedule"), "c-1")
    store.close()

    restore(take(ledger, tmp_path / "b.tar"), ledger)

    store.open()
    with store.transaction() as unit:
        assert unit.open_commands() == []
        stored = unit.find_command(a_request().actor, "c-1")
    store.close()
    assert stored is not None
    assert stored.reply is not None
    assert stored.reply["error"]["code"] == "stale_backlog"


KILLED_RESTORE = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from adapters.storage.restore import restore_backup

count, true = int(sys.argv[3]), os.rename

def dies(*args, **kwargs):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return true(*args, **kwargs)

os.rename = dies
restore_backup(Path(sys.argv[1]), Path(sys.argv[2]), "main", datetime.now(UTC), has_broker=False)
"""


@pytest.fixture
def killed_ledger(ledger: Path, tmp_path: Path) -> Path:
    """A ledger as a killed daemon leaves it: what is newest stands in the write-ahead log only."""
    store = SqlStore(f"sqlite:///{ledger}", NodeName("main"))
    store.open()
    with store.transaction() as unit:
        unit.add_post(a_post("p_new", state=State.PUBLISHED, attempt=1))
        for number in range(50):
            unit.add_event(Event(EventType.POST_SCHEDULED, "post/p_new", NOW, {"number": number}))
    killed = tmp_path / "killed" / ledger.name
    killed.parent.mkdir()
    for end in ("", "-wal"):
        killed.with_name(killed.name + end).write_bytes(ledger.with_name(ledger.name + end).read_bytes())
    store.close()
    return killed


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_the_killed_restore_had_moved_aside_counts_in_the_next_one(
    killed_ledger: Path, ledger: Path, tmp_path: Path, count: int
) -> None:
    with closing(sqlite3.connect(ledger)) as raw:
        (last,) = raw.execute("SELECT MAX(sequence) FROM outbox").fetchone()
    backup = take(ledger, tmp_path / "b.tar")
    words = [sys.executable, "-c", KILLED_RESTORE, str(backup), str(killed_ledger), str(count)]
    assert subprocess.run(words, cwd=ROOT, check=False, timeout=30).returncode == -9
    (killed_ledger.parent / f".{killed_ledger.name}.99.restoring").write_bytes(b"left behind")

    done = restore_backup(backup, killed_ledger, NodeName("main"), NOW, has_broker=False)

    assert done.former_was_readable
    assert done.kept is not None
    with closing(sqlite3.connect(killed_ledger)) as raw:
        assert raw.execute("SELECT MAX(sequence) FROM outbox").fetchone() == (last + 1,)
    with closing(sqlite3.connect(done.kept)) as raw:
        assert raw.execute("SELECT COUNT(*) FROM post WHERE id = 'p_new'").fetchone() == (1,)
    assert list(killed_ledger.parent.glob(".*")) == []


def test_a_restore_that_was_killed_after_the_exchange_begins_with_what_stood_there(
    ledger: Path, tmp_path: Path
) -> None:
    backup = take(ledger, tmp_path / "b.tar")
    damage(ledger)
    first = restore_backup(backup, ledger, NodeName("main"), NOW, has_broker=False)
    assert first.kept is not None
    ledger.with_name(ledger.name + PENDING).write_text(json.dumps({"kept": first.kept.name}))

    second = restore_backup(backup, ledger, NodeName("main"), NOW + timedelta(hours=1), has_broker=False)

    assert not second.former_was_readable  # it is the damaged one, not the first try
    assert (first.kept.exists(), second.kept is not None) == (False, True)


TERMINATED_BACKUP = """
import os, signal, sys

def dies(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("it went on")

os.link = dies
sys.argv = ["tokd", "--set", f"daemon.state_dir={sys.argv[1]}", "backup", sys.argv[2]]
from daemon.cli import main
main()
"""


def test_a_backup_that_is_told_to_end_leaves_no_draft(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    words = [sys.executable, "-c", TERMINATED_BACKUP, str(ledger.parent), str(tmp_path / "backups" / "b.tar")]

    done = subprocess.run(words, cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)

    assert done.returncode == 143, done.stderr
    assert list((tmp_path / "backups").iterdir()) == []


FULL_RESTORE = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from adapters.storage.restore import restore_backup

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # as large as any file may become here
restore_backup(Path(sys.argv[1]), Path(sys.argv[2]), "main", datetime.now(UTC), has_broker=False)
"""


def test_a_restore_without_room_says_so_and_changes_nothing(ledger: Path, tmp_path: Path) -> None:
    backup = take(ledger, tmp_path / "b.tar")
    before = ledger.read_bytes()
    words = [sys.executable, "-c", FULL_RESTORE, str(backup), str(ledger)]

    done = subprocess.run(words, cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)

    assert "there is no room" in done.stderr
    assert ledger.read_bytes() == before
    assert not [path for path in ledger.parent.iterdir() if "restoring" in path.name or "before" in path.name]


def test_a_pipe_is_no_backup(ledger: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(BackupFailed, match="is no file"):
        restore(tmp_path / "pipe", ledger)


def test_a_backup_of_nothing_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="there is no ledger"):
        take(tmp_path / "none.db", tmp_path / "b.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_nowhere_is_not_replaced(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").symlink_to(tmp_path / "nowhere")

    with pytest.raises(BackupFailed, match="is there already"):
        take(ledger, tmp_path / "b.tar")


@pytest.mark.parametrize("count", [1, 2])
def test_a_restore_that_is_killed_while_it_exchanges_the_two_can_only_be_run_again(
    ledger: Path, tmp_path: Path, count: int
) -> None:
    backup = take(ledger, tmp_path / "b.tar")
    words = [sys.executable, "-c", KILLED_RESTORE, str(backup), str(ledger), str(count)]

    done = subprocess.run(words, cwd=ROOT, check=False, timeout=30)

    assert done.returncode == -9
    with pytest.raises(StartRefused, match="interrupted"):
        SqlStore(f"sqlite:///{ledger}", NodeName("main")).open()
    restore(backup, ledger)
    store = SqlStore(f"sqlite:///{ledger}", NodeName("main"))
    store.open()
    with store.transaction() as unit:
        assert unit.post(a_post().id) is not None
    store.close()
