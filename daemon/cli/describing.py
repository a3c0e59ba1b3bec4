"""`tokd describe`: what tokd understands and says, for people and for programs. Needs no daemon."""

from typing import Annotated

import typer

from daemon.cli import manual
from daemon.cli.output import print_table, say
from daemon.domain import asyncapi
from daemon.domain.commands import VERBS


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("describe")(describe)


def describe(
    verb: Annotated[
        str | None, typer.Argument(metavar="VERB", help="Show this verb's arguments, such as post/schedule.")
    ] = None,
    raw: Annotated[bool, typer.Option("--asyncapi", help="Print the AsyncAPI 3.0 document (JSON).")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the manual, docs/mqtt.md.")] = False,
) -> None:
    """Tell every verb, or print the whole protocol as a document.

    Example: tokd describe post/schedule

    Example: tokd describe --asyncapi > asyncapi.json
    """
    if sum((verb is not None, raw, markdown)) > 1:
        raise typer.BadParameter("give one of VERB, --asyncapi and --markdown")
    if raw:
        print(asyncapi.text())
    elif markdown:
        print(manual.page(), end="")
    elif verb is not None:
        _show_verb(verb)
    else:
        _show_verbs()


def _show_verbs() -> None:
    rows = [
        (row.name, "needed" if row.needs_id else "", "socket only" if row.is_local else "", manual.summary(row.model))
        for row in VERBS.values()
    ]  # fmt: skip
    print_table(("verb", "id", "way", "what it does"), rows, empty="")
    say(f"AsyncAPI document (--asyncapi): sha256 {asyncapi.fingerprint()}", error=True)


def _show_verb(name: str) -> None:
    row = VERBS.get(name)
    if row is None:
        raise typer.BadParameter(f"there is no verb {name!r}; `tokd describe` lists them", param_hint="VERB")
    say(f"{name}: {manual.summary(row.model)}", error=True)
    rows = manual.plain_fields(row.model)
    print_table(("argument", "type", "default"), rows, empty="no arguments")
