"""Bodies that are too large for memory: taken block by block, written in threads, cut off where they stall."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Protocol

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from adapters.http.errors import Refused
from daemon.domain.errors import Code, Rejected
from daemon.ports import OpenUpload

FIELD = "file"
BLOCK = 1024 * 1024
FORM_SLACK = 16 * 1024  # what the form may add to the file: its boundaries and its part's head
_RAW = ("application/octet-stream", "video/", "")


class Slots:
    """How many uploads there may be at a time. Used in the server's event loop only."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Take part. Raises Rejected(busy)."""
        if self._left <= 0:
            raise Rejected(
                Code.BUSY,
                "too many uploads are under way (media.uploads_max)",
                retryable=True,
                retry_after_s=5,
            )
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


class _Body(Protocol):
    def feed(self, chunk: bytes) -> list[bytes]: ...
    def end(self) -> None: ...


class _RawBody:
    """The body is the file."""

    def feed(self, chunk: bytes) -> list[bytes]:
        return [chunk]

    def end(self) -> None:
        pass


class _FormBody:
    """The file is the one field of a form."""

    def __init__(self, boundary: bytes) -> None:
        self._blocks: list[bytes] = []
        self._head: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._has_file = self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin, "on_header_field": self._take_name, "on_header_value": self._take_value,
                "on_header_end": self._end_header, "on_headers_finished": self._check, "on_part_data": self._take,
                "on_end": self._end,
            },
            max_header_count=8,
            max_header_size=4096,
        )  # fmt: skip

    def feed(self, chunk: bytes) -> list[bytes]:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise Rejected(Code.BAD_FIELD, "the body is no multipart form", field=FIELD) from None
        found, self._blocks = self._blocks, []
        return found

    def end(self) -> None:
        if not self._has_file or not self._is_whole:
            why = "ends in the middle" if self._has_file else f"has no field {FIELD!r}"
            raise Rejected(Code.BAD_FIELD, f"the form {why}", field=FIELD)

    def _begin(self) -> None:
        self._head = {}

    def _take_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._head[self._name.lower()] = self._value
        self._name = self._value = b""

    def _check(self) -> None:
        _, options = parse_options_header(self._head.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            raise Rejected(Code.UNKNOWN_FIELD, f"an upload has one field, {FIELD!r}", field=name[:64] or None)
        if self._has_file:
            raise Rejected(Code.BAD_FIELD, "an upload is one file", field=FIELD)
        self._has_file = True

    def _take(self, data: bytes, start: int, end: int) -> None:
        self._blocks.append(data[start:end])

    def _end(self) -> None:
        self._is_whole = True


def body_of(request: Request) -> _Body:
    """Return what reads this request's body. Raises Refused(415), Rejected(bad_field)."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, Code.BAD_FIELD, "an upload is not compressed")
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    text = kind.decode("latin-1").strip().lower()
    if text == "multipart/form-data":
        try:
            return _FormBody(options[b"boundary"])
        except (KeyError, FormParserError):
            raise Rejected(Code.BAD_FIELD, "the form names no boundary", field="Content-Type") from None
    if text in _RAW or text.startswith("video/"):
        return _RawBody()
    raise Refused(
        415, Code.BAD_FIELD, "an upload is multipart/form-data, application/octet-stream or video/…"
    )


async def receive(request: Request, body: _Body, upload: OpenUpload, stall_s: float) -> None:
    """Write the body to the upload; what has come until the caller leaves or stalls is written, too.

    Raises ClientDisconnect, and Rejected: expired for a caller that stalls, and what the upload refuses.
    """
    blocks: list[bytes] = []
    size = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(stall_s):
                chunk = await anext(stream, None)
        except (TimeoutError, ClientDisconnect) as trouble:
            await asyncio.to_thread(upload.write, b"".join(blocks))
            if isinstance(trouble, ClientDisconnect):
                raise
            raise Rejected(Code.EXPIRED, f"no byte came for {stall_s:g} s", retryable=True) from None
        for block in body.feed(chunk) if chunk else ():
            blocks.append(block)
            size += len(block)
        if size >= BLOCK or (chunk is None and blocks):
            await asyncio.to_thread(upload.write, b"".join(blocks))
            blocks, size = [], 0
        if chunk is None:
            body.end()
            return
