"""`tokd account …`: which accounts are linked, and what a person does with one."""

import sys
from typing import Annotated, Any

import typer

from daemon.cli.exits import FAILED, USAGE
from daemon.cli.invocation import CommandId, Json, ask
from daemon.cli.linking import link
from daemon.cli.output import print_fields, print_table, say
from daemon.domain.wire import MAX_BYTES, parse_object

accounts = typer.Typer(help="See, link and unlink accounts.", no_args_is_help=True)
accounts.command("link")(link)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The account; see `tokd account list`.")]

_TOKEN_FIELDS = (
    "access_token", "refresh_token", "open_id", "expires_in", "refresh_expires_in", "scope", "token_type",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(accounts, name="account")


@accounts.command("list")
def list_accounts(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Those that were unlinked, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the linked accounts and whether their tokens work.

    Example: tokd account list
    """
    result = ask(ctx, "account/list", {"all": True if every else None}, as_json=as_json)
    if result is None:
        return
    rows = [
        [found["account"], found["platform"], found["login"], found["enabled"], found.get("token_days_left", ""),
         found.get("detail") or ""]
        for found in result["accounts"]
    ]  # fmt: skip
    empty = "no account is linked; `tokd account link NAME` links one"
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


@accounts.command("unlink")
def unlink(ctx: typer.Context, name: Name, command_id: CommandId = None, as_json: Json = False) -> None:
    """Give an account's tokens back to TikTok and forget them.

    Posts that wait for it are held, and go on when the same person links it again.

    Example: tokd account unlink shop
    """
    result = ask(ctx, "account/unlink", {"account": name}, as_json=as_json, command_id=command_id)
    if result is not None:
        say(f"account {result['account']} is unlinked")
        if not result["revoked"]:
            say(f"  but: {result['detail']}", error=True, style="yellow")


@accounts.command("enable")
def enable(ctx: typer.Context, name: Name, command_id: CommandId = None, as_json: Json = False) -> None:
    """Let an account post again.

    Example: tokd account enable shop
    """
    result = ask(ctx, "account/enable", {"account": name}, as_json=as_json, command_id=command_id)
    if result is not None:
        say(f"account {result['account']} may post")


@accounts.command("disable")
def disable(ctx: typer.Context, name: Name, command_id: CommandId = None, as_json: Json = False) -> None:
    """Hold an account's posts from now on, without unlinking it.

    Example: tokd account disable shop
    """
    result = ask(ctx, "account/disable", {"account": name}, as_json=as_json, command_id=command_id)
    if result is not None:
        say(f"account {result['account']} is switched off; `tokd account enable {name}` switches it on")


@accounts.command("check")
def check(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Ask TikTok now whether an account's tokens work and what its creator may do.

    Example: tokd account check shop
    """
    result = ask(ctx, "account/check", {"account": name}, as_json=as_json)
    if result is None:
        return
    print_fields(result)
    if not result["checked"] or result["login"] != "ok":
        raise typer.Exit(FAILED)


def tokens_in(raw: bytes) -> dict[str, Any]:
    """Return the fields that count. Raises Rejected, and no part of what was read is in its message."""
    found = parse_object(raw.strip())
    inner = found.get("data")
    if "access_token" not in found and isinstance(inner, dict):
        found = inner
    return {name: found[name] for name in _TOKEN_FIELDS if name in found}
