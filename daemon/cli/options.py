"""The options of `tokd post …`, each with its sentence; what is typed as a time, and what that says."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from daemon.cli.times import read_at, read_duration
from daemon.domain.post import LateRule, Mode

Account = Annotated[str | None, typer.Option("--account", "-a", metavar="NAME", help="A linked account.")]
AccountWanted = Annotated[str, typer.Option("--account", "-a", metavar="NAME", help="A linked account.")]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="now, +5s, +10m, +2h, or 2026-12-01T18:00:00+01:00."),
]
Zone = Annotated[
    str | None,
    typer.Option("--zone", metavar="ZONE", help="IANA zone of a local time, such as Europe/Berlin."),
]
IfLate = Annotated[LateRule | None, typer.Option("--if-late", help="What to do if its time has passed.")]
LateAfter = Annotated[
    int | None, typer.Option("--late-after", metavar="S", min=0, help="From how many seconds on that counts.")
]

File = Annotated[
    str | None,
    typer.Argument(metavar="FILE", help="A video below one of the media roots.", show_default=False),
]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="A video for tokd, or TikTok, to fetch.")
]
Photos = Annotated[
    list[str] | None, typer.Option("--photo", metavar="URL", help="A photo TikTok fetches; may be repeated.")
]
Draft = Annotated[bool, typer.Option("--draft", help="Keep it without a time, until `post reschedule`.")]
ModeWanted = Annotated[Mode, typer.Option("--mode", help="direct posts it; inbox leaves a draft in the app.")]
Title = Annotated[str | None, typer.Option("--title", metavar="T", help="The caption.")]
Body = Annotated[str | None, typer.Option("--text", metavar="T", help="The text below photos.")]
Hashtags = Annotated[list[str] | None, typer.Option("--hashtag", metavar="TAG", help="May be repeated.")]
Privacy = Annotated[
    str | None,
    typer.Option("--privacy", metavar="LEVEL", help="Such as SELF_ONLY; a direct post must name it."),
]
Cover = Annotated[
    int | None, typer.Option("--cover-ms", metavar="N", min=0, help="Where in the video the cover is.")
]
Comment = Annotated[bool, typer.Option("--allow-comment", help="People may comment.")]
Duet = Annotated[bool, typer.Option("--allow-duet", help="People may make duets.")]
Stitch = Annotated[bool, typer.Option("--allow-stitch", help="People may stitch.")]
Partnership = Annotated[bool, typer.Option("--brand-content", help="It is a paid partnership.")]
OwnBrand = Annotated[bool, typer.Option("--brand-organic", help="It promotes your own business.")]
Aigc = Annotated[bool, typer.Option("--aigc", help="It was made by AI.")]
ConsentBy = Annotated[
    str | None, typer.Option("--consent-by", metavar="NAME", help="Who has agreed to this post.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")]


def time_of(text: str | None) -> str | None:
    """Return what to send for `--at`. Raises BadParameter."""
    if text is None:
        return None
    try:
        return read_at(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def duration_of(text: str | None, hint: str) -> int | None:
    """Return the seconds that a span of time says. Raises BadParameter, naming the option `hint`."""
    if text is None:
        return None
    try:
        return read_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from error


def late_rule_of(policy: LateRule | None, after_s: int | None) -> dict[str, Any] | None:
    """Return the command's `if_late`. Raises BadParameter."""
    if policy is None:
        if after_s is not None:
            raise typer.BadParameter("needs --if-late post, hold or fail", param_hint="--late-after")
        return None
    return {"policy": policy.value} | ({} if after_s is None else {"after_s": after_s})
