"""Browser sessions: open one, look at it, keep it open, close it; and the window for a login."""

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from adapters.http.bodies import Browse, Extend, Login, NoQuery, Nothing, OpenQuery, SessionsQuery
from adapters.http.door import done
from adapters.http.errors import STATUSES, error_answer
from adapters.http.openapi import asks, gives, takes
from adapters.http.parts import Caller, parts_of
from adapters.http.reading import key_of, read_body, read_query
from daemon.domain.access import Claims, http_actor
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import SessionId
from daemon.domain.login import Doubt
from daemon.domain.session import EndReason, SessionState

router = APIRouter()

_ID = re.compile(r"[0-9a-f]{16}")
_ANSWER = "SessionAnswer"
_OPENED = gives(200, "The window is open, or was.", schema=_ANSWER)
_MISTAKES = 500  # of a session on TikTok: what stands in no row of the contract's table
_ROWS = frozenset({
    Code.NOT_LOGGED_IN, Code.LOGIN_UNCERTAIN, Code.CHALLENGE, Code.USER_DATA_LOCKED, Code.SESSION_LIMIT, Code.BUSY,
    Code.SESSION_TIMEOUT, Code.SHUTTING_DOWN, Code.ID_CONFLICT, Code.BAD_FIELD, Code.UNKNOWN_FIELD,
})  # fmt: skip
_CHALLENGED = "the site asks for a person (a captcha or the like); the window stays open for the answer"
_ENDS = {
    EndReason.CLOSED_BY_USER: "the browser was closed by the person",
    EndReason.TIMEOUT: "the browser was closed because the session's time was over",
    EndReason.CLOSED_BY_COMMAND: "the browser was closed by a command",
}
_FAILURES = {
    EndReason.SHUTDOWN: (Code.SHUTTING_DOWN, "the browser was closed because tokd is stopping"),
    EndReason.DISPLAY_LOST: (Code.NO_DISPLAY, "the display went away while the window was open"),
}


@router.post(
    "/tiktok/session", responses=_OPENED, tags=["423 504"],
    openapi_extra=takes(Nothing) | asks(OpenQuery),
)  # fmt: skip
async def open_session(request: Request, caller: Caller) -> JSONResponse:
    """Open a window on TikTok from a clone of the profile, and tell whether it is logged in."""
    query = read_query(request, OpenQuery)
    await read_body(request, Nothing)
    reply = await _order(request, caller, "session/open", {})
    if reply["status"] != "done":
        return _not_open(request, reply, is_tiktok=True)
    view = done(reply)
    if query.wait == "closed":
        return await _closed(request, caller, SessionId(view["session"]))
    if view.get("login", {}).get("reason") == Doubt.CHALLENGE:
        # The window stays, for the person alone can answer; but nobody has seen that it is logged in.
        told = {
            "code": Code.CHALLENGE,
            "message": _CHALLENGED,
            "session": view["session"],
            "login": view["login"],
        }
        return _not_open(request, {"error": told}, is_tiktok=True)
    return _open(view)


@router.post("/browse", responses=_OPENED, tags=["423 504"], openapi_extra=takes(Browse))
async def browse(request: Request, caller: Caller) -> JSONResponse:
    """Open a window on any page, from a clone of a profile; nothing is asked of its login state."""
    read_query(request, NoQuery)
    args = await read_body(request, Browse)
    reply = await _order(request, caller, "session/open", args | {"require_login": False})
    return _open(done(reply)) if reply["status"] == "done" else _not_open(request, reply)


@router.post(
    "/profiles/{name}/login", responses=_OPENED, tags=["423 504"], openapi_extra=takes(Login)
)  # fmt: skip
async def login(request: Request, caller: Caller, name: str) -> JSONResponse:
    """Open a window on the profile itself, so that the person can log in. Made where it is new."""
    read_query(request, NoQuery)
    args = await read_body(request, Login)
    reply = await _order(request, caller, "profiles/login", args | {"profile": name})
    return _open(done(reply)) if reply["status"] == "done" else _not_open(request, reply)


@router.get("/tiktok/sessions", responses=gives(200, schema=_ANSWER), openapi_extra=asks(SessionsQuery))
async def list_sessions(request: Request, caller: Caller) -> JSONResponse:
    """Return the sessions that are open, or with `ended` those that were, newest first."""
    query = read_query(request, SessionsQuery)
    args = query.model_dump()
    found = await parts_of(request).door.result(http_actor(caller.user), "session/list", args)
    count = len(found["sessions"])
    body = {"status": "success", "message": f"{count} session{'' if count == 1 else 's'}"}
    return JSONResponse(body | found)


