"""The routes of the simulated API and of the simulated website."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from . import console, inquiries, oauth, posting, site, uploads
from .gate import Work, pass_call
from .world import World, world_of

_PUBLISH = "/v2/post/publish"
ROUTES: tuple[tuple[str, str, str, Work], ...] = (
    ("GET", "/v2/auth/authorize/", "authorize", oauth.authorize),
    ("POST", "/v2/auth/authorize/", "authorize", oauth.consent),
    ("POST", "/v2/oauth/token/", "token", oauth.exchange_token),
    ("POST", "/v2/oauth/revoke/", "revoke", oauth.revoke),
    ("POST", f"{_PUBLISH}/creator_info/query/", "creator_info", inquiries.query_creator),
    ("POST", f"{_PUBLISH}/video/init/", "video_init", posting.init_video),
    ("POST", f"{_PUBLISH}/inbox/video/init/", "inbox_init", posting.init_inbox),
    ("POST", f"{_PUBLISH}/content/init/", "photo_init", posting.init_photo),
    ("POST", f"{_PUBLISH}/status/fetch/", "status", inquiries.fetch_status),
    ("POST", f"{_PUBLISH}/cancel/", "cancel", inquiries.cancel_post),
    ("POST", "/v2/video/list/", "video_list", inquiries.list_videos),
    ("PUT", "/upload/video/{upload_id}", "upload", uploads.take_upload),
)


def create_app(world: World) -> FastAPI:
    """Build the application around a world; nothing runs until its lifespan starts."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, lifespan=_live)
    app.state.world = world
    app.include_router(console.router)
    for method, path, endpoint, work in ROUTES:
        app.add_api_route(path, _route(endpoint, work), methods=[method], response_model=None)
    for methods, path, page in site.ROUTES:
        app.add_api_route(path, _page_route(path, page), methods=[*methods], response_model=None)
    app.add_exception_handler(404, _unsupported)
    app.add_exception_handler(405, _unsupported)
    return app


def _route(endpoint: str, work: Work) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def route(request: Request) -> Response:
        return await pass_call(world_of(request), request, endpoint, work)

    return route


def _page_route(path: str, page: Work) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def route(request: Request) -> Response:
        return await site.visit(world_of(request), request, path, page)

    return route


@contextlib.asynccontextmanager
async def _live(app: FastAPI) -> AsyncIterator[None]:
    world: World = app.state.world
    world.webhooks.start()
    moving = asyncio.create_task(world.progress.run())
    try:
        yield
    finally:
        moving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await moving
        await asyncio.to_thread(world.webhooks.stop)


async def _unsupported(request: Request, error: Exception) -> Response:
    """Answer like TikTok's gateway where there is no such path."""
    status = getattr(error, "status_code", 404)
    if request.url.path.startswith("/_simulator/"):
        return PlainTextResponse(str(getattr(error, "detail", error)), status)
    return PlainTextResponse(f"Unsupported path(Janus): {request.url.path}", status)
