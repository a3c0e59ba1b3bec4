"""`tokd backup`, `tokd restore`, `tokd db …`, `tokd safe-mode leave`: the ledger in good days and bad ones."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from adapters.control import ControlError
from adapters.storage.lock import StateLock
from config.settings import Settings
from daemon.cli.exits import FAILED
from daemon.cli.invocation import Json, exchange, invocation_of, new_id
from daemon.cli.output import print_json, say
from daemon.domain.errors import StartRefused, TokdError
from daemon.domain.ids import NodeName
from daemon.domain.times import iso

# What a ledger needs (SQLAlchemy) costs a third of a second: it is imported by the command that needs it.

db = typer.Typer(help="Look after the database.", no_args_is_help=True)
safe_mode = typer.Typer(help="Leave safe mode after a look at what ended tokd.", no_args_is_help=True)
_TERMINATED = 128 + signal.SIGTERM
_POSTGRES = (
    "the ledger is in PostgreSQL: use pg_dump and pg_restore; pause tokd before, and stop it for a restore"
)
_THEN = (
    "start tokd, look at `tokd post list --state uncertain`, then `tokd resume`: until then nothing is posted"
)


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command("backup")(backup)
    app.command("restore")(restore)
    app.add_typer(db, name="db")
    app.add_typer(safe_mode, name="safe-mode")


def backup(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to; else tokd-NODE-TIME.tar here.")
    ] = None,
    with_keys: Annotated[
        bool,
        typer.Option(
            "--with-keys", help="Put the encryption keys in, too: whoever has the file can post then."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a checked copy of the ledger to a file, while tokd runs or not. Profiles are not in it, nor are the keys.

    Example: tokd backup /var/backups/tokd-monday.tar
    """
    from adapters.storage.backup import take_backup  # noqa: PLC0415

    settings = invocation_of(ctx).loaded().settings
    ledger, now = _ledger_of(settings), datetime.now(UTC)
    target = file or Path(f"tokd-{settings.daemon.node}-{now:%Y%m%dT%H%M%SZ}.tar")
    keys = _keys_of(settings) if with_keys else None
    if keys is not None:
        say(
            "the encryption keys go with it: keep this file as you would keep them",
            error=True,
            style="yellow",
        )
    if not as_json:
        say(f"copying {ledger} ({_size(ledger):.1f} MiB) …", error=True)
    with _failing(), _ended_tidily():
        manifest = take_backup(
            ledger, target, version=_version(), node=settings.daemon.node, taken_at=iso(now), keys=keys
        )
    noted = _note(ctx, settings, {"taken_at": iso(now), "bytes": manifest.bytes, "sha256": manifest.sha256})
    if as_json:
        print_json({"file": str(target), "noted": noted, **asdict(manifest)})
        return
    say(
        f"{target}: {manifest.counts.get('post', 0)} posts, schema {manifest.schema}, SHA-256 {manifest.sha256}"
    )
    if keys is None:
        say(
            f"keep a copy of {settings.key_file} elsewhere: without it the tokens in the backup are lost",
            error=True,
        )


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `tokd backup` has written.")],
    as_json: Json = False,
) -> None:
    """Put a backup in the ledger's place; tokd must be stopped. The present ledger is kept beside it.

    What may have gone out since the backup comes back as uncertain and is never posted again by itself. Posting is
    paused until you have looked (`tokd post list --state uncertain`) and say `tokd resume`. Orders that came after
    the backup are forgotten: a post that was ordered then is not in the list, though it may be out.

    Example: tokd restore /var/backups/tokd-monday.tar
    """
    from adapters.storage.restore import restore_backup  # noqa: PLC0415
    from adapters.storage.starts import leave_safe_mode  # noqa: PLC0415

    settings = invocation_of(ctx).loaded().settings
    ledger = _ledger_of(settings)
    with _locked(settings), _failing():
        if not as_json:
            say(f"checking {file} …", error=True)
        done = restore_backup(
            file,
            ledger,
            NodeName(settings.daemon.node),
            datetime.now(UTC),
            has_broker=settings.mqtt.is_enabled,
        )
        leave_safe_mode(settings.state_dir)
        keys = _put_keys(settings.key_file, done.keys) if done.keys is not None else None
    if as_json:
        kept = str(done.kept) if done.kept else None
        print_json({"file": str(file), "kept": kept, "keys": keys, **asdict(done.manifest)})
        return
    say(f"the ledger is that of {done.manifest.taken_at} (tokd {done.manifest.version})")
    if done.kept is not None:
        say(f"the one before is kept as {done.kept}")
    if not done.former_was_readable:
        say(
            "that one could not be read: a post that was sent ahead of its time since the backup is not noticed",
            error=True,
        )
    if keys is not None:
        say(keys)
    say(_THEN)


