"""`tokd account …`: which accounts are linked, and linking one with tokens from elsewhere."""

import sys
from typing import Annotated, Any

import typer

from daemon.cli.exits import USAGE
from daemon.cli.invocation import Json, ask
from daemon.cli.output import print_fields, print_table, say
from daemon.domain.wire import MAX_BYTES, parse_object

accounts = typer.Typer(help="See and link accounts.", no_args_is_help=True)

_TOKEN_FIELDS = (
    "access_token", "refresh_token", "open_id", "expires_in", "refresh_expires_in", "scope", "token_type",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(accounts, name="account")


@accounts.command("list")
def list_accounts(ctx: typer.Context, as_json: Json = False) -> None:
    """List the linked accounts and whether their tokens work.

    Example: tokd account list
    """
    result = ask(ctx, "account/list", {}, as_json=as_json)
    if result is None:
        return
    rows = [
        [found["account"], found["platform"], found["login"], found["enabled"], found["token_days_left"],
         found.get("detail") or ""]
        for found in result["accounts"]
    ]  # fmt: skip
    empty = "no account is linked; see `tokd account import --help`"
    print_table(["account", "platform", "login", "enabled", "days left", "detail"], rows, empty)


@accounts.command("import")
def import_account(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the account is called here.")],
    as_json: Json = False,
) -> None:
    """Link an account with the JSON of TikTok's token endpoint, read from standard input.

    For servers, where the browser part happened elsewhere. The fields are access_token, refresh_token,
    open_id, expires_in, refresh_expires_in and scope. The tokens are never printed.

    Example: tokd account import shop < token.json
    """
    if sys.stdin.isatty():
        say("the tokens come on standard input, not typed: tokd account import NAME < token.json", error=True)
        raise typer.Exit(USAGE)
    raw = sys.stdin.buffer.read(MAX_BYTES + 1)
    args = tokens_in(raw) | {"account": name}
    result = ask(ctx, "account/import", args, as_json=as_json)
    if result is not None:
        print_fields(result)


def tokens_in(raw: bytes) -> dict[str, Any]:
    """Return the fields that count. Raises Rejected, and no part of what was read is in its message."""
    found = parse_object(raw.strip())
    inner = found.get("data")
    if "access_token" not in found and isinstance(inner, dict):
        found = inner
    return {name: found[name] for name in _TOKEN_FIELDS if name in found}
