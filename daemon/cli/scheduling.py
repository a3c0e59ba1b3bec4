"""`tokd post schedule`: from options to the order."""

import os
from pathlib import Path
from typing import Any

import typer

from daemon.cli import options as o
from daemon.cli.invocation import LONG_S, CommandId, Json, ask
from daemon.cli.output import print_fields, say
from daemon.domain.post import Mode

_AS_THEY_ARE = ("account", "url", "zone", "title", "text", "privacy", "cover_ms", "consent_by")
_FLAGS = ("draft", "allow_comment", "allow_duet", "allow_stitch", "brand_content", "brand_organic", "is_aigc")


def schedule(  # the signature is the option table; `ctx.params` holds the same values by name
    ctx: typer.Context,
    account: o.AccountWanted,  # noqa: ARG001
    file: o.File = None,  # noqa: ARG001
    url: o.Url = None,  # noqa: ARG001
    photos: o.Photos = None,  # noqa: ARG001
    at: o.At = None,  # noqa: ARG001
    zone: o.Zone = None,  # noqa: ARG001
    draft: o.Draft = False,  # noqa: ARG001
    mode: o.ModeWanted = Mode.DIRECT,  # noqa: ARG001
    title: o.Title = None,  # noqa: ARG001
    text: o.Body = None,  # noqa: ARG001
    hashtags: o.Hashtags = None,  # noqa: ARG001
    privacy: o.Privacy = None,  # noqa: ARG001
    cover_ms: o.Cover = None,  # noqa: ARG001
    allow_comment: o.Comment = False,  # noqa: ARG001
    allow_duet: o.Duet = False,  # noqa: ARG001
    allow_stitch: o.Stitch = False,  # noqa: ARG001
    brand_content: o.Partnership = False,  # noqa: ARG001
    brand_organic: o.OwnBrand = False,  # noqa: ARG001
    is_aigc: o.Aigc = False,  # noqa: ARG001
    if_late: o.IfLate = None,  # noqa: ARG001
    late_after: o.LateAfter = None,  # noqa: ARG001
    consent_by: o.ConsentBy = None,  # noqa: ARG001
    command_id: CommandId = None,
    dry_run: o.DryRun = False,
    as_json: Json = False,
) -> None:
    """Schedule a post: a FILE, a --url, or several --photo.

    Example: tokd post schedule clip.mp4 --account demo --at +10m --privacy SELF_ONLY
    """
    order = order_of(ctx.params)
    result = ask(ctx, "post/schedule", order, as_json=as_json, command_id=command_id, dry_run=dry_run,
                 timeout_s=LONG_S)  # fmt: skip
    if result is not None:
        _print(result)


def order_of(params: dict[str, Any]) -> dict[str, Any]:
    """Return the command's arguments. Raises BadParameter for what cannot be meant."""
    sources = {"media": params["file"], "url": params["url"], "photos": params["photos"] or None}
    if sum(source is not None for source in sources.values()) != 1:
        raise typer.BadParameter("give exactly one of FILE, --url and --photo", param_hint="FILE")
    if params["at"] is None and not params["draft"]:
        raise typer.BadParameter(
            "when? now, +10m, or 2026-12-01T18:00:00+01:00; or --draft", param_hint="--at"
        )
    order: dict[str, Any] = {name: params[name] for name in _AS_THEY_ARE}
    order |= {
        "media": place_of(sources["media"]),
        "photos": list(params["photos"] or ()) or None,
        "mode": Mode(params["mode"]).value,
        "at": o.time_of(params["at"]),
        "hashtags": list(params["hashtags"] or ()) or None,
        "if_late": o.late_rule_of(params["if_late"], params["late_after"]),
    }
    return order | {name: True for name in _FLAGS if params[name]}


def place_of(name: str | None) -> str | None:
    """Return the file's full path if it is here; else the name, to be found below a media root."""
    if name is None or not Path(name).exists():
        return name
    return os.path.abspath(name)  # noqa: PTH100 - not resolved: the daemon judges links


def _print(result: dict[str, Any]) -> None:
    warnings = result.pop("warnings", None) or ()
    if result.get("dry_run"):
        say("dry run: this would be sent; nothing was changed", error=True)
    print_fields(result)
    for warning in warnings:
        say(f"note: {warning}", error=True, style="yellow")
