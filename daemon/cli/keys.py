"""`tokd keys …`: the keys that the tokens are sealed with."""

import os
from pathlib import Path
from typing import Annotated

import typer

from adapters.control import DaemonNotRunning
from adapters.storage.lock import StateLock
from config.settings import Settings
from daemon.cli.exits import FAILED
from daemon.cli.invocation import Json, exchange, invocation_of, new_id
from daemon.cli.output import print_json, print_refusal, print_table, say
from daemon.domain.ids import NodeName

keys = typer.Typer(help="See, renew and remove the keys that tokens are sealed with.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(keys, name="keys")


@keys.command("list")
def list_keys(ctx: typer.Context, as_json: Json = False) -> None:
    """List the keys by a name made of their hash, newest first. The keys themselves are never shown.

    Example: tokd keys list
    """
    from adapters.vault import key_id, load_keys  # noqa: PLC0415 - cryptography costs a tenth of a second

    found, source = load_keys(*_place(invocation_of(ctx).loaded().settings), create=False)
    names = [key_id(key) for key in found]
    if as_json:
        print_json({"source": source, "keys": names})
        return
    say(source)
    rows = [[name, "seals and opens" if place == 0 else "opens only"] for place, name in enumerate(names)]
    print_table(["key", "use"], rows, "there are none")


@keys.command("rotate")
def rotate(
    ctx: typer.Context,
    reseal_only: Annotated[
        bool, typer.Option("--reseal-only", help="Make no new key; go on with a rotation that was cut short.")
    ] = False,
) -> None:
    """Make a new key and seal every token with it, row by row, while tokd runs or not. The old keys stay.

    Whenever it is cut short both keys are there and everything can be read; --reseal-only goes on. Copy the file
    afterwards, then `tokd keys prune` removes the old keys.

    Example: tokd keys rotate
    """
    from adapters.vault import add_key  # noqa: PLC0415

    settings = _of_a_file(ctx)
    if not reseal_only:
        say(f"new key {add_key(settings.key_file)} in {settings.key_file}; keep a copy of it elsewhere")
    resealed, unreadable = _reseal(ctx, settings)
    say(f"{resealed} secrets sealed anew")
    _require_all_read(unreadable)


@keys.command("prune")
def prune(ctx: typer.Context) -> None:
    """Remove the old keys, if nothing needs them any more.

    Example: tokd keys prune
    """
    from adapters.vault import prune_keys  # noqa: PLC0415

    settings = _of_a_file(ctx)
    _, unreadable = _reseal(ctx, settings)
    _require_all_read(unreadable)
    gone = prune_keys(settings.key_file)
    _reseal(ctx, settings)  # so that a running tokd forgets them, too
    say(f"removed: {', '.join(gone)}" if gone else "there is one key only: nothing to remove")


def _place(settings: Settings) -> tuple[Path, Path | None]:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return settings.key_file, Path(folder) if folder else None


def _of_a_file(ctx: typer.Context) -> Settings:
    """Return the settings where the keys are in a file that tokd may write."""
    from adapters.vault import CREDENTIAL  # noqa: PLC0415

    settings = invocation_of(ctx).loaded().settings
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and (Path(folder) / CREDENTIAL).is_file():
        say(
            f"the keys come from the systemd credential {CREDENTIAL}: put a new key on its first line, restart tokd, "
            "then `tokd keys rotate --reseal-only` as tokd's user without that credential in the environment",
            error=True,
        )
        raise typer.Exit(FAILED)
    return settings


def _require_all_read(unreadable: int) -> None:
    if unreadable:
        say(
            f"{unreadable} secrets could not be opened by any key and stay as they are: no key is removed. Bring the "
            "missing key back, or link those accounts again (`tokd account list`)",
            error=True,
        )
        raise typer.Exit(FAILED)


def _reseal(ctx: typer.Context, settings: Settings) -> tuple[int, int]:
    """Go through all pages; return how many secrets were sealed anew, and how many no key opens."""
    resealed = unreadable = 0
    after: str | None = None
    is_first = True
    while is_first or after is not None:
        is_first = False
        try:
            args = {"after": after} if after else {}
            reply = exchange(ctx, "keys/reseal", {"id": new_id(), "args": args})
        except DaemonNotRunning:
            return _reseal_alone(settings)
        if reply["status"] != "done":
            print_refusal(reply["error"])
            raise typer.Exit(FAILED)
        page = reply["result"]
        resealed, unreadable, after = (
            resealed + page["resealed"],
            unreadable + page["unreadable"],
            page["next"],
        )
    return resealed, unreadable


def _reseal_alone(settings: Settings) -> tuple[int, int]:
    from adapters.storage.store import SqlStore  # noqa: PLC0415
    from adapters.vault import FernetVault, load_keys  # noqa: PLC0415
    from daemon.handlers.reseal_secrets import reseal_page  # noqa: PLC0415

    lock = StateLock(settings.state_dir)
    lock.take()
    store = SqlStore(settings.database_url_text, NodeName(settings.daemon.node))
    resealed = unreadable = 0
    try:
        vault = FernetVault(load_keys(*_place(settings), create=False)[0])
        store.open()
        after: str | None = None
        is_first = True
        while is_first or after is not None:
            is_first = False
            with store.transaction() as unit:
                page = reseal_page(unit, vault, after)
            resealed, unreadable, after = resealed + page.resealed, unreadable + page.unreadable, page.next
    finally:
        store.close()
        lock.release()
    return resealed, unreadable
