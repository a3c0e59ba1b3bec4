"""`tokd watch`: events as they happen, and a progress bar for each upload."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from daemon.cli.invocation import Json, invocation_of
from daemon.cli.narration import kind_of, sentence_of, style_of
from daemon.cli.output import as_text, clean, print_json, say

# Events that tell how far something is, with the names of how much is done and of how much there is.
_PROGRESS = {"post.progress": ("sent_bytes", "size"), "media.fetching": ("received", "total")}
_HIDDEN = frozenset({"post", "command_id", "state"})  # named by the subject and the type already
_STYLES = {
    "post.published": "green", "post.sent_to_inbox": "green", "post.failed": "red", "post.uncertain": "yellow",
    "post.held": "yellow", "account.needs_login": "red", "account.link_failed": "red",
    "account.linked": "green",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("watch")(watch)


def watch(
    ctx: typer.Context,
    after: Annotated[
        int | None,
        typer.Option("--after", metavar="N", min=0, help="Begin with the events after this number."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show events as they happen, until Ctrl-C; --json prints them as CloudEvents, one on a line.

    Example: tokd watch --after 0
    """
    events = invocation_of(ctx).client().watch(after)
    try:
        if as_json:
            for event in events:
                print_json(event)
        else:
            _show_all(events)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _show_all(events: Iterator[dict[str, Any]]) -> None:
    console = Console()
    if not console.is_terminal:
        for event in events:
            say(line_of(event))
        return
    with _bars(console) as bars:
        for event in events:
            bars.show(event)


class Bars:
    """One bar for each upload and each fetch under way, below the lines."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, event: dict[str, Any]) -> None:
        """Move the bar, or print the line; any other news of a post ends its bar."""
        kind, subject, data = kind_of(event), event.get("subject", ""), event.get("data") or {}
        if kind in _PROGRESS:
            done, total = _PROGRESS[kind]
            if subject not in self._tasks:
                self._tasks[subject] = self._progress.add_task(clean(subject), total=data.get(total) or None)
            self._progress.update(self._tasks[subject], completed=data.get(done, 0))
            return
        if subject in self._tasks:
            self._progress.remove_task(self._tasks.pop(subject))
        self._progress.console.print(
            line_of(event), style=_STYLES.get(kind) or style_of(event), markup=False, highlight=False
        )


@contextmanager
def _bars(console: Console) -> Iterator[Bars]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(progress)


def line_of(event: dict[str, Any]) -> str:
    """Return one line about an event."""
    kind, data = kind_of(event), dict(event.get("data") or {})
    words = [str(event.get("sequence", "")), str(event.get("time", "")), kind, str(event.get("subject", ""))]
    sentence = sentence_of(event, clock=str)  # in UTC, as the event's own time
    if sentence is not None:
        return clean("  ".join([*words, f"profile {data.get('profile')}: {sentence}"])).replace("\n", " ")
    done, total = _PROGRESS.get(kind, ("", ""))
    size, sent = data.get(total), data.get(done)
    if size and sent is not None:
        words.append(f"{100 * sent // size} %")
    words += [f"{name}={as_text(value)}" for name, value in data.items() if name not in _HIDDEN and value]
    return clean("  ".join(words)).replace("\n", " ")
