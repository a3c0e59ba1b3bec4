"""For those who run tokd: is it alive, is it ready, its numbers, its description, its events."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from adapters.http.bodies import NoQuery
from adapters.http.metrics import CONTENT_TYPE
from adapters.http.openapi import OPEN, describe, gives
from adapters.http.parts import Caller, parts_of
from adapters.http.reading import read_query
from adapters.http.stream import EventStream, open_stream
from daemon.domain import asyncapi as protocol
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import SELF_ACTOR
from daemon.domain.reports import FiguresWanted

router = APIRouter()

DEAD_AFTER_S = 30
_LAST = {
    "parameters": [
        {
            "name": "Last-Event-ID", "in": "header", "required": False,
            "description": "Number of the last event that was seen; what came after it is sent first.",
            "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
        }
    ]
}  # fmt: skip


@router.get("/livez", responses=gives(200) | gives(503, "A loop stands still."), tags=[OPEN])
async def livez(request: Request) -> JSONResponse:
    """Tell whether every essential loop turns."""
    read_query(request, NoQuery)
    ages = parts_of(request).loops()
    is_alive = all(age < DEAD_AFTER_S for age in ages.values())
    told = {
        "status": "alive" if is_alive else "stuck",
        "loops": {name: round(age, 3) for name, age in ages.items()},
    }
    return JSONResponse(told, 200 if is_alive else 503)


@router.get("/readyz", responses=gives(200) | gives(503, "It takes no work now."), tags=[OPEN])
async def readyz(request: Request) -> JSONResponse:
    """Tell whether tokd takes work, and the state of every part; a part that ails is no verdict on the whole."""
    read_query(request, NoQuery)
    parts = parts_of(request)
    health = await parts.door.result(SELF_ACTOR, "system/health", {}, within_s=5)
    if parts.is_stopping():
        return JSONResponse(health | {"phase": "stopping"}, 503)
    return JSONResponse(health, 503 if health["phase"] == "safe_mode" else 200)


@router.get("/metrics", responses=gives(200, kind="text/plain"), tags=["401"])
async def metrics(request: Request) -> Response:
    """Return the numbers for Prometheus."""
    parts = parts_of(request)
    if parts.settings.metrics_need_token:
        parts.guard.check(request.headers.getlist("authorization"))
    read_query(request, NoQuery)
    wanted = FiguresWanted(with_successes=not parts.metrics.knows_successes)
    standing = await parts.door.tell(wanted, within_s=5)
    page = parts.metrics.page(standing, parts.loops())
    return Response(page, headers={"Content-Type": CONTENT_TYPE})


@router.get("/openapi.json", responses=gives(200))
async def openapi(request: Request, caller: Caller) -> JSONResponse:  # noqa: ARG001 - who asks must be known
    """Return this description."""
    read_query(request, NoQuery)
    return JSONResponse(describe(request.app, parts_of(request).settings.version))


@router.get("/asyncapi.json", responses=gives(200, "An AsyncAPI 3.0 document."))
async def asyncapi(request: Request, caller: Caller) -> Response:  # noqa: ARG001 - who asks must be known
    """Return the description of what tokd speaks over MQTT; the SHA-256 of these bytes stands in `info`."""
    read_query(request, NoQuery)
    text = await asyncio.to_thread(protocol.text)  # made once, and that takes a while
    return Response(text, media_type="application/json")


@router.get(
    "/api/v1/events", responses=gives(200, "Events as they come.", "text/event-stream"), openapi_extra=_LAST,
    response_model=None,
)  # fmt: skip
async def events(request: Request, caller: Caller) -> EventStream:
    """Send every event as it comes (server-sent events), after those that came since Last-Event-ID."""
    read_query(request, NoQuery)
    told = request.headers.getlist("last-event-id")
    last = ", ".join(told) if told else None
    if last is not None and not (last.isascii() and last.isdecimal() and len(last) <= 15):  # noqa: PLR2004
        raise Rejected(Code.BAD_FIELD, "Last-Event-ID is the number of an event", field="Last-Event-ID")
    after = None if last is None else int(last)
    return await open_stream(parts_of(request), caller, after, request.scope["state"]["transport"])
