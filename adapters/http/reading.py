"""Reading a request: its body within size and time, its query, its key. Strict, like every other wire."""

import asyncio
import re
import secrets
from typing import Any, TypeVar

from fastapi import Request

from adapters.http.errors import Refused
from adapters.http.parts import parts_of
from daemon.domain.command import Command
from daemon.domain.commands import Verb
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import COMMAND_ID
from daemon.domain.wire import parse_object, read_args

Model = TypeVar("Model", bound=Command)
KEY_HEADER = "idempotency-key"
_JSON = re.compile(r"application/json\s*(;\s*charset=(\"utf-?8\"|utf-?8)\s*)?;?", re.IGNORECASE)


async def read_body(request: Request, model: type[Command]) -> dict[str, Any]:
    """Return the body's fields as they were sent, once they have been checked.

    Raises Rejected: bad_json, too_large, unknown_field, bad_field; expired where it does not come in time.
    Raises Refused(415) for a body that does not call itself JSON, in plain UTF-8.
    """
    raw = await read_bytes(request)
    if raw and not _is_json(request):
        raise Refused(415, Code.BAD_JSON, "a body is application/json, in UTF-8 and not compressed")
    found = parse_object(raw)
    read_args(Verb(_name(request), model, is_durable=True), found, is_strict=True)
    return found


def read_query(request: Request, model: type[Model]) -> Model:
    """Return the query. Raises Rejected: unknown_field, bad_field; a parameter stands once at most."""
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Rejected(Code.BAD_FIELD, "a query parameter stands twice", field="query")
    if any(not value.isprintable() for value in found.values()):
        raise Rejected(Code.BAD_FIELD, "a query parameter holds a control character", field="query")
    read = read_args(Verb(_name(request), model, is_durable=False), found)
    assert isinstance(read, model)
    return read


def key_of(request: Request) -> str:
    """Return the caller's Idempotency-Key, or a new one. Raises Rejected(bad_field)."""
    found = request.headers.getlist(KEY_HEADER)
    if not found:
        return f"http-{secrets.token_hex(12)}"
    if len(found) > 1 or not COMMAND_ID.fullmatch(found[0]):
        raise Rejected(
            Code.BAD_FIELD, "Idempotency-Key is 1 to 64 of A-Z a-z 0-9 . _ : -", field="Idempotency-Key"
        )
    return found[0]


def _is_json(request: Request) -> bool:
    """Tell whether the headers promise JSON; what they say once more, or in another way, is not guessed."""
    kinds, codings = (request.headers.getlist(name) for name in ("content-type", "content-encoding"))
    found = _JSON.fullmatch(kinds[0].strip()) if len(kinds) == 1 else None
    return found is not None and all(coding.strip().lower() == "identity" for coding in codings)


def _name(request: Request) -> str:
    return f"{request.method} {request.url.path}"


async def read_bytes(request: Request) -> bytes:
    """Return the body as it came. Raises Rejected: too_large; expired where it does not come in time."""
    settings = parts_of(request).settings
    raw = bytearray()
    try:
        async with asyncio.timeout(settings.header_timeout_s):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > settings.body_max:  # chunked: no length was told
                    raise Rejected(Code.TOO_LARGE, f"a body may have {settings.body_max} bytes")
    except TimeoutError:
        raise Rejected(Code.EXPIRED, "the body did not come in time") from None
    return bytes(raw)
