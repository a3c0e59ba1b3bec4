"""`tokd post …`: schedule, look, change, settle."""

from typing import Annotated, Any, Literal

import typer

from daemon.cli import options as o
from daemon.cli.invocation import CommandId, Json, ask
from daemon.cli.output import print_fields, print_table, say
from daemon.cli.scheduling import schedule
from daemon.domain.post import State

posts = typer.Typer(help="Schedule posts, look at them, change them.", no_args_is_help=True)
posts.command("schedule")(schedule)

PostName = Annotated[str, typer.Argument(metavar="POST", help="The post's id, p_….", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(posts, name="post")


@posts.command("list")
def list_posts(
    ctx: typer.Context,
    state: Annotated[State | None, typer.Option(help="Only posts in this state.")] = None,
    account: o.Account = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    cursor: Annotated[str | None, typer.Option(metavar="TEXT", help="Where the last page ended.")] = None,
    as_json: Json = False,
) -> None:
    """List posts, newest first.

    Example: tokd post list --state scheduled --account demo
    """
    args = {"state": state.value if state else None, "account": account, "limit": limit, "cursor": cursor}
    result = ask(ctx, "post/list", args, as_json=as_json)
    if result is None:
        return
    rows = [
        [post["post"], post["state"], post["account"], post.get("at_local", ""), post.get("url") or
         post.get("reason") or "", post.get("title") or ""]
        for post in result["posts"]
    ]  # fmt: skip
    print_table(["post", "state", "account", "at", "url or reason", "title"], rows, "no posts")
    if result.get("cursor"):
        say(f"more: tokd post list --cursor {result['cursor']}", error=True)


@posts.command("show")
def show(ctx: typer.Context, post: PostName, as_json: Json = False) -> None:
    """Tell everything about one post.

    Example: tokd post show p_7Q2
    """
    result = ask(ctx, "post/status", {"post": post}, as_json=as_json)
    if result is not None:
        print_fields(result)


@posts.command("cancel")
def cancel(ctx: typer.Context, post: PostName, command_id: CommandId = None, as_json: Json = False) -> None:
    """Stop a post, as long as nothing can have been published.

    Example: tokd post cancel p_7Q2
    """
    _show_result(ask(ctx, "post/cancel", {"post": post}, as_json=as_json, command_id=command_id))


@posts.command("publish-now")
def publish_now(
    ctx: typer.Context,
    post: Annotated[
        str | None, typer.Argument(metavar="POST", help="The post's id.", show_default=False)
    ] = None,
    account: o.Account = None,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Make a waiting post due at once: this one, or the account's next.

    Example: tokd post publish-now p_7Q2
    """
    args = {"post": post, "account": account}
    _show_result(ask(ctx, "post/publish_now", args, as_json=as_json, command_id=command_id))


@posts.command("reschedule")
def reschedule(
    ctx: typer.Context,
    post: PostName,
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="As in `post schedule`.")],
    zone: o.Zone = None,
    if_late: o.IfLate = None,
    late_after: o.LateAfter = None,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Give a post another time.

    Example: tokd post reschedule p_7Q2 --at +2h
    """
    args = {"post": post, "at": o.time_of(at), "zone": zone, "if_late": o.late_rule_of(if_late, late_after)}
    _show_result(ask(ctx, "post/reschedule", args, as_json=as_json, command_id=command_id))


@posts.command("resolve")
def resolve(
    ctx: typer.Context,
    post: PostName,
    outcome: Annotated[
        Literal["published", "not_published", "post_again"],
        typer.Argument(help="What you have seen in the app.", show_default=False),
    ],
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who has looked.")] = None,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Say what became of an uncertain post: only a person can know.

    Example: tokd post resolve p_7Q2 not_published --by anna
    """
    args = {"post": post, "outcome": outcome, "by": by}
    _show_result(ask(ctx, "post/resolve", args, as_json=as_json, command_id=command_id))


def _show_result(result: dict[str, Any] | None) -> None:
    if result is not None:
        print_fields(result)
