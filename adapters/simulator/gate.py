"""Where every API call passes: it is counted, meets its fault if one is scripted, and gets its answer."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from .answers import ApiError, OAuthError, failure, flat_failure
from .connections import CutAnswer, DroppedConnection, bearer_of
from .faults import CALL_ACTIONS, Fault
from .oauth import form_of, subject_of
from .uploads import note_range, post_of, take_upload
from .world import World

Work = Callable[[World, Request], Awaitable[Response]]
_OAUTH = frozenset({"authorize", "exchange", "refresh", "revoke"})
_GARBAGE = "<html><body>upstream connect error</body></html>"


async def pass_call(world: World, request: Request, endpoint: str, work: Work) -> Response:
    """Count the call, then do the work and what the fault script makes of it."""
    endpoint, user = await _identify(world, request, endpoint)
    world.ledger.write("call", endpoint=endpoint, account=user, time=world.state.now())
    fault = world.faults.take(endpoint, user, CALL_ACTIONS)
    if fault is None:
        return await _work(world, request, endpoint, work)
    return await _meet(fault, world, request, endpoint, work)


async def _identify(world: World, request: Request, endpoint: str) -> tuple[str, str | None]:
    """Tell a refresh from an exchange, and whose call it is."""
    if endpoint == "upload":
        post = post_of(world, request)
        return endpoint, None if post is None else post.user
    if endpoint == "authorize":
        return endpoint, request.query_params.get("_simulator_user")
    if endpoint in {"token", "revoke"}:
        form = form_of(request, await request.body())
        grant = "refresh" if form.get("grant_type") == "refresh_token" else "exchange"
        return grant if endpoint == "token" else endpoint, subject_of(world, form)
    token = world.state.tokens.get(bearer_of(request))
    return endpoint, None if token is None else token.user


async def _work(world: World, request: Request, endpoint: str, work: Work) -> Response:
    try:
        return await work(world, request)
    except ApiError as error:
        code = error.code
        if code == "invalid_params":
            code = world.settings.invalid_param_spelling
        world.ledger.write("refusal", endpoint=endpoint, code=code, time=world.state.now())
        with_data = not world.settings.omit_data_on_error
        return failure(endpoint, code, error.message, with_data=with_data)
    except OAuthError as error:
        world.ledger.write("refusal", endpoint=endpoint, code=error.error, time=world.state.now())
        status = 400 if endpoint == "authorize" else world.settings.oauth_error_status
        return flat_failure(error.error, error.description, status)


async def _meet(fault: Fault, world: World, request: Request, endpoint: str, work: Work) -> Response:
    match fault.action:
        case "slow":
            await asyncio.sleep(fault.seconds)
            return await _work(world, request, endpoint, work)
        case "slow_after":
            answer = await _work(world, request, endpoint, work)
            await asyncio.sleep(fault.seconds)
            return answer
        case "lose_answer":
            await _work(world, request, endpoint, work)
            return DroppedConnection()
        case "cut_answer":
            return CutAnswer(await _work(world, request, endpoint, work), fault.bytes)
        case "garbage_after":
            await _work(world, request, endpoint, work)
            return PlainTextResponse(_GARBAGE)
        case "cut_body" if endpoint == "upload":
            return await take_upload(world, request, cut=fault)
        case _:
            return await _refuse_to_work(fault, world, request, endpoint)


async def _refuse_to_work(fault: Fault, world: World, request: Request, endpoint: str) -> Response:
    answer = _answer_instead(fault, world, endpoint)
    is_dropped = isinstance(answer, DroppedConnection)
    if not is_dropped:
        async for _ in request.stream():  # or a client still sending would see a broken pipe
            pass
    if endpoint == "upload":
        note_range(world, request, None if is_dropped else answer.status_code)
    return answer


def _answer_instead(fault: Fault, world: World, endpoint: str) -> Response:
    match fault.action:
        case "status":
            return _any_status(fault)
        case "redirect":
            return Response(status_code=fault.status or 307, headers={"Location": fault.location})
        case "garbage":
            return PlainTextResponse(_GARBAGE)
        case "error":
            return _error_instead(fault, world, endpoint)
        case _:  # "drop", and "cut_body" where there is no body worth cutting
            return DroppedConnection()


def _error_instead(fault: Fault, world: World, endpoint: str) -> Response:
    if endpoint == "upload":
        return Response(status_code=fault.status or 403)
    if endpoint in _OAUTH:
        status = fault.status or world.settings.oauth_error_status
        return flat_failure(fault.code, fault.message or fault.code, status)
    with_data = not world.settings.omit_data_on_error
    return failure(endpoint, fault.code, fault.message, status=fault.status, with_data=with_data)


def _any_status(fault: Fault) -> Response:
    status = fault.status or 500
    if fault.body is None:
        return Response(status_code=status, headers=fault.headers)
    if isinstance(fault.body, str):
        return PlainTextResponse(fault.body, status, fault.headers)
    return JSONResponse(fault.body, status, fault.headers)
