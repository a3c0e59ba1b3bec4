"""The application: the routes, one shape for every error, and the front before all of it."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from adapters.http.door import CommandRefused
from adapters.http.errors import Refused, error_answer, refusal, rejected_answer
from adapters.http.front import FAULT, Front
from adapters.http.parts import Parts
from adapters.http.routes import accounts, media, operations, posts, sessions, tasks, webhooks
from daemon.domain.errors import Code, Rejected

ROUTERS = (
    sessions.router, posts.router, tasks.router, media.router, accounts.router, webhooks.router, operations.router,
)  # fmt: skip
_WHY = {404: "there is nothing here; /openapi.json tells what there is", 405: "this method does nothing here"}


def create_app(parts: Parts) -> ASGIApp:
    """Return the application with these parts."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.parts = parts
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Rejected, _rejected)
    app.add_exception_handler(CommandRefused, _command_refused)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)
    return Front(app, parts.settings, parts.metrics.observe)


async def _rejected(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Rejected)
    return rejected_answer(request.url.path, error)


async def _command_refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CommandRefused)
    return error_answer(request.url.path, error.error)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return error_answer(request.url.path, error.error, error.status, error.headers)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = _WHY.get(error.status_code, error.detail)
    allow = {"Allow": _allowed(request)} if error.status_code == 405 else {}  # noqa: PLR2004
    return refusal(error.status_code, Code.UNKNOWN_COMMAND, message, request.url.path, **allow)


def _allowed(request: Request) -> str:
    """Return every method of this path: each route knows its own only."""
    found = {
        method
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL
        for method in route.methods or ()
    }
    return ", ".join(sorted(found))


async def _failed(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - the front logs it
    return refusal(500, Code.INTERNAL, FAULT, request.url.path)


async def _gone(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - nobody reads the answer
    return refusal(400, Code.BAD_JSON, "the caller has left", request.url.path)
