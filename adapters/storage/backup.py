"""Backups of the SQLite ledger: one tar file with a manifest and a consistent copy, checked before it gets its name.

The copy is made by SQLite's own backup call over a connection that only reads: a `cp` of a live database lacks what
its write-ahead log holds. Profiles are never in it, and the keys only where somebody asks for them.
"""

import errno
import hashlib
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from adapters.storage.check import file_faults, open_readonly
from adapters.storage.files import create_private, put_in_place, sync_file
from daemon.domain.errors import TokdError

FORMAT = 1
MANIFEST, LEDGER, KEYS = "manifest.json", "tokd.db", "fernet.keys"
_COUNTED = ("post", "attempt", "account", "task", "command", "outbox", "audit")
_SMALL_MAX = 64 * 1024
_CHUNK = 1024 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class BackupFailed(TokdError):
    """The backup could not be made or is not to be trusted; the sentence says why. Nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    version: str
    schema: str
    node: str
    taken_at: str  # ISO 8601, UTC: everything that was committed before is in it
    sha256: str  # of the ledger in it
    bytes: int
    counts: dict[str, int]
    has_keys: bool


_MANIFESTS = TypeAdapter(Manifest)


def take_backup(
    database: Path, target: Path, *, version: str, node: str, taken_at: str, keys: bytes | None = None
) -> Manifest:
    """Write a backup of the ledger to `target`, mode 0600, the daemon running or not. Raises BackupFailed."""
    if os.path.lexists(target):  # a link that leads nowhere, too
        raise BackupFailed(f"{target} is there already; a backup replaces nothing, choose another name")
    if not database.exists():
        raise BackupFailed(
            f"there is no ledger {database} to back up: are these the settings that tokd runs with?"
        )
    try:
        with _drafts(target) as (copy, draft):
            schema, counts = _copy(database, copy)
            manifest = Manifest(
                format=FORMAT, version=version, schema=schema, node=node, taken_at=taken_at, sha256=_hash(copy),
                bytes=copy.stat().st_size, counts=counts, has_keys=keys is not None,
            )  # fmt: skip
            _pack(draft, manifest, copy, keys)
            sync_file(draft)
            put_in_place(draft, target)
    except FileExistsError:
        raise BackupFailed(f"{target} has just been made by somebody else") from None
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"the backup {target} cannot be made: {error}") from error
    return manifest


def read_manifest(source: Path) -> Manifest:
    """Return what a backup says of itself. Raises BackupFailed for a file that is none."""
    try:
        with _opened(source) as archive:
            return _manifest_in(archive)
    except (OSError, tarfile.TarError) as error:
        raise BackupFailed(f"{source} cannot be read as a backup of tokd: {error}") from error


def unpack(source: Path, ledger: Path) -> tuple[Manifest, bytes | None]:
    """Write the backup's ledger to a new file and check it; return the manifest and the keys, if it has any.

    Raises BackupFailed where it is not whole: another hash than the manifest's, or what SQLite finds in it.
    """
    try:
        with _opened(source) as archive:
            manifest = _manifest_in(archive)
            create_private(ledger)
            with ledger.open("wb") as out:
                for chunk in _chunks(archive, LEDGER):
                    out.write(chunk)
            keys = b"".join(_chunks(archive, KEYS, _SMALL_MAX)) if manifest.has_keys else None
        if _hash(ledger) != manifest.sha256:
            raise BackupFailed(f"{source} is damaged: its ledger has another SHA-256 than its manifest says")
        with closing(open_readonly(ledger)) as raw:
            _require_whole(raw)
        sync_file(ledger)
    except (OSError, tarfile.TarError, sqlite3.Error) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise BackupFailed(
                f"there is no room in {ledger.parent} for the ledger in {source} ({manifest.bytes} bytes); nothing was "
                "changed"
            ) from error
        raise BackupFailed(f"{source} cannot be read as a backup of tokd: {error}") from error
    return manifest, keys


def _opened(source: Path) -> tarfile.TarFile:
    if source.exists() and not source.is_file():  # a pipe would be waited for, for ever
        raise BackupFailed(f"{source} is no file: this is not a backup of tokd")
    return tarfile.open(source, "r:")


@contextmanager
def _drafts(target: Path) -> Iterator[tuple[Path, Path]]:
    copy, draft = (target.with_name(f".{target.name}.{os.getpid()}.{end}") for end in ("db", "tar"))
    made = [copy, draft, *(copy.with_name(copy.name + end) for end in ("-journal", "-wal", "-shm"))]
    try:
        create_private(copy)
        create_private(draft)
        yield copy, draft
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _copy(database: Path, copy: Path) -> tuple[str, dict[str, int]]:
    """Copy one moment of the ledger, check the copy; return its schema and how many rows it has."""
    with closing(open_readonly(database)) as source, closing(sqlite3.connect(copy)) as out:
        source.backup(out)  # in one step: writers go on beside it, and none of them makes it begin anew
        out.execute("PRAGMA journal_mode=DELETE")  # one file, complete in itself
        _require_whole(out)
        tables = {row[0] for row in out.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in tables:
            raise BackupFailed(f"{database} has no schema: it is not a ledger of tokd")
        schema = str(out.execute("SELECT version_num FROM alembic_version").fetchone()[0])
        count = "SELECT COUNT(*) FROM "
        return schema, {name: out.execute(count + name).fetchone()[0] for name in _COUNTED if name in tables}


def _require_whole(raw: sqlite3.Connection) -> None:
    faults = file_faults(raw)
    if faults:
        raise BackupFailed(f"the ledger is damaged: {faults[0]}; see `tokd db check`")


def _pack(draft: Path, manifest: Manifest, copy: Path, keys: bytes | None) -> None:
    with tarfile.open(draft, "w:") as archive:
        text = json.dumps(asdict(manifest), indent=1).encode()
        _add(archive, MANIFEST, io.BytesIO(text), len(text))
        with copy.open("rb") as file:
            _add(archive, LEDGER, file, manifest.bytes)
        if keys is not None:
            _add(archive, KEYS, io.BytesIO(keys), len(keys))


def _add(archive: tarfile.TarFile, name: str, file: io.IOBase, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    archive.addfile(member, file)


def _manifest_in(archive: tarfile.TarFile) -> Manifest:
    text = b"".join(_chunks(archive, MANIFEST, _SMALL_MAX))
    try:
        manifest = _MANIFESTS.validate_json(text)
    except ValidationError as error:
        raise BackupFailed("its manifest cannot be read: this is not a backup of tokd") from error
    if manifest.format != FORMAT:
        raise BackupFailed(f"it has format {manifest.format}, this program knows {FORMAT}: use a newer tokd")
    return manifest


def _chunks(archive: tarfile.TarFile, name: str, limit: int | None = None) -> Iterator[bytes]:
    """Yield a member's bytes. Nothing is ever extracted to a path that the archive names."""
    try:
        member = archive.getmember(name)
    except KeyError:
        raise BackupFailed(f"there is no {name} in it: this is not a backup of tokd") from None
    file = archive.extractfile(member) if member.isreg() and (limit is None or member.size <= limit) else None
    if file is None:
        raise BackupFailed(f"{name} in it is no file of a backup")
    while chunk := file.read(_CHUNK):
        yield chunk


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
