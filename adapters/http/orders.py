"""An order over HTTP: the key is the command's id; its result is the answer, in the endpoint's shape."""

from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from adapters.http.door import done
from adapters.http.openapi import gives
from adapters.http.parts import parts_of
from adapters.http.reading import key_of
from daemon.domain.access import Claims, http_actor

Result = dict[str, Any]
LATER = gives(202, "Taken; the same request with the same key tells the rest.")


def _as_it_is(result: Result) -> Result:
    return result


async def order(
    request: Request, caller: Claims, verb: str, args: Result, *, status: int = 200,
    place: Callable[[Result], str] | None = None, shape: Callable[[Result], Result] = _as_it_is,
) -> JSONResponse:  # fmt: skip
    """Carry the order out and answer; `place` is where what it has made is found, `shape` makes the body.

    Raises CommandRefused. An order that takes long is answered with 202.
    """
    parts, key = parts_of(request), key_of(request)
    reply = await parts.door.send(
        http_actor(caller.user), verb, args, within_s=parts.settings.answer_within_s, command_id=key
    )
    headers = {"Idempotency-Key": key}
    if not reply["final"]:
        return JSONResponse({"status": reply["status"], "command_id": key}, 202, headers)
    result = done(reply)
    if place is not None:
        headers["Location"] = place(result)
    if reply.get("replayed"):
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(shape(result), status, headers)
