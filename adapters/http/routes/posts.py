"""Posts: schedule one, look at it, move it, stop it, say what became of it."""

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from adapters.http.bodies import NoQuery, Nothing, PostsQuery, Reschedule, Resolve
from adapters.http.openapi import asks, gives, takes
from adapters.http.orders import LATER, order
from adapters.http.parts import Caller, parts_of
from adapters.http.reading import read_body, read_query
from daemon.domain.access import http_actor
from daemon.domain.commands import SchedulePost
from daemon.domain.errors import Code, Rejected

router = APIRouter()

POSTS = "/api/v1/posts"
_ID = re.compile(r"p_[A-Za-z0-9]{1,40}")


@router.post(
    POSTS, responses=gives(201, "Scheduled.") | LATER, status_code=201, openapi_extra=takes(SchedulePost)
)
async def schedule(request: Request, caller: Caller) -> JSONResponse:
    """Post a file, an address or photos at a time."""
    read_query(request, NoQuery)
    args = await read_body(request, SchedulePost)
    return await order(request, caller, "post/schedule", args, status=201, place=_place)


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


@router.patch(POSTS + "/{post}", responses=gives(200) | LATER, openapi_extra=takes(Reschedule))
async def reschedule(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Give a waiting post another time."""
    read_query(request, NoQuery)
    args = await read_body(request, Reschedule)
    return await order(request, caller, "post/reschedule", args | {"post": _known(post)})


@router.delete(POSTS + "/{post}", responses=gives(200) | LATER, openapi_extra=takes(Nothing))
async def cancel(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Stop a post, as long as nothing can have been published."""
    read_query(request, NoQuery)
    await read_body(request, Nothing)
    return await order(request, caller, "post/cancel", {"post": _known(post)})


@router.post(
    POSTS + "/{post}/publish-now", responses=gives(200) | LATER, openapi_extra=takes(Nothing)
)  # fmt: skip
async def publish_now(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Make a waiting post due at once."""
    read_query(request, NoQuery)
    await read_body(request, Nothing)
    return await order(request, caller, "post/publish_now", {"post": _known(post)})


@router.post(POSTS + "/{post}/resolve", responses=gives(200) | LATER, openapi_extra=takes(Resolve))
async def resolve(request: Request, caller: Caller, post: str) -> JSONResponse:
    """Say what became of an uncertain post: only a person can know."""
    read_query(request, NoQuery)
    args = await read_body(request, Resolve)
    return await order(request, caller, "post/resolve", args | {"post": _known(post)})


def _known(post: str) -> str:
    if not _ID.fullmatch(post):
        raise Rejected(Code.NO_SUCH_POST, "there is no such post; GET /api/v1/posts shows them")
    return post


def _place(result: dict[str, Any]) -> str:
    return f"{POSTS}/{result['post']}"
