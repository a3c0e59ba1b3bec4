"""post/schedule: check everything that can be known now, then write the post down."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.domain.account import Account, Login
from daemon.domain.addresses import quiet_json
from daemon.domain.commands import SchedulePost
from daemon.domain.errors import Code, Problem, Rejected
from daemon.domain.events import EventType
from daemon.domain.ids import AccountName, TaskId
from daemon.domain.media import MediaFacts, compare_with_limits
from daemon.domain.platform import PostOrder
from daemon.domain.post import Consent, Description, LateRule, Mode, Post, Source, State
from daemon.domain.times import NO_ZONE, iso, parse_future, zone_of
from daemon.domain.views import local_time
from daemon.domain.work import FetchMedia, InspectMedia
from daemon.handlers.context import Accepted, Context
from daemon.ports import PlatformUploader

DEFAULT_PLATFORM = "tiktok"
INBOX_NOTE = (
    "an inbox draft carries only the media: title, privacy and the rest are set by the person in the app"
)


@dataclass(frozen=True)
class _Order:
    """What every later step needs of the command."""

    command: SchedulePost
    account: Account
    platform: PlatformUploader
    description: Description
    due_at: datetime | None
    task: TaskId | None


def handle(command: SchedulePost, context: Context) -> dict[str, Any] | Accepted:
    """Schedule the post, or accept it while its file is being checked."""
    return schedule(command, context, None)


def schedule(command: SchedulePost, context: Context, task: TaskId | None) -> dict[str, Any] | Accepted:
    """Do so for a caller whose order this is, or for a task whose video it is."""
    order = _check(command, context, task)
    dry_run = context.request.dry_run if context.request else False
    if command.url is not None and context.rules.media.is_fetched(command.url, "args.url"):
        return Accepted(FetchMedia(_row(context), command.url))
    if command.media is None:
        _check_photos(command, context)
        return _write_down(order, None, context, dry_run=dry_run)
    facts = context.rules.media.recall(command.media)
    if facts is None:
        return Accepted(InspectMedia(_row(context), command.media, order.platform.name))
    return _write_down(order, facts, context, dry_run=dry_run)


def _row(context: Context) -> int:
    if context.row is None:
        raise Rejected(Code.INTERNAL, "a schedule command must be stored before its file is checked")
    return context.row


def finish(
    command: SchedulePost, facts: MediaFacts, context: Context, *, dry_run: bool, task: TaskId | None = None
) -> dict[str, Any]:
    """Schedule the post now that its file has been checked; what was fine then may not be fine any more."""
    return _write_down(_check(command, context, task), facts, context, dry_run=dry_run)


def _check(command: SchedulePost, context: Context, task: TaskId | None) -> _Order:
    found = context.unit.account(AccountName(command.account))
    platform = context.platform(found.platform if found else DEFAULT_PLATFORM)
    account = context.require_account(command.account)
    if sum(source is not None for source in (command.media, command.url, command.photos)) != 1:
        raise Rejected(Code.BAD_FIELD, "give exactly one of media, url and photos", field="args.media")
    due_at = _due_at(command, context)
    description = _description(command)
    found_problems = platform.check_description(description, command.mode, command.kind)
    if account.creator is not None:
        found_problems += platform.check_creator(account.creator, description, command.mode, None)
    _refuse(Code.BAD_FIELD, found_problems)
    scope = platform.scope_for(command.mode)
    if scope not in account.scopes:
        raise Rejected(
            Code.FORBIDDEN,
            f"account {account.name} was linked without {scope}, which {command.mode} posts need; link it again "
            f"with `tokd account link {account.name}`, and tick it",
            field="args.mode",
        )
    return _Order(command, account, platform, description, due_at, task)


def _refuse(code: Code, found: tuple[tuple[str, Problem], ...]) -> None:
    if found:
        field, first = found[0]
        message = "; ".join(problem.message for _, problem in found)
        if first.hint:
            message += f" ({first.hint})"
        raise Rejected(code, message, field=f"args.{field}", problems=tuple(problem for _, problem in found))


def _due_at(command: SchedulePost, context: Context) -> datetime | None:
    if command.zone is not None:
        zone_of(command.zone)
    if command.at is None:
        if command.draft:
            return None
        raise Rejected(
            Code.BAD_FIELD, 'when? Give "at" a time with an offset, or "now", or set "draft"', field="args.at"
        )
    grace = timedelta(seconds=context.policy.past_grace_s)
    return parse_future(command.at, command.zone, context.now, grace)


def _description(command: SchedulePost) -> Description:
    return Description(
        title=command.title,
        expression=command.expression,
        hashtags=command.hashtags,
        privacy=command.privacy,
        cover_ms=command.cover_ms,
        allow_comment=command.allow_comment,
        allow_duet=command.allow_duet,
        allow_stitch=command.allow_stitch,
        brand_content=command.brand_content,
        brand_organic=command.brand_organic,
        is_aigc=command.is_aigc,
        text=command.text,
        photo_cover=command.photo_cover,
        auto_music=command.auto_music,
    )


def _check_photos(command: SchedulePost, context: Context) -> None:
    for place, photo in enumerate(command.photos or ()):
        context.rules.media.check_url(photo, f"args.photos.{place}")
    if command.photos is not None and command.photo_cover >= len(command.photos):
        raise Rejected(
            Code.BAD_FIELD,
            f"there are {len(command.photos)} photos, counted from 0",
            field="args.photo_cover",
        )


def _write_down(
    order: _Order, facts: MediaFacts | None, context: Context, *, dry_run: bool
) -> dict[str, Any]:
    command, account = order.command, order.account
    if facts is not None:
        problems = compare_with_limits(facts, order.platform.limits)
        creator = (
            order.platform.check_creator(account.creator, order.description, command.mode, facts)
            if account.creator
            else ()
        )
        _refuse(Code.MEDIA_REJECTED, tuple(("media", problem) for problem in problems) + creator)
    warnings = _warnings(order, facts, context)
    post = _post(order, facts, context)
    if dry_run:
        prepared = order.platform.prepare(
            PostOrder(mode=post.mode, kind=post.kind, source=post.source, description=post.description,
                      facts=facts, urls=post.media if facts is None else ())
        )  # fmt: skip
        init = quiet_json(prepared.body)
        return {"dry_run": True, "endpoint": prepared.endpoint, "init": init, "warnings": warnings}
    post = context.add(post, EventType.POST_DRAFTED if post.state is State.DRAFT else EventType.POST_SCHEDULED,
                       at=iso(post.due_at) if post.due_at else None)  # fmt: skip
    context.ring_at(post.wake_at)
    result: dict[str, Any] = {"post": post.id, "state": post.state.value, "account": post.account}
    if post.due_at is not None:
        result |= {"at": iso(post.due_at), "at_local": local_time(post), "zone": post.zone}
    return result | ({"warnings": warnings} if warnings else {})


def _post(order: _Order, facts: MediaFacts | None, context: Context) -> Post:
    command = order.command
    request, stored = context.request, context.stored
    actor = request.actor if request else stored.actor if stored else ""
    verb = "task/post" if order.task else "post/schedule"
    late = command.if_late
    return Post(
        id=context.rules.ids.post(),
        node=context.rules.node,
        account=order.account.name,
        platform=order.platform.name,
        mode=command.mode,
        kind=command.kind,
        source=Source.FILE if facts is not None else Source.URL,
        media=(facts.name,)
        if facts is not None
        else (command.url,)
        if command.url
        else (command.photos or ()),
        facts=facts,
        description=order.description,
        consent=Consent(
            who=command.consent_by or actor,
            actor=actor,
            at=iso(context.now),
            through=f"{request.transport if request else stored.transport if stored else ''} {verb}",
        ),
        due_at=order.due_at,
        zone=command.zone or NO_ZONE,
        late_rule=late.policy if late else context.policy.late_rule,
        late_after_s=late.after_s if late else context.policy.late_after_s,
        state=State.SCHEDULED if order.due_at else State.DRAFT,
        state_since=context.now,
        created_at=context.now,
        command_id=(request.id if request else stored.id if stored else None) or "",
        wake_at=order.due_at,
        task=order.task,
    )


def _warnings(order: _Order, facts: MediaFacts | None, context: Context) -> list[str]:
    found = []
    if order.command.mode is Mode.INBOX:
        found.append(INBOX_NOTE)
    if order.account.login is not Login.OK:
        found.append(
            f"account {order.account.name} needs a login; the post will be held if it still does then"
        )
    if not order.account.enabled:
        found.append(f"account {order.account.name} is disabled; the post will be held if it still is then")
    if context.is_paused():
        found.append("posting is paused; the post will be held until system/resume")
    if order.command.if_late is None and context.policy.late_rule is LateRule.FAIL:
        found.append("a late post fails here; see if_late")
    if facts is not None:
        since = context.now - timedelta(seconds=context.policy.duplicate_window_s)
        same = context.unit.duplicates(order.account.name, facts.sha256, since)
        found += [f"post {post_id} has the same file" for post_id in same]
    return found
