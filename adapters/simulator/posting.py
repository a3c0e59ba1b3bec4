"""The three inits: direct post, inbox draft and photos. They only ever make new posts."""

import ipaddress
import json
import secrets
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .answers import ApiError, success
from .chunks import is_valid_plan
from .quotas import authorise, privacy_levels, refuse_direct_post, refuse_inbox_share
from .records import Post, User
from .world import World

_INVALID = "invalid_params"
_PREFIXES = {
    ("direct", "FILE_UPLOAD"): "v_pub_file~v2-1.",
    ("direct", "PULL_FROM_URL"): "v_pub_url~v2.",
    ("inbox", "FILE_UPLOAD"): "v_inbox_file~v2.",
    ("inbox", "PULL_FROM_URL"): "v_inbox_url~v2.",
    ("photo", "PULL_FROM_URL"): "p_pub_url~v2.",
}
Source = Literal["FILE_UPLOAD", "PULL_FROM_URL"]
M = TypeVar("M", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _VideoInfo(_Body):
    title: str | None = None
    privacy_level: str | None = None
    disable_duet: bool | None = None
    disable_stitch: bool | None = None
    disable_comment: bool | None = None
    video_cover_timestamp_ms: int | None = None
    brand_content_toggle: bool | None = None
    brand_organic_toggle: bool | None = None
    is_aigc: bool | None = None


class _VideoSource(_Body):
    source: Source
    video_size: int | None = None
    chunk_size: int | None = None
    total_chunk_count: int | None = None
    video_url: str | None = None


class _VideoInit(_Body):
    post_info: _VideoInfo
    source_info: _VideoSource


class _InboxInit(_Body):
    source_info: _VideoSource


class _PhotoInfo(_Body):
    title: str | None = None
    description: str | None = None
    privacy_level: str | None = None
    disable_comment: bool | None = None
    auto_add_music: bool | None = None
    brand_content_toggle: bool | None = None
    brand_organic_toggle: bool | None = None


class _PhotoSource(_Body):
    source: Literal["PULL_FROM_URL"]
    photo_images: list[str] = Field(min_length=1, max_length=35)
    photo_cover_index: int = Field(ge=0)


class _PhotoInit(_Body):
    media_type: Literal["PHOTO"]
    post_mode: Literal["DIRECT_POST", "MEDIA_UPLOAD"]
    post_info: _PhotoInfo = _PhotoInfo()
    source_info: _PhotoSource


async def json_of(request: Request) -> dict[str, Any]:
    """Return the JSON object of the body; an empty body is an empty object."""
    body = await request.body()
    if not body:
        return {}
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        raise ApiError(_INVALID, "The Content-Type must be application/json.")
    try:
        fields = json.loads(body)
    except ValueError:
        raise ApiError(_INVALID, "The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise ApiError(_INVALID, "The body is not a JSON object.")
    return fields


def _read(model: type[M], fields: dict[str, Any]) -> M:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(_INVALID, f"{place}: {first['msg']}") from None


def _check_text(name: str, text: str | None, limit: int) -> None:
    if text is not None and len(text.encode("utf-16-le", "surrogatepass")) // 2 > limit:
        raise ApiError(_INVALID, f"The {name} is longer than {limit} UTF-16 code units.")


def _check_video_source(world: World, source: _VideoSource) -> None:
    if source.source == "PULL_FROM_URL":
        if source.video_url is None:
            raise ApiError(_INVALID, "The video_url is missing.")
        return
    size, chunk_size, count = source.video_size, source.chunk_size, source.total_chunk_count
    if size is None or chunk_size is None or count is None:
        raise ApiError(_INVALID, "video_size, chunk_size and total_chunk_count are required.")
    if not is_valid_plan(size, chunk_size, count, binary_mb=world.settings.binary_mb):
        raise ApiError(_INVALID, "The chunk size is invalid")


def _check_ownership(world: World, urls: list[str]) -> None:
    for url in urls:
        parts = urlsplit(url)
        is_verified = url.startswith(world.settings.verified_urls) and parts.scheme == "https"
        if not is_verified or not parts.hostname or _is_address(parts.hostname):
            raise ApiError("url_ownership_unverified", "The URL is not under a verified property.")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_privacy(world: World, user: User, level: str | None) -> None:
    if not world.settings.audited and not user.private:
        raise ApiError("unaudited_client_can_only_post_to_private_accounts")
    if level not in privacy_levels(world, user):
        raise ApiError("privacy_level_option_mismatch", "The privacy level is not among the options.")


async def init_video(world: World, request: Request) -> Response:
    """Begin a direct post."""
    user = authorise(world, request, "video_init", "video.publish")
    fields = await json_of(request)
    body = _read(_VideoInit, fields)
    _check_text("title", body.post_info.title, 2200)
    _check_video_source(world, body.source_info)
    refuse_direct_post(world, user)
    _check_privacy(world, user, body.post_info.privacy_level)
    _check_ownership(world, _urls_of(body.source_info))
    post = _new_post(world, user, "direct", "direct", body.source_info.source)
    post.title, post.privacy_level = body.post_info.title or "", body.post_info.privacy_level
    return _accept_video(world, post, body.source_info, fields)


async def init_inbox(world: World, request: Request) -> Response:
    """Begin a draft in the creator's inbox; anything but source_info is dropped without a word."""
    user = authorise(world, request, "inbox_init", "video.upload")
    fields = await json_of(request)
    body = _read(_InboxInit, fields)
    _check_video_source(world, body.source_info)
    refuse_inbox_share(world, user)
    _check_ownership(world, _urls_of(body.source_info))
    post = _new_post(world, user, "inbox", "inbox", body.source_info.source)
    return _accept_video(world, post, body.source_info, fields)


async def init_photo(world: World, request: Request) -> Response:
    """Begin a photo post, direct or as a draft."""
    try:
        fields = await json_of(request)
    except ApiError:
        authorise(world, request, "photo_init", "video.publish", "video.upload")  # 401 goes before 400
        raise
    is_direct = fields.get("post_mode") != "MEDIA_UPLOAD"
    user = authorise(world, request, "photo_init", "video.publish" if is_direct else "video.upload")
    body = _read(_PhotoInit, fields)
    _check_text("title", body.post_info.title, 90)
    _check_text("description", body.post_info.description, 4000)
    if body.source_info.photo_cover_index >= len(body.source_info.photo_images):
        raise ApiError(_INVALID, "The photo_cover_index is out of range.")
    if is_direct:
        refuse_direct_post(world, user)
        _check_privacy(world, user, body.post_info.privacy_level)
    else:
        refuse_inbox_share(world, user)
    _check_ownership(world, body.source_info.photo_images)
    post = _new_post(world, user, "photo", "direct" if is_direct else "inbox", "PULL_FROM_URL")
    post.title, post.privacy_level = body.post_info.title or "", body.post_info.privacy_level
    _accept(world, post, fields)
    return success({"publish_id": post.publish_id})


def _urls_of(source: _VideoSource) -> list[str]:
    return [source.video_url or ""] if source.source == "PULL_FROM_URL" else []


def _new_post(
    world: World,
    user: User,
    mode: Literal["direct", "inbox", "photo"],
    delivery: Literal["direct", "inbox"],
    source: Source,
) -> Post:
    now = world.state.now()
    is_file = source == "FILE_UPLOAD"
    return Post(
        publish_id=f"{_PREFIXES[mode, source]}{7_000_000_000_000_000_000 + secrets.randbelow(10**18)}",
        user=user.name,
        open_id=user.open_id,
        mode=mode,
        delivery=delivery,
        source=source,
        created_at=now,
        status="PROCESSING_UPLOAD" if is_file else "PROCESSING_DOWNLOAD",
        is_audited=world.settings.audited,
        ready_at=None if is_file else now,
    )


def _accept_video(world: World, post: Post, source: _VideoSource, fields: dict[str, Any]) -> Response:
    if source.source == "PULL_FROM_URL":
        _accept(world, post, fields)
        return success({"publish_id": post.publish_id})
    post.size, post.chunk_size = source.video_size or 0, source.chunk_size or 0
    post.chunk_count = source.total_chunk_count or 0
    post.upload_id = str(7_000_000_000_000_000_000 + secrets.randbelow(10**18))
    post.upload_token = secrets.token_hex(16)
    post.url_expires_at = world.state.now() + world.settings.upload_url_seconds
    _accept(world, post, fields)
    query = f"upload_id={post.upload_id}&upload_token={post.upload_token}"
    url = f"{world.url}/upload/video/{post.upload_id}?{query}"
    return success({"publish_id": post.publish_id, "upload_url": url})


def _accept(world: World, post: Post, fields: dict[str, Any]) -> None:
    world.add_post(post)
    world.ledger.write(
        "init",
        account=post.user,
        open_id=post.open_id,
        mode=post.mode,
        delivery=post.delivery,
        source=post.source,
        publish_id=post.publish_id,
        time=post.created_at,
        post_info=fields.get("post_info"),
        source_info=fields.get("source_info"),
    )
