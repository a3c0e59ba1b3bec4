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
from adapters.storage.check import file_faults, open_readonly
from adapters.storage.files import replace_text, sync_file, sync_folder
from adapters.storage.mark import mark_of, read_mark, read_water, what_is_missing
from adapters.storage.migrate import refuse_newer, revision_of_file
from adapters.storage.rows import instant
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
        restored = Restored(
            taken_at=manifest.taken_at, restored_at=iso(now), begun=former.begun if former else ()
        )
        last = former.last_sequence if former else None
        _let_it_doubt(draft, restored, manifest.version, node, now, last, has_broker=has_broker)
        with closing(sqlite3.connect(draft)) as raw:
            raw.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
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
            marked = read_mark(mark_of(database))  # it may know of more: the log may have been cut short
            sequence = max(sequence, marked.sequence if marked else 0)
            return Former(last_sequence=sequence, begun=tuple(row[0] for row in raw.execute(begun)))
    except sqlite3.Error:
        return None


def accept_ledger(
    database: Path, node: NodeName, now: datetime, version: str, *, has_broker: bool
) -> Restored:
    """Go on with a ledger that is behind what its mark says, as a person has decided; doubt what a restore doubts.

    The state folder's lock must be held. Raises BackupFailed where there is nothing that could be accepted: no ledger,
    a damaged one, or one that lacks nothing; StartRefused where a newer program wrote it. It is not touched then. A
    crash leaves a ledger that is refused as before; say it again.
    """
    marked = read_mark(mark_of(database))
    if not database.exists() or database.stat().st_size == 0:
        raise BackupFailed(f"there is no ledger {database} that could be accepted: `tokd restore FILE`")
    try:
        refuse_newer(revision_of_file(database))
        with closing(open_readonly(database)) as raw:
            faults, found = file_faults(raw), read_water(raw)
            told = raw.execute("SELECT MAX(created_at) FROM outbox").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupFailed(
            f"{database} is damaged and cannot be accepted: {error}; `tokd restore FILE`"
        ) from error
    if faults:
        raise BackupFailed(f"{database} is damaged and cannot be accepted: {faults[0]}; `tokd restore FILE`")
    if what_is_missing(marked, found) is None:
        raise BackupFailed(f"{database} lacks nothing that tokd has marked: there is nothing to accept")
    taken_at = instant(told) or now
    restored = Restored(taken_at=iso(taken_at), restored_at=iso(now))
    is_same = marked is not None and found is not None and found.ledger == marked.ledger
    last = marked.sequence if marked is not None and is_same else None
    _let_it_doubt(database, restored, version, node, now, last, has_broker=has_broker)
    mark_of(database).unlink(missing_ok=True)
    sync_folder(database.parent)
    return restored


def _let_it_doubt(
    database: Path, restored: Restored, version: str, node: NodeName, now: datetime, last: int | None, *,
    has_broker: bool,
) -> None:  # fmt: skip
    """Write into a ledger that it is behind the world, for its next start; `last`: the newest event that was told."""
    store = SqlStore(f"sqlite:///{database}", node, has_broker=has_broker)
    store.open()
    try:
        with store.transaction() as unit:
            own = unit.last_sequence()
            unit.sequence = max(own, last) if last is not None else own + JUMP
            unit.set_flag(RESTORED_FLAG, restored.as_text())
            unit.forget_water()
            told = {"taken_at": restored.taken_at, "restored_at": restored.restored_at, "version": version}
            unit.add_event(Event(EventType.DAEMON_RESTORED, f"daemon/{node}", now, told))
            for stored in unit.open_commands():
                # It was answered after the backup, and carried out: once more would be twice.
                refusal = Rejected(
                    Code.STALE_BACKLOG,
                    "it was accepted before the ledger went back to an earlier state, and what became of it is not "
                    "known; look at what is there, then send it again under a new id",
                )
                body = replies.refused(refusal)
                reply = replies.build(stored.id, stored.verb, body, node=node, boot="", now=now)
                unit.finish_command(stored.row, reply, now)
    finally:
        store.close()


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
    mark_of(database).unlink(missing_ok=True)  # it is the mark of the one before
    sync_folder(database.parent)
    pending.unlink()
    sync_folder(database.parent)
    return kept
