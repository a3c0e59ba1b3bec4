"""Put a backup in the ledger's place. What stood there is kept beside; what came in between is doubted, never repeated."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adapters.storage.backup import BackupFailed, Manifest, unpack
from adapters.storage.check import open_readonly
from adapters.storage.files import replace_text, sync_file, sync_folder
from adapters.storage.store import PENDING, SqlStore
from daemon.domain import replies
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import Event, EventType
from daemon.domain.ids import NodeName
from daemon.domain.restored import RESTORED_FLAG, Restored
from daemon.domain.times import iso

# Event numbers go on this far up where nobody can say how many were told since the backup: an id that is
# given a second time would make listeners drop an event that they have never seen.
JUMP = 1_000_000
_BESIDE = ("-wal", "-shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What could still be read of the ledger that is replaced."""

    last_sequence: int
    begun: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a restore has done. `kept` is the ledger that stood there, None where there was none."""

    manifest: Manifest
    kept: Path | None
    keys: bytes | None
    former_was_readable: bool


def restore_backup(source: Path, database: Path, node: NodeName, now: datetime, *, has_broker: bool) -> Done:
    """Check the backup, mark its ledger as restored, exchange the two. The state folder's lock must be held.

    Raises BackupFailed where it is not whole or another node's, StartRefused where a newer program wrote it; the
    present ledger has not been touched then. A crash in the middle of the exchange leaves a mark that keeps the
    daemon from starting until the restore has been run again; that one begins with what stood there before the first.
    """
    with _draft_beside(database) as draft:
        manifest, keys = unpack(source, draft)
        if manifest.node != node:
            raise BackupFailed(
                f"{source} is a backup of node {manifest.node!r}, this is {node!r}: set daemon.node to that name"
            )
        _undo_cut_exchange(database)
        former = _read_former(database, node)
        _mark(draft, manifest, node, now, former, has_broker=has_broker)
        sync_file(draft)
        try:
            kept = _exchange(draft, database, now)
        except OSError as error:
            raise BackupFailed(
                f"the ledger {database} could not be exchanged: {error}. Mend that, then run the same restore again; "
                "tokd does not start before"
            ) from error
    return Done(manifest=manifest, kept=kept, keys=keys, former_was_readable=former is not None)


@contextmanager
def _draft_beside(database: Path) -> Iterator[Path]:
    database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in database.parent.glob(f".{database.name}.*.restoring*"):  # by one that was killed
        left.unlink(missing_ok=True)
    draft = database.with_name(f".{database.name}.{os.getpid()}.restoring")
    try:
        yield draft
    finally:
        for end in ("", "-journal", *_BESIDE):
            draft.with_name(draft.name + end).unlink(missing_ok=True)


def _read_former(database: Path, node: NodeName) -> Former | None:
    """Read what the present ledger can still tell of the time since the backup; None where it is damaged or gone."""
    if not database.exists() or database.stat().st_size == 0:
        return None
    last = "SELECT COALESCE(MAX(sequence), 0) FROM outbox WHERE node = ?"
    begun = (
        "SELECT id FROM post WHERE attempt > 0 OR state NOT IN ('draft', 'scheduled', 'held', 'cancelled')"
    )
    try:
        with closing(open_readonly(database)) as raw:
            if raw.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                return None
            sequence = raw.execute(last, (node,)).fetchone()[0]
            return Former(last_sequence=sequence, begun=tuple(row[0] for row in raw.execute(begun)))
    except sqlite3.Error:
        return None


def _mark(
    draft: Path, manifest: Manifest, node: NodeName, now: datetime, former: Former | None, *, has_broker: bool
) -> None:
    """Write into the restored ledger what its next start must know; it is brought to this program's schema, too."""
    restored = Restored(
        taken_at=manifest.taken_at, restored_at=iso(now), begun=former.begun if former else ()
    )
    store = SqlStore(f"sqlite:///{draft}", node, has_broker=has_broker)
    store.open()
    try:
        with store.transaction() as unit:
            own = unit.last_sequence()
            unit.sequence = max(own, former.last_sequence) if former else own + JUMP
            unit.set_flag(RESTORED_FLAG, restored.as_text())
            told = {
                "taken_at": restored.taken_at,
                "restored_at": restored.restored_at,
                "version": manifest.version,
            }
            unit.add_event(Event(EventType.DAEMON_RESTORED, f"daemon/{node}", now, told))
            for stored in unit.open_commands():
                # It was answered after the backup, and carried out: once more would be twice.
                refusal = Rejected(
                    Code.STALE_BACKLOG,
                    "it was accepted before a backup that has been restored since, and what became of it is not known; "
                    "look at what is there, then send it again under a new id",
                )
                body = replies.refused(refusal)
                reply = replies.build(stored.id, stored.verb, body, node=node, boot="", now=now)
                unit.finish_command(stored.row, reply, now)
    finally:
        store.close()
    with closing(sqlite3.connect(draft)) as raw:
        raw.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it


def _undo_cut_exchange(database: Path) -> None:
    """Bring back what an exchange had moved aside when it was cut short: the write-ahead log alone holds the newest."""
    pending = database.with_name(database.name + PENDING)
    try:
        name = str(json.loads(pending.read_text())["kept"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    kept = database.with_name(Path(name).name)
    if kept.exists():  # then all of it was moved, and what is here now has never been in use
        for end in (*_BESIDE, ""):
            database.with_name(database.name + end).unlink(missing_ok=True)
    for end in ("", *_BESIDE):
        moved = kept.with_name(kept.name + end)
        if moved.exists():
            moved.rename(database.with_name(database.name + end))
    sync_folder(database.parent)


def _exchange(draft: Path, database: Path, now: datetime) -> Path | None:
    pending = database.with_name(database.name + PENDING)
    aside = database.with_name(f"{database.name}.before-{now:%Y%m%dT%H%M%S%fZ}")
    replace_text(pending, json.dumps({"since": iso(now), "kept": aside.name}))
    kept = None
    for end in (*_BESIDE, ""):
        present = database.with_name(database.name + end)
        if present.exists():
            kept = aside
            present.rename(kept.with_name(kept.name + end))
    sync_folder(database.parent)
    draft.rename(database)
    sync_folder(database.parent)
    pending.unlink()
    sync_folder(database.parent)
    return kept