@router.get("/tiktok/session/{session}", responses=gives(200, schema=_ANSWER), tags=["504"])
async def show_session(request: Request, caller: Caller, session: str) -> JSONResponse:
    """Return one session, open or over; 504 for one that could not be opened in time."""
    read_query(request, NoQuery)
    view = await _view(request, caller, _known(session))
    error = view.get("error") or {}
    if error.get("code") == Code.SESSION_TIMEOUT:
        return error_answer(request.url.path, error | {"session": session})
    body = {"status": "success", "message": f"the session is {view['state']}", "session_id": session}
    return JSONResponse(body | {"session": view})


@router.delete(
    "/tiktok/session/{session}", responses=gives(200, schema=_ANSWER), openapi_extra=takes(Nothing)
)  # fmt: skip
async def close_session(request: Request, caller: Caller, session: str) -> JSONResponse:
    """Close a session's browser. The event session.ended follows when all of it is gone."""
    read_query(request, NoQuery)
    await read_body(request, Nothing)
    result = done(await _order(request, caller, "session/close", {"session": _known(session)}))
    is_over = result["state"] == SessionState.ENDED
    message = "the session was over already" if is_over else "the browser is being closed"
    return JSONResponse({"status": "success", "message": message, "session_id": session})


@router.post(
    "/tiktok/session/{session}/extend", responses=gives(200, schema=_ANSWER), openapi_extra=takes(Extend)
)  # fmt: skip
async def extend_session(request: Request, caller: Caller, session: str) -> JSONResponse:
    """Keep the window open for at least so many seconds from now on."""
    read_query(request, NoQuery)
    args = await read_body(request, Extend)
    result = done(await _order(request, caller, "session/extend", args | {"session": _known(session)}))
    message = f"the window stays open until {result['ends_at']}"
    return JSONResponse(
        {"status": "success", "message": message, "session_id": session, "ends_at": result["ends_at"]}
    )


def _known(session: str) -> str:
    if not _ID.fullmatch(session):
        raise Rejected(Code.NO_SUCH_SESSION, "there is no such session; GET /tiktok/sessions shows them")
    return session


async def _order(request: Request, caller: Claims, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    parts = parts_of(request)
    return await parts.door.send(
        http_actor(caller.user), verb, args, within_s=parts.settings.open_within_s, command_id=key_of(request)
    )


async def _view(request: Request, caller: Claims, session: str) -> dict[str, Any]:
    return await parts_of(request).door.result(http_actor(caller.user), "session/show", {"session": session})


def _open(view: dict[str, Any]) -> JSONResponse:
    session = view["session"]
    body = {
        "status": "success",
        "message": f"the window is open until {view['ends_at']}",
        "session_id": session,
    }
    return JSONResponse(body, headers={"Location": f"/tiktok/session/{session}"})


def _not_open(request: Request, reply: dict[str, Any], *, is_tiktok: bool = False) -> JSONResponse:
    error = reply.get("error")
    if error is None:
        error = {"code": Code.SESSION_TIMEOUT, "message": "the session was not open in time"}
    code = Code(error["code"])
    status = STATUSES[code] if code in _ROWS or not is_tiktok else _MISTAKES
    timeout_s = parts_of(request).settings.detection_timeout_s
    return error_answer(request.url.path, error, status, login_timeout_s=timeout_s)


async def _closed(request: Request, caller: Claims, session: SessionId) -> JSONResponse:
    """Wait until the session is over, holding nothing but this connection."""
    over = parts_of(request).hub.end_of(session)
    view = await _view(request, caller, session)
    if view["state"] != SessionState.ENDED:
        await over
        view = await _view(request, caller, session)
    reason = EndReason(view["reason"])
    if reason in _ENDS:
        body = {"status": "success", "message": _ENDS[reason], "session_id": session}
        return JSONResponse(body, headers={"Location": f"/tiktok/session/{session}"})
    code, message = _FAILURES.get(reason, (Code.BROWSER_FAILED, f"the browser ended: {reason}"))
    return error_answer(request.url.path, {"code": code, "message": message, "session": session})
