"""What TikTok sends by itself. Anybody may call here, so nothing counts but the signature, and it is only a hint."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from adapters.http.errors import Refused
from adapters.http.openapi import OPEN, gives
from adapters.http.parts import parts_of
from adapters.http.reading import read_bytes
from daemon.domain.errors import Code, Rejected
from daemon.domain.figures import Tally
from daemon.domain.reports import HintReceived

router = APIRouter()

SIGNATURE = "tiktok-signature"
_NOT_OURS = "a valid signature is needed"  # for every reason the same: a forger learns nothing
_ASKS = {
    "parameters": [
        {
            "name": "TikTok-Signature", "in": "header", "required": True,
            "description": "t= the seconds since 1970, s= the HMAC-SHA256 of t, a dot and the body, in hexadecimal.",
            "schema": {"type": "string"},
        }
    ],
    "requestBody": {"required": True, "content": {"*/*": {"schema": {"type": "object"}}}},
}  # fmt: skip


@router.post("/tiktok/webhook", responses=gives(200, "Taken."), tags=[OPEN, "401 413"], openapi_extra=_ASKS)
async def webhook(request: Request) -> JSONResponse:
    """Take an event of TikTok's: the status of its post is read now instead of later. It changes nothing by itself."""
    parts = parts_of(request)
    try:
        if parts.is_stopping():
            raise Rejected(Code.SHUTTING_DOWN, "tokd is stopping; send it again later", retryable=True)
        if parts.hints is None:
            raise Rejected(Code.NOT_CONFIGURED, "no platform sends webhooks here", retryable=True)
        hint = parts.hints.read_hint(request.headers.getlist(SIGNATURE), await read_bytes(request))
        outcome = await parts.door.tell(HintReceived(hint))
    except Rejected as refusal:
        parts.figures.count(Tally.HINTS, refusal.code.value)
        if refusal.code is Code.UNAUTHORIZED:
            asked = {"WWW-Authenticate": "TikTok-Signature"}
            raise Refused(401, Code.UNAUTHORIZED, _NOT_OURS, asked) from None
        raise
    parts.figures.count(Tally.HINTS, outcome.value)
    return JSONResponse({})
