"""Media: send a video into the store, in one request or in several, and ask how much of it is there."""

import asyncio
import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from adapters.http.bodies import NoQuery, UploadQuery
from adapters.http.errors import Refused, error_answer
from adapters.http.front import UPLOADS
from adapters.http.openapi import asks, gives
from adapters.http.parts import Caller, parts_of
from adapters.http.reading import key_of, read_query
from adapters.http.uploads import FIELD, FORM_SLACK, body_of, receive
from daemon.domain.errors import Code, Rejected, UploadConflict
from daemon.domain.media import StoredMedia, UploadState
from daemon.ports import MediaStore, OpenUpload

router = APIRouter()

MEDIA = UPLOADS
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FACTS = (
    "sha256",
    "size",
    "container",
    "mime_type",
    "duration_s",
    "width",
    "height",
    "fps",
    "video_codec",
    "audio_codec",
)
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_FORM: dict[str, Any] = {
    "type": "object",
    "required": [FIELD],
    "properties": {FIELD: _BINARY},
    "additionalProperties": False,
}
_TAKES: dict[str, Any] = {
    "requestBody": {
        "required": False,  # an upload that goes on with nothing is told how much is here
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/octet-stream": {"schema": _BINARY},
            "video/*": {"schema": _BINARY},
        },
    }
}


@router.post(
    MEDIA, status_code=201, tags=["507"], openapi_extra=_TAKES | asks(UploadQuery),
    responses=gives(201, "Checked and kept.") | gives(200, "It was here already.") | gives(202, "The rest is missing."),
)  # fmt: skip
async def upload(request: Request, caller: Caller) -> JSONResponse:  # noqa: ARG001 - who sends must be known
    """Take a video: the field `file` of a form, or the body itself. Its `media` is what a post calls it.

    With `sha256` and `size` an upload that breaks off is kept for a week: GET tells how much of it is here, and
    `offset` continues it there.
    """
    query = read_query(request, UploadQuery)
    key_of(request)  # checked as everywhere, though a content is its own key
    if (query.sha256 is None) != (query.size is None) or (query.offset is not None and query.sha256 is None):
        raise Rejected(Code.BAD_FIELD, "sha256 and size belong together; offset needs both", field="size")
    parts, store, body = parts_of(request), _store(request), body_of(request)
    try:
        with parts.slots.one():
            begun = await asyncio.to_thread(
                store.begin, query.sha256, query.size, query.offset, expected=_length(request)
            )
            if isinstance(begun, StoredMedia):
                return _kept(begun)
            try:
                _refuse_length(request, query, begun)
                await receive(request, body, begun, parts.settings.upload_stall_s)
                stored = await asyncio.to_thread(begun.finish)
                received = begun.received
            finally:
                await asyncio.to_thread(begun.close)
    except UploadConflict as conflict:
        told: dict[str, Any] = {} if conflict.received is None else {"received": conflict.received}
        error: dict[str, Any] = {"code": Code.UPLOAD_CONFLICT, "message": str(conflict), "retryable": True}
        return error_answer(request.url.path, error | told)
    except Rejected as refusal:
        if refusal.code is Code.DISK_FULL:
            return error_answer(request.url.path, refusal.as_dict(), 507)
        raise
    if stored is None:
        return JSONResponse(_told(UploadState(received, query.size)), 202)
    return _kept(stored)


@router.get(MEDIA + "/{sha256}", responses=gives(200))
async def look(request: Request, caller: Caller, sha256: str) -> JSONResponse:  # noqa: ARG001
    """Tell how much of a content is here; `media` is its name once it is complete."""
    read_query(request, NoQuery)
    state = None
    if _SHA256.fullmatch(sha256):
        state = await asyncio.to_thread(_store(request).look, sha256)
    if state is None:
        raise Refused(404, Code.MEDIA_MISSING, "nothing of this content is here")
    return JSONResponse(_told(state))


def _store(request: Request) -> MediaStore:
    store = parts_of(request).store
    if store is None:
        raise Rejected(Code.NOT_CONFIGURED, "there is no folder for uploads; set media.roots")
    return store


def _length(request: Request) -> int:
    return int(request.headers.get("content-length", "0"))  # digits, or the front has refused it


def _refuse_length(request: Request, query: UploadQuery, begun: OpenUpload) -> None:
    """Refuse at once what says itself that it is too much. What comes without a length is counted."""
    length = _length(request)
    slack = FORM_SLACK if request.headers.get("content-type", "").lower().startswith("multipart/") else 0
    if query.size is not None and begun.received + length > query.size + slack:
        raise Rejected(
            Code.BAD_FIELD, f"the body is longer than the {query.size} bytes announced", field="size"
        )


def _kept(stored: StoredMedia) -> JSONResponse:
    facts = stored.facts.as_dict()
    body = {"media": stored.facts.name} | {name: facts[name] for name in _FACTS}
    headers = {"Location": f"{MEDIA}/{stored.facts.sha256}"}
    return JSONResponse(body, 201 if stored.is_new else 200, headers)


def _told(state: UploadState) -> dict[str, Any]:
    told = {"received": state.received, "size": state.size, "complete": state.media is not None}
    return told | ({"media": state.media} if state.media is not None else {})