@db.command("check")
def check(ctx: typer.Context, as_json: Json = False) -> None:
    """Check the database's file and what must hold between its rows, while tokd runs or not; exits with 1 on a finding.

    Example: tokd db check
    """
    from adapters.storage.check import check_ledger  # noqa: PLC0415

    url = invocation_of(ctx).loaded().settings.database_url_text
    ledger = _file_of(url)
    if ledger is not None and not ledger.exists():
        raise typer.Exit(_fail(f"{ledger} is not there", as_json=as_json))
    found = []
    for look in check_ledger(url):
        found.append(look)
        if not as_json:
            say(
                f"{'ok  ' if look.is_ok else 'FAIL'}  {look.name}: {look.text}",
                style="green" if look.is_ok else "red",
            )
    is_ok = all(look.is_ok for look in found)
    if as_json:
        looks = [{"name": look.name, "ok": look.is_ok, "text": look.text} for look in found]
        print_json({"ok": is_ok, "checks": looks})
    elif not is_ok:
        way = "stop tokd and put the latest backup back: `tokd restore FILE`"
        if [look.name for look in found if not look.is_ok] == ["mark"]:
            way += "; or go on with what is left: `tokd db accept`"
        say(f"      → {way}")
    if not is_ok:
        raise typer.Exit(FAILED)


@db.command("accept")
def accept(ctx: typer.Context) -> None:
    """Go on with a ledger that lacks the newest of what tokd knew, as `tokd db check` says; tokd must be stopped.

    For a ledger whose log was cut short, or an older copy of it that was put back by hand, where no better backup is
    there. It is taken like a backup of then: what may have gone out since comes back as uncertain and is never posted
    again by itself, orders that came later are forgotten, and posting is paused until you have looked
    (`tokd post list --state uncertain`) and say `tokd resume`. A damaged ledger cannot be accepted.

    Example: tokd db accept
    """
    from adapters.storage.restore import accept_ledger  # noqa: PLC0415
    from adapters.storage.starts import leave_safe_mode  # noqa: PLC0415

    settings = invocation_of(ctx).loaded().settings
    ledger, node = _ledger_of(settings), NodeName(settings.daemon.node)
    with _locked(settings), _failing():
        taken = accept_ledger(
            ledger, node, datetime.now(UTC), _version(), has_broker=settings.mqtt.is_enabled
        )
        leave_safe_mode(settings.state_dir)
    say(f"the ledger is taken as that of {taken.taken_at}")
    say(_THEN)


@safe_mode.command("leave")
def leave(ctx: typer.Context) -> None:
    """Forget the unclean starts, so that the next start works again. Look at the log before.

    Example: tokd safe-mode leave
    """
    from adapters.storage.starts import NAME, leave_safe_mode, read_starts  # noqa: PLC0415

    folder = invocation_of(ctx).loaded().settings.state_dir
    if (harm := read_starts(folder / NAME).harm) is not None:
        say(
            f"{harm}: that cannot be left; `tokd db check` says more, `tokd restore FILE` puts a backup back",
            error=True,
        )
        raise typer.Exit(FAILED)
    reason = leave_safe_mode(folder)
    if reason is None:
        say("tokd was not in safe mode; the count of unclean starts is back at none")
    else:
        say(f"left ({reason}); restart tokd")


