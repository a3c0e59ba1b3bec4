"""`tokd token …`: who may call over HTTP."""

from typing import Annotated

import typer

from daemon.cli.invocation import Json, ask
from daemon.cli.output import print_fields, print_table, say

tokens = typer.Typer(help="Give tokens to users of HTTP, and take them back.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(tokens, name="token")


@tokens.command("issue")
def issue(
    ctx: typer.Context,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Whom the token is for.")],
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="Days until it expires.")] = 365,
    as_json: Json = False,
) -> None:
    """Make a token and print it. It is shown this once and kept nowhere.

    Standard output holds the token alone, so that it can be put into a file or a variable.

    Example: tokd token issue --user shop > token
    """
    result = ask(ctx, "token/issue", {"user": user, "days": days}, as_json=as_json)
    if result is None:
        return
    say(f"token {result['token']} of {result['user']}, until {result['expires_at']}:", error=True)
    print(result["text"])


@tokens.command("revoke")
def revoke(
    ctx: typer.Context,
    token: Annotated[
        str, typer.Argument(metavar="ID", help="The token's name, k_… (see `tokd token list`).")
    ],
    as_json: Json = False,
) -> None:
    """Take a token back: from now on nobody gets in with it.

    Example: tokd token revoke k_0123456789abcdef
    """
    result = ask(ctx, "token/revoke", {"token": token}, as_json=as_json)
    if result is not None:
        print_fields(result)


@tokens.command("list")
def list_tokens(ctx: typer.Context, as_json: Json = False) -> None:
    """List the tokens that were issued here: whom they are for, and whether they still hold.

    Example: tokd token list
    """
    result = ask(ctx, "token/list", {}, as_json=as_json)
    if result is None:
        return
    rows = [
        [found["token"], found["user"], found["valid"], found["expires_at"], found.get("revoked_at") or ""]
        for found in result["tokens"]
    ]
    print_table(["token", "user", "valid", "expires", "revoked"], rows, "no token was issued yet")
