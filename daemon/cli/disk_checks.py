"""The doctor's look at files: state folder, database, keys, media. All read-only."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from config.settings import Settings
from daemon.cli.findings import Finding, fail, ok, warn

_LITTLE = 1024**3
_TOO_LITTLE = 100 * 1024**2
_OTHERS = 0o077
_WAL_RESET_FIXED = (3, 51, 3)
_WAL_RESET_BACKPORTS = ((3, 44, 6), (3, 50, 7))
_SQLITE = "sqlite:///"
_RESTORE = "stop tokd; `tokd db check` says more, `tokd restore FILE` puts the latest backup back"
_BEHIND = "stop tokd; `tokd restore FILE` puts a backup back, `tokd db accept` goes on with what is left"


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Yield what is found about every file that tokd needs."""
    yield from _state_dir(settings.state_dir)
    yield from _database(settings.database_url_text)
    yield from _starts(settings.state_dir)
    yield _key_file(settings.key_file)
    yield from _media_roots(settings.media.roots)


def _state_dir(folder: Path) -> Iterator[Finding]:
    name = "state folder"
    if not folder.exists():
        parent = next(above for above in folder.parents if above.exists())
        if os.access(parent, os.W_OK):
            yield ok(name, f"{folder} is not there yet; the first start makes it")
        else:
            yield fail(name, f"{folder} cannot be made", f"make it, or let this user write to {parent}")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield fail(name, f"{folder} cannot be written", f"chown it to the user that tokd runs as: {folder}")
    elif mode & _OTHERS:
        yield warn(name, f"{folder} has mode {mode:04o}", f"chmod 700 {folder}")
    else:
        yield ok(name, f"{folder}, mode {mode:04o}")
    yield _space(folder)


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free"
    if free < _TOO_LITTLE:
        return fail("disk", text, "make room: a full disk stops every command")
    return warn("disk", text, "make room soon") if free < _LITTLE else ok("disk", text)


def _database(url: str) -> Iterator[Finding]:
    if not url.startswith(_SQLITE):
        parts = urlsplit(url)
        yield ok(
            "database", f"PostgreSQL at {parts.hostname or 'a local socket'}; its schema is checked at start"
        )
        return
    yield _sqlite_version()
    path = Path(url.removeprefix(_SQLITE))
    if not path.exists() and path.with_suffix(".mark").exists():
        yield fail("database", f"{path} is gone, and there was one", _RESTORE)
        return
    if not path.exists():
        yield ok("database", f"{path} is not there yet; the first start makes it")
        return
    try:
        yield _read(path)
    except sqlite3.Error as error:
        yield fail(
            "database",
            f"{path}: {error}",
            _RESTORE,
        )


def _read(path: Path) -> Finding:
    from adapters.storage.mark import mark_of, read_mark, read_water, what_is_missing  # noqa: PLC0415
    from adapters.storage.migrate import HEAD  # noqa: PLC0415 - SQLAlchemy costs a third of a second

    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)
    try:
        connection.execute("PRAGMA query_only=1")
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if "alembic_version" not in tables:
            return warn(
                "database", f"{path} has no schema", "was it made by tokd? The next start would make one"
            )
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        found = row[0] if row else "none"
        health = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        missing = (
            what_is_missing(read_mark(mark_of(path)), read_water(connection)) if health == "ok" else None
        )
    finally:
        connection.close()
    if health != "ok":
        return fail(
            "database",
            f"{path} is damaged: {health}",
            _RESTORE,
        )
    if missing is not None:
        return fail("database", f"{path}: {missing}", _BEHIND)
    if found == HEAD:
        return ok("database", f"{path}, schema {found}, quick_check ok")
    if found < HEAD:
        return warn(
            "database", f"{path} has schema {found}, this program {HEAD}", "the next start upgrades it"
        )
    return fail("database", f"{path} has schema {found}, this program knows {HEAD}", "run the newer tokd")


def _starts(folder: Path) -> Iterator[Finding]:
    from adapters.storage.starts import NAME, read_starts  # noqa: PLC0415 - with SQLAlchemy behind it

    found = read_starts(folder / NAME)
    if found.harm is not None:
        yield fail("safe mode", found.harm, _RESTORE)
    elif found.safe_mode is not None:
        yield fail(
            "safe mode", found.safe_mode, "look at the log, then `tokd safe-mode leave`, and start tokd"
        )
    elif found.unclean:
        yield warn("starts", f"{len(found.unclean)} did not end cleanly of late", "look at the log")


def _sqlite_version() -> Finding:
    version = sqlite3.sqlite_version_info[:3]
    is_fixed = version >= _WAL_RESET_FIXED or any(
        version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_RESET_BACKPORTS
    )
    if is_fixed:
        return ok("sqlite", sqlite3.sqlite_version)
    return warn(
        "sqlite",
        f"{sqlite3.sqlite_version} has the WAL-reset bug (fixed in 3.51.3); tokd's single writer avoids it",
        "let no other program write to the database; see sqlite.org/wal.html#walresetbug",
    )


def _key_file(path: Path) -> Finding:
    name = "keys"
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and (Path(folder) / "fernet-keys").is_file():
        return ok(name, "from the systemd credential fernet-keys")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return ok(name, f"{path} is not there yet; the first start makes it")
    except OSError as error:
        return fail(name, f"{path}: {error.strerror}", "run doctor as the user that tokd runs as")
    if mode & _OTHERS:
        return fail(name, f"{path} has mode {mode:04o}: others may read it", f"chmod 600 {path}")
    if not os.access(path, os.R_OK):
        return fail(name, f"{path} cannot be read", "run doctor as the user that tokd runs as")
    return ok(name, f"{path}, mode {mode:04o}; keep a copy elsewhere, without it the tokens are lost")


def _media_roots(roots: tuple[Path, ...]) -> Iterator[Finding]:
    for root in roots:
        if not root.is_dir():
            yield warn("media root", f"{root} is not there", f"mkdir {root}, or change media.roots")
        elif not os.access(root, os.R_OK | os.X_OK):
            yield fail("media root", f"{root} cannot be read", f"chmod a+rx {root}")
        else:
            yield ok("media root", str(root))
    if not roots:
        yield warn("media root", "none is configured", "set media.roots to post files")