def _ledger_of(settings: Settings) -> Path:
    found = _file_of(settings.database_url_text)
    if found is None:
        say(_POSTGRES, error=True)
        raise typer.Exit(FAILED)
    return found


def _file_of(url: str) -> Path | None:
    from adapters.storage.store import ledger_file  # noqa: PLC0415

    return ledger_file(url)


def _size(path: Path) -> float:
    return path.stat().st_size / 1024**2 if path.exists() else 0.0


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("tokd")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"


def _fail(text: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": False, "error": text})
    else:
        say(text, error=True)
    return FAILED


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Turn what a backup may raise into a sentence and exit code 1."""
    from adapters.storage.backup import BackupFailed  # noqa: PLC0415

    try:
        yield
    except BackupFailed as error:
        say(str(error), error=True)
        raise typer.Exit(FAILED) from error


@contextlib.contextmanager
def _ended_tidily() -> Iterator[None]:
    """Let SIGTERM, such as of a timer's unit, end this as Ctrl-C does: drafts as large as the ledger must not stay."""
    former = signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(_TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextlib.contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """Hold the state folder while something is done that the daemon must not see half-done."""
    os.umask(0o077)
    lock = StateLock(settings.state_dir)
    try:
        lock.take()
    except StartRefused as error:
        say(str(error), error=True)
        raise typer.Exit(FAILED) from error
    try:
        yield
    finally:
        lock.release()


def _keys_of(settings: Settings) -> bytes:
    from adapters.vault import load_keys  # noqa: PLC0415

    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    keys, _ = load_keys(settings.key_file, Path(folder) if folder else None, create=False)
    return "".join(f"{key}\n" for key in keys).encode("ascii")


def _put_keys(path: Path, keys: bytes) -> str:
    """Put the backup's keys where there are none; a key file that is there stays as it is. Raises BackupFailed."""
    from adapters.storage.backup import BackupFailed  # noqa: PLC0415
    from adapters.storage.files import replace_text  # noqa: PLC0415

    if path.exists():
        return f"the keys in the backup were not needed: {path} is there and stays as it is"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_text(path, keys.decode("ascii"))
    except OSError as error:
        raise BackupFailed(
            f"the ledger is put back, but its keys cannot be written to {path}: {error}. Mend that before tokd starts and "
            "run the same restore again: tokd would make new keys, and the tokens could not be read"
        ) from error
    return f"the keys of the backup are in {path}"


def _note(ctx: typer.Context, settings: Settings, told: dict[str, object]) -> bool:
    """Let the ledger know of the backup: through the daemon where it runs, else directly; return whether it does."""
    try:
        reply = exchange(ctx, "system/backed_up", {"id": new_id(), "args": told})
        return bool(reply.get("status") == "done")
    except ControlError:
        pass
    try:
        with _quietly_locked(settings):
            return _write_note(settings, str(told["taken_at"]))
    except TokdError:
        return False


@contextlib.contextmanager
def _quietly_locked(settings: Settings) -> Iterator[None]:
    lock = StateLock(settings.state_dir)
    lock.take()
    try:
        yield
    finally:
        lock.release()


def _write_note(settings: Settings, taken_at: str) -> bool:
    from adapters.storage.migrate import HEAD, revision_of_file  # noqa: PLC0415
    from adapters.storage.starts import require_unharmed  # noqa: PLC0415
    from adapters.storage.store import SqlStore  # noqa: PLC0415
    from daemon.domain.restored import BACKUP_FLAG  # noqa: PLC0415

    if revision_of_file(_ledger_of(settings)) != HEAD:
        return False  # a backup upgrades nothing
    require_unharmed(settings.state_dir, _ledger_of(settings))
    store = SqlStore(settings.database_url_text, NodeName(settings.daemon.node))
    store.open()
    try:
        with store.transaction() as unit:
            unit.set_flag(BACKUP_FLAG, taken_at)
    finally:
        store.close()
    return True
