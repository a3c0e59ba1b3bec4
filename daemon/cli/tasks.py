"""`tokd task …`: finished work of another service, and its post."""

from typing import Annotated, Any

import typer

from daemon.cli import options as o
from daemon.cli.invocation import LONG_S, CommandId, Json, ask
from daemon.cli.output import print_fields, print_table, say
from daemon.cli.scheduling import place_of
from daemon.cli.times import local_time
from daemon.domain.post import Mode
from daemon.domain.task import TaskStatus

tasks = typer.Typer(help="Take finished work of another service, look at it, post it.", no_args_is_help=True)

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="The task's id, t_….", show_default=False)]
Instance = Annotated[
    str | None, typer.Option("--instance", metavar="ID", help="Only tasks of this instance.")
]
Video = Annotated[
    str | None, typer.Option("--video", metavar="FILE", help="The video, below one of the media roots.")
]
VideoUrl = Annotated[str | None, typer.Option("--video-url", metavar="URL", help="Or where it lies.")]
Caption = Annotated[str | None, typer.Option("--caption", metavar="T", help="A text for it.")]
Status = Annotated[TaskStatus | None, typer.Option("--status", help="How far it is.")]
_LISTS = ("planning_steps", "execution_steps", "execution_logs")


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.add_typer(tasks, name="task")


@tasks.command("submit")
def submit(
    ctx: typer.Context,
    description: Annotated[str, typer.Argument(help="What it is about.", show_default=False)],
    instance: Annotated[
        str, typer.Option("--instance", metavar="ID", help="Which running service it is of.")
    ] = "cli",
    status: Status = None,
    video: Video = None,
    video_url: VideoUrl = None,
    caption: Caption = None,
    steps: Annotated[
        list[str] | None, typer.Option("--step", metavar="TITLE", help="A step of its plan; may be repeated.")
    ] = None,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Tell of a task, finished or not.

    Example: tokd task submit "A cat on a piano" --status completed --video clip.mp4
    """
    args = {
        "instance_id": instance,
        "description": description,
        "status": status.value if status else None,
        "planning_steps": [{"id": str(place), "title": title} for place, title in enumerate(steps or (), 1)]
        or None,
        "output_data": _output_of(video, video_url, caption),
    }
    _show_result(ask(ctx, "task/submit", args, as_json=as_json, command_id=command_id))


@tasks.command("update")
def update(
    ctx: typer.Context,
    task: TaskName,
    status: Status = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="T", help="What it is about.")
    ] = None,
    video: Video = None,
    video_url: VideoUrl = None,
    caption: Caption = None,
    command_id: CommandId = None,
    as_json: Json = False,
) -> None:
    """Tell how a task goes on.

    Example: tokd task update t_7Q2 --status completed --video clip.mp4
    """
    args = {
        "task": task, "status": status.value if status else None, "description": description,
        "output_data": _output_of(video, video_url, caption),
    }  # fmt: skip
    _show_result(ask(ctx, "task/update", args, as_json=as_json, command_id=command_id))


def _output_of(video: str | None, video_url: str | None, caption: str | None) -> dict[str, str] | None:
    given = {"video_path": place_of(video), "video_url": video_url, "caption": caption}
    return {name: value for name, value in given.items() if value is not None} or None


@tasks.command("list")
def list_tasks(
    ctx: typer.Context,
    instance: Instance = None,
    status: Annotated[TaskStatus | None, typer.Option(help="Only tasks that are so far.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    cursor: Annotated[str | None, typer.Option(metavar="TEXT", help="Where the last page ended.")] = None,
    as_json: Json = False,
) -> None:
    """List tasks, newest first.

    Example: tokd task list --status completed
    """
    args = {
        "instance_id": instance, "status": status.value if status else None, "limit": limit, "cursor": cursor,
    }  # fmt: skip
    result = ask(ctx, "task/list", args, as_json=as_json)
    if result is None:
        return
    rows = [
        [task["task"], task["status"], task["instance_id"], _posted(task), local_time(task["created_at"]),
         task["description"]]
        for task in result["tasks"]
    ]  # fmt: skip
    print_table(["task", "status", "instance", "post", "submitted", "description"], rows, "no tasks")
    if result.get("cursor"):
        say(f"more: tokd task list --cursor {result['cursor']}", error=True)


def _posted(task: dict[str, Any]) -> str:
    if task["tiktok_post_status"]:
        return f"{task['post']} {task['tiktok_post_status'].lower()}"
    return "can be posted" if task["can_post_to_tiktok"] else ""


@tasks.command("show")
def show(ctx: typer.Context, task: TaskName, as_json: Json = False) -> None:
    """Tell everything about one task, and how far its post is.

    Example: tokd task show t_7Q2
    """
    result = ask(ctx, "task/status", {"task": task}, as_json=as_json)
    if result is None:
        return
    plan, done, logs = (result.pop(name) for name in _LISTS)
    data, status = result.pop("tiktok_post_data"), result.pop("post_status")
    shown = result | result.pop("output_data") | {"reason": data and status["detail"]}
    print_fields({name: value for name, value in shown.items() if value not in {None, ""}})
    for title, steps in (("plan", plan), ("done", done)):
        for step in steps:
            say(f"{title}: {step['id']}  {step['title']}  {step['status']}")
    for line in logs:
        say(f"{local_time(line['timestamp'])}  {line['status']:<7}  {line['agent_name']}  {line['message']}")


@tasks.command("post")
def post(
    ctx: typer.Context,
    task: TaskName,
    account: o.Account = None,
    at: o.At = None,
    zone: o.Zone = None,
    mode: o.ModeWanted = Mode.DIRECT,
    title: o.Title = None,
    privacy: o.Privacy = None,
    cover_ms: o.Cover = None,
    allow_comment: o.Comment = False,
    allow_duet: o.Duet = False,
    allow_stitch: o.Stitch = False,
    brand_content: o.Partnership = False,
    brand_organic: o.OwnBrand = False,
    is_aigc: o.Aigc = False,
    consent_by: o.ConsentBy = None,
    command_id: CommandId = None,
    dry_run: o.DryRun = False,
    as_json: Json = False,
) -> None:
    """Post a completed task's video, now or --at a time. Without --title it has the suggested caption.

    Example: tokd task post t_7Q2 --privacy SELF_ONLY
    """
    args = {
        "task": task, "account": account, "schedule_time": o.time_of(at), "zone": zone, "mode": mode.value,
        "title": title, "privacy_level": privacy, "video_cover_timestamp_ms": cover_ms,
        "disable_comment": not allow_comment, "disable_duet": not allow_duet, "disable_stitch": not allow_stitch,
        "brand_content_toggle": brand_content, "brand_organic_toggle": brand_organic, "is_aigc": is_aigc,
        "consent_by": consent_by,
    }  # fmt: skip
    result = ask(ctx, "task/post", args, as_json=as_json, command_id=command_id, dry_run=dry_run,
                 timeout_s=LONG_S)  # fmt: skip
    if result is None:
        return
    warnings = result.pop("warnings", None) or ()
    if result.get("dry_run"):
        say("dry run: this would be sent; nothing was changed", error=True)
    _show_result(result)
    for warning in warnings:
        say(f"note: {warning}", error=True, style="yellow")


def _show_result(result: dict[str, Any] | None) -> None:
    if result is not None:
        print_fields(result)
