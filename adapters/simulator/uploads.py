"""PUT to an upload_url: sequential ranges, streamed, each stored wholly or not at all."""

import asyncio
import re
import secrets
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from .connections import DroppedConnection
from .faults import Fault
from .records import Post
from .sinks import Sink
from .world import World

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_MEDIA_TYPES = frozenset({"video/mp4", "video/quicktime", "video/webm"})


class _Cut(Exception):
    """The fault script says to stop reading here."""


@dataclass(frozen=True)
class _Chunk:
    first: int
    last: int
    total: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def post_of(world: World, request: Request) -> Post | None:
    """Return the post this upload URL belongs to."""
    post = world.state.uploads.get(request.query_params.get("upload_id", ""))
    if post is None or post.upload_id != request.path_params["upload_id"]:
        return None
    token = request.query_params.get("upload_token", "")
    is_known = post.upload_token is not None and secrets.compare_digest(token, post.upload_token)
    return post if is_known else None


def _chunk_of(request: Request) -> _Chunk | None:
    match = _RANGE.fullmatch(request.headers.get("content-range", ""))
    return None if match is None else _Chunk(*(int(number) for number in match.groups()))


def note_range(world: World, request: Request, status: int | None) -> None:
    """Put a range into the ledger; status None means it was not answered."""
    post, chunk = post_of(world, request), _chunk_of(request)
    world.ledger.write(
        "range",
        publish_id=None if post is None else post.publish_id,
        account=None if post is None else post.user,
        first=None if chunk is None else chunk.first,
        last=None if chunk is None else chunk.last,
        status=status,
        time=world.state.now(),
    )


async def take_upload(world: World, request: Request, cut: Fault | None = None) -> Response:
    """Store one chunk, or say why not. With a `cut`, read that many bytes and hang up."""
    post, chunk = post_of(world, request), _chunk_of(request)
    status = _verdict(world, request, post, chunk)
    try:
        if post is not None and chunk is not None and status in {201, 206} and chunk.first == post.stored:
            status = await _store(world, request, post, chunk, cut)
        else:
            await _drain(request, cut)
    except (ClientDisconnect, _Cut):
        note_range(world, request, None)
        return DroppedConnection()
    note_range(world, request, status)
    return Response(status_code=status, headers=_progress(world, post))


def _verdict(world: World, request: Request, post: Post | None, chunk: _Chunk | None) -> int:
    if post is None or post.status == "FAILED":
        return 404
    if world.state.now() >= post.url_expires_at:
        return 403
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    length = request.headers.get("content-length")
    if chunk is None or content_type not in _MEDIA_TYPES or length != str(chunk.length):
        return 400
    if chunk.total != post.size or not chunk.first <= chunk.last < post.size:
        return 400
    return _range_verdict(world, post, chunk)


def _range_verdict(world: World, post: Post, chunk: _Chunk) -> int:
    if chunk.last < post.stored and world.settings.reput_policy == "accept":
        return 201 if post.stored == post.size else 206
    if chunk.first != post.stored:
        return 416
    is_last = chunk.first // post.chunk_size >= post.chunk_count - 1
    expected = post.size - 1 if is_last else chunk.first + post.chunk_size - 1
    if chunk.last != expected:
        return 400
    return 201 if is_last else 206


async def _store(world: World, request: Request, post: Post, chunk: _Chunk, cut: Fault | None) -> int:
    running = await world.hashes.start(post)
    with world.hashes.sink(post, chunk.first, running) as sink:
        received = await _receive(request, sink, cut)
    if received != chunk.length:
        return 400
    if chunk.first != post.stored or post.status == "FAILED":
        return 416  # the same range arrived twice at once, or the post was cancelled meanwhile
    post.stored += received
    world.hashes.keep(post, running)
    if post.stored < post.size:
        world.state.put(post)
        return 206
    world.progress.stored(post, None if running is None else running.hexdigest())
    return 201


async def _receive(request: Request, sink: Sink, cut: Fault | None) -> int:
    """Hash and write one block in a thread while the next one arrives."""
    loop = asyncio.get_running_loop()
    work: asyncio.Future[None] | None = None
    received = 0
    try:
        async for block in request.stream():
            received += len(block)
            if cut is not None and received >= cut.bytes:
                raise _Cut
            if work is not None:
                await work
            work = loop.run_in_executor(None, sink.take, block)
    finally:
        if work is not None:
            await work
    if cut is not None:
        raise _Cut
    return received


async def _drain(request: Request, cut: Fault | None) -> None:
    received = 0
    async for block in request.stream():
        received += len(block)
        if cut is not None and received >= cut.bytes:
            raise _Cut
    if cut is not None:
        raise _Cut


def _progress(world: World, post: Post | None) -> dict[str, str]:
    if post is None:
        return {}
    is_index = world.settings.progress_header == "last_index"
    number = max(post.stored - 1, 0) if is_index else post.stored
    return {"Content-Range": f"bytes 0-{number}/{post.size}"}
