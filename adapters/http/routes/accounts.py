"""Accounts: the way to TikTok's page and back, and what a person does with an account that is linked."""

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from adapters.http.bodies import AccountsQuery, AuthQuery, CallbackQuery, NoQuery, Nothing
from adapters.http.callback_page import failed_page, linked_page
from adapters.http.errors import STATUSES
from adapters.http.front import CALLBACK
from adapters.http.openapi import OPEN, asks, gives, leads, takes
from adapters.http.orders import LATER, order
from adapters.http.parts import Caller, parts_of
from adapters.http.reading import read_body, read_query
from daemon.domain.access import http_actor
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import SELF_ACTOR

router = APIRouter()

ACCOUNTS = "/api/v1/accounts"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_EXCHANGE_S = 150.0  # TikTok's own patience is tiktok.call_deadline_s, two minutes
# What the person's browser is told: a link that came to nothing is the request's fault here, for there is no order.
_PAGE_STATUSES = {Code.NO_SUCH_LINK: 400, Code.LINK_REFUSED: 400, Code.BAD_FIELD: 400}
_PAGES = (
    gives(400, "Nobody waits for this answer, or the person did not agree.", "text/html")
    | gives(403, "The account is another person's.", "text/html")
    | gives(500, "tokd failed.", "text/html")
    | gives(502, "TikTok gave no tokens for the code.", "text/html")
    | gives(503, "tokd is stopping, busy or not configured.", "text/html")
)
_LATE = (
    "TikTok is slow; `tokd account list` tells what becomes of it, and nothing is sent twice. Where the account is "
    "not there in two minutes, link it again"
)


@router.get(
    "/tiktok/auth",
    responses=gives(200, "Where the person agrees.", schema="AuthAnswer") | leads(302, "There, at once."),
    openapi_extra=asks(AuthQuery),
)
async def authorise(request: Request, caller: Caller) -> Response:
    """Begin to link an account: return the address of TikTok's page, or with `redirect` lead there."""
    query = read_query(request, AuthQuery)
    args = {"account": query.account, "disable_auto_auth": query.disable_auto_auth}
    found = await parts_of(request).door.result(http_actor(caller.user), "account/link", args)
    if query.redirect:
        return RedirectResponse(found["auth_url"], 302, {"Referrer-Policy": "no-referrer"})
    return JSONResponse(found)


@router.get(
    CALLBACK, responses=gives(200, "The account is linked.", "text/html") | _PAGES, tags=[OPEN],
    openapi_extra=asks(CallbackQuery), response_class=HTMLResponse,
)  # fmt: skip
async def come_back(request: Request) -> HTMLResponse:
    """Take the person back from TikTok, with a code. The state is the proof; no token is needed."""
    try:
        args = _told(request)
        door = parts_of(request).door
        reply = await door.send(SELF_ACTOR, "account/finish_link", args, within_s=_EXCHANGE_S, is_local=True)
    except Rejected as refusal:
        return _failed(refusal.as_dict())
    if not reply["final"]:
        return failed_page(_LATE, 503)
    if reply["status"] != "done":
        return _failed(reply["error"])
    return linked_page(reply["result"]["account"], reply["result"]["warnings"])


def _told(request: Request) -> dict[str, Any]:
    """Return what counts of the query; TikTok may add more. Raises Rejected(bad_field) where it is no callback."""
    pairs = [pair for pair in request.query_params.multi_items() if pair[0] in CallbackQuery.model_fields]
    found = {name: value for name, value in pairs if value}
    if len({name for name, _ in pairs}) < len(pairs) or "state" not in found:
        raise Rejected(
            Code.BAD_FIELD,
            "this is no answer of TikTok's: begin with `tokd account link NAME`",
            field="query",
        )
    return found


def _failed(error: dict[str, Any]) -> HTMLResponse:
    code = Code(error["code"])
    return failed_page(str(error["message"]), _PAGE_STATUSES.get(code, STATUSES[code]))


@router.get(ACCOUNTS, responses=gives(200), openapi_extra=asks(AccountsQuery))
async def list_accounts(request: Request, caller: Caller) -> JSONResponse:
    """Return the linked accounts and whether their tokens work."""
    args = read_query(request, AccountsQuery).model_dump()
    return JSONResponse(await parts_of(request).door.result(http_actor(caller.user), "account/list", args))


@router.delete(ACCOUNTS + "/{name}", responses=gives(200) | LATER, tags=["409"])
async def unlink(request: Request, caller: Caller, name: str) -> JSONResponse:
    """Give the account's tokens back to TikTok and forget them."""
    read_query(request, NoQuery)
    return await order(request, caller, "account/unlink", {"account": _known(name)})


@router.post(
    ACCOUNTS + "/{name}/enable", responses=gives(200) | LATER, openapi_extra=takes(Nothing, is_required=False)
)  # fmt: skip
async def enable(request: Request, caller: Caller, name: str) -> JSONResponse:
    """Let the account post again."""
    read_query(request, NoQuery)
    await read_body(request, Nothing)
    return await order(request, caller, "account/enable", {"account": _known(name)})


@router.post(
    ACCOUNTS + "/{name}/disable", responses=gives(200) | LATER, openapi_extra=takes(Nothing, is_required=False)
)  # fmt: skip
async def disable(request: Request, caller: Caller, name: str) -> JSONResponse:
    """Hold the account's posts from now on."""
    read_query(request, NoQuery)
    await read_body(request, Nothing)
    return await order(request, caller, "account/disable", {"account": _known(name)})


@router.post(
    ACCOUNTS + "/{name}/check", responses=gives(200), tags=["429"],
    openapi_extra=takes(Nothing, is_required=False),
)  # fmt: skip
async def check(request: Request, caller: Caller, name: str) -> JSONResponse:
    """Ask TikTok now whether the account's tokens work and what its creator may do."""
    read_query(request, NoQuery)
    await read_body(request, Nothing)
    parts = parts_of(request)
    args = {"account": _known(name)}
    found = await parts.door.result(
        http_actor(caller.user), "account/check", args, within_s=parts.settings.answer_within_s
    )
    return JSONResponse(found)


def _known(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Rejected(Code.NO_SUCH_ACCOUNT, "there is no such account; GET /api/v1/accounts shows them")
    return name
