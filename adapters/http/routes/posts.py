"""Posts: schedule one, look at it, move it, stop it, say what became of it. And the accounts they go to."""

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from adapters.http.bodies import NoQuery, Nothing, PostsQuery, Reschedule, Resolve
from adapters.http.door import done
from adapters.http.openapi import asks, gives, takes
from adapters.http.parts import Caller, parts_of
from adapters.http.reading import key_of, read_body, read_query
from daemon.domain.access import Claims, http_actor
from daemon.domain.commands import SchedulePost
from daemon.domain.errors import Code, Rejected

router = APIRouter()

POSTS = "/api/v1/posts"
_ID = re.compile(r"p_[A-Za-z0-9]{1,40}")
_LATER = gives(202, "Taken; the same request with the same key tells the rest.")


@router.post(
    POSTS, responses=gives(201, "Scheduled.") | _LATER, status_code=201, openapi_extra=takes(SchedulePost)
)
async def schedule(request: Request, caller: Caller) -> JSONResponse:
    """Post a file, an address or photos at a time."""
    read_query(request, NoQuery)
    args = await read_body(request, SchedulePost)
    return await _order(request, caller, "post/schedule", args, status=201)


@router.get(POSTS, responses=gives(200), openapi_extra=asks(PostsQuery))
async def list_posts(request: Request, caller: Caller) -> JSONResponse:
    """Return the posts, newest first; `cursor` continues the list."""
    args = read_query(request, PostsQuery).model_dump(mode="json", exclude_none=True)
    return JSONResponse(await parts_of(request).door.result(http_actor(caller.user), "post/list", args))


@router.get(POSTS + "/{post}", responses=gives(200))
async def show(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Return everything about one post."""
    read_query(request, NoQuery)
    args = {"post": _known(post)}
    return JSONResponse(await parts_of(request).door.result(http_actor(caller.user), "post/status", args))


@router.patch(POSTS + "/{post}", responses=gives(200) | _LATER, openapi_extra=takes(Reschedule))
async def reschedule(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Give a waiting post another time."""
    read_query(request, NoQuery)
    args = await read_body(request, Reschedule)
    return await _order(request, caller, "post/reschedule", args | {"post": _known(post)})


@router.delete(POSTS + "/{post}", responses=gives(200) | _LATER, tags=["409"])
async def cancel(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Stop a post, as long as nothing can have been published."""
    read_query(request, NoQuery)
    return await _order(request, caller, "post/cancel", {"post": _known(post)})


@router.post(
    POSTS + "/{post}/publish-now", responses=gives(200) | _LATER, openapi_extra=takes(Nothing, is_required=False)
)  # fmt: skip
async def publish_now(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Make a waiting post due at once."""
    read_query(request, NoQuery)
    await read_body(request, Nothing)
    return await _order(request, caller, "post/publish_now", {"post": _known(post)})


@router.post(POSTS + "/{post}/resolve", responses=gives(200) | _LATER, openapi_extra=takes(Resolve))
async def resolve(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Say what became of an uncertain post: only a person can know."""
    read_query(request, NoQuery)
    args = await read_body(request, Resolve)
    return await _order(request, caller, "post/resolve", args | {"post": _known(post)})


@router.get("/api/v1/accounts", responses=gives(200))
async def list_accounts(request: Request, caller: Caller) -> JSONResponse:
    """Return the linked accounts and whether their tokens work."""
    read_query(request, NoQuery)
    return JSONResponse(await parts_of(request).door.result(http_actor(caller.user), "account/list", {}))


def _known(post: str) -> str:
    if not _ID.fullmatch(post):
        raise Rejected(Code.NO_SUCH_POST, "there is no such post; GET /api/v1/posts shows them")
    return post


async def _order(
    request: Request, caller: Claims, verb: str, args: dict[str, Any], *, status: int = 200
) -> JSONResponse:
    parts, key = parts_of(request), key_of(request)
    reply = await parts.door.send(
        http_actor(caller.user), verb, args, within_s=parts.settings.answer_within_s, command_id=key
    )
    headers = {"Idempotency-Key": key}
    if not reply["final"]:
        return JSONResponse({"status": reply["status"], "command_id": key}, 202, headers)
    result = done(reply)
    if status == 201:  # noqa: PLR2004
        headers["Location"] = f"{POSTS}/{result['post']}"
    if reply.get("replayed"):
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(result, status, headers)
