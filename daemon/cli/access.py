"""`tokd acl` and `tokd audit`: who may do what, and who did what."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from adapters.broker import ANYBODY, Actors, acl_file, dynsec_commands
from daemon.cli.exits import FAILED
from daemon.cli.invocation import Json, ask, invocation_of
from daemon.cli.output import print_json, print_table, say
from daemon.domain.audit import START, first_break
from daemon.homeassistant_parts import guest

audit = typer.Typer(
    help="See who ordered what, and check that nobody has changed the record.", no_args_is_help=True
)
_PAGE = 200


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command("acl")(acl)
    app.add_typer(audit, name="audit")


def acl(
    ctx: typer.Context,
    actors: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ACTOR]...", help="Users of the broker without a grant in access.grants."),
    ] = None,
    anybody: Annotated[
        bool, typer.Option("--anybody", help="Let every user of the broker send commands in their own name.")
    ] = False,
    dynsec: Annotated[
        bool, typer.Option("--dynsec", help="Print commands for mosquitto's dynamic-security plugin instead.")
    ] = False,
) -> None:
    """Print mosquitto's access rules: the daemon, Home Assistant, those whom access.grants names, and whom you name.

    Each may send what the verb gates let through, in its own name, and read its own replies, the states and the
    events. Nobody can send in another's name, nor read another's replies.

    Example: tokd acl panel > /etc/mosquitto/tokd.acl
    """
    settings = invocation_of(ctx).loaded().settings
    found = Actors(
        daemon=settings.mqtt.username or f"tokd-{settings.daemon.node}", node=settings.daemon.node,
        prefix=settings.mqtt.prefix, plain=[*(actors or []), *([ANYBODY] if anybody else [])],
        allow=settings.access.allow, guarded=settings.access.guarded, grants=settings.access.grants_by_actor,
        home_assistant=guest(settings),
    )  # fmt: skip
    say((dynsec_commands if dynsec else acl_file)(found).rstrip("\n"))


@audit.command("list")
def list_entries(
    ctx: typer.Context,
    actor: Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Only of this actor.")] = None,
    verb: Annotated[
        str | None, typer.Option("--verb", metavar="VERB", help="Only this verb, post.schedule.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=200, help="How many, the newest ones.")] = 50,
    as_json: Json = False,
) -> None:
    """List the orders that change something, done or refused: when, who, what, and what came of it.

    Example: tokd audit list --actor homeassistant
    """
    result = ask(ctx, "system/audit", {"actor": actor, "verb": verb, "last": last}, as_json=as_json)
    if result is None:
        return
    rows = [
        [found["number"], found["time"], f"{found['actor']} ({found['transport']})", found["command"],
         found["id"] or "", found["code"] or found["status"]]
        for found in result["entries"]
    ]  # fmt: skip
    print_table(["no.", "time", "actor", "command", "id", "result"], rows, "nothing was ordered yet")


@audit.command("verify")
def verify(ctx: typer.Context, as_json: Json = False) -> None:
    """Check that no entry was changed, removed or slipped in. Note the digest elsewhere: it vouches for all before it.

    Example: tokd audit verify
    """
    node = invocation_of(ctx).loaded().settings.daemon.node
    walk = _Walk(ctx)
    broken = first_break(walk, node)
    if broken is None and (walk.number, walk.digest) != (walk.latest, walk.latest_digest):
        broken = walk.number + 1  # the newest ones are gone
    result = {
        "ok": broken is None,
        "entries": walk.count,
        "removed": walk.removed,
        "digest": walk.latest_digest,
        "first_broken": broken,
    }
    if as_json:
        print_json(result)
    elif broken is None:
        before = f" (the first {walk.removed} were removed for their age)" if walk.removed else ""
        say(f"all {walk.count} entries follow from one another{before}; digest {walk.latest_digest}")
    else:
        say(
            f"entry {broken} does not follow from the one before it: the record was changed",
            error=True,
            style="red",
        )
    if broken is not None:
        raise typer.Exit(FAILED)


class _Walk:
    """All entries, page by page; and what tokd says of the end of its trail."""

    def __init__(self, ctx: typer.Context) -> None:
        self._ctx = ctx
        self.count = self.removed = self.number = self.latest = 0
        self.digest = self.latest_digest = START

    def __iter__(self) -> Iterator[dict[str, Any]]:
        after, is_more = 0, True
        while is_more:
            page = _ask(self._ctx, {"after": after, "limit": _PAGE})
            for shown in page["entries"]:
                if self.count == 0 and "cut" in shown:
                    self.removed = shown["number"] - 1
                self.count, self.number, self.digest = self.count + 1, shown["number"], shown["digest"]
                yield shown
            self.latest, self.latest_digest = page["latest"], page["digest"]
            after, is_more = page["next_after"], page["more"]


def _ask(ctx: typer.Context, args: dict[str, Any]) -> dict[str, Any]:
    found = ask(ctx, "system/audit", args, as_json=False)
    assert found is not None  # only --json gives none
    return found
