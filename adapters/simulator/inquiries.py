"""Asking about creators and posts: creator_info, status, cancel and the video list."""

from typing import Any

from fastapi import Request, Response

from .answers import ApiError, success
from .posting import json_of
from .quotas import authorise, privacy_levels, refuse_direct_post
from .records import Post, User
from .world import World

_PULLED_BYTES = 1_048_576
_MAX_PAGE = 20
_VIDEO_FIELDS = ("id", "title", "video_description", "create_time", "share_url", "duration")


async def query_creator(world: World, request: Request) -> Response:
    """Say what the creator may do now; the documented soft failures come with HTTP 200."""
    user = authorise(world, request, "creator_info", "video.publish")
    refuse_direct_post(world, user)
    is_private = user.private
    return success(
        {
            "creator_avatar_url": f"{world.url}/avatar/{user.name}.jpeg",
            "creator_username": user.username,
            "creator_nickname": user.nickname,
            "privacy_level_options": privacy_levels(world, user),
            "comment_disabled": user.comment_disabled,
            "duet_disabled": is_private if user.duet_disabled is None else user.duet_disabled,
            "stitch_disabled": is_private if user.stitch_disabled is None else user.stitch_disabled,
            "max_video_post_duration_sec": user.max_video_post_duration_sec,
        }
    )


async def _named_post(world: World, request: Request, user: User) -> Post:
    publish_id = (await json_of(request)).get("publish_id")
    post = world.state.posts.get(publish_id) if isinstance(publish_id, str) else None
    if post is None:
        raise ApiError("invalid_publish_id", "The publish_id is invalid.")
    if post.user != user.name:
        raise ApiError("token_not_authorized_for_specified_publish_id")
    world.progress.advance(post)
    return post


async def fetch_status(world: World, request: Request) -> Response:
    """Say how far a post has come."""
    user = authorise(world, request, "status", "video.publish", "video.upload")
    post = await _named_post(world, request, user)
    data: dict[str, Any] = {"status": post.status}
    if post.fail_reason is not None:
        data["fail_reason"] = post.fail_reason
    if post.status == "PUBLISH_COMPLETE":
        data["publicaly_available_post_id"] = post.post_ids  # TikTok's own spelling
    if post.source == "FILE_UPLOAD":
        data["uploaded_bytes"] = post.stored
    else:
        data["downloaded_bytes"] = 0 if post.is_processing else _PULLED_BYTES
    return success(data)


async def cancel_post(world: World, request: Request) -> Response:
    """Stop a post whose bytes are not all there yet."""
    user = authorise(world, request, "cancel", "video.publish", "video.upload")
    post = await _named_post(world, request, user)
    is_file = post.source == "FILE_UPLOAD"
    if not post.is_processing or (is_file and post.ready_at is not None):
        raise ApiError("publish_not_cancellable", "The post can no longer be cancelled.")
    world.progress.fail(post, "publish_cancelled")
    return success(None)


async def list_videos(world: World, request: Request) -> Response:
    """List the caller's public posts, newest first."""
    user = authorise(world, request, "video_list", "video.list")
    body = await json_of(request)
    fields = request.query_params.get("fields", "").split(",")
    if not set(fields) <= set(_VIDEO_FIELDS):
        raise ApiError("invalid_params", f"The fields must be among {', '.join(_VIDEO_FIELDS)}.")
    count, cursor = body.get("max_count", 10), body.get("cursor")
    if not isinstance(count, int) or not 1 <= count <= _MAX_PAGE or not isinstance(cursor, int | None):
        raise ApiError("invalid_params", "max_count must be 1 to 20 and cursor a number.")
    world.progress.advance_all()
    videos = [video for video in _videos_of(world, user) if cursor is None or video[0] < cursor]
    page = videos[:count]
    return success(
        {
            "videos": [{name: video[name] for name in fields} for _, video in page],
            "cursor": page[-1][0] if page else 0,
            "has_more": len(videos) > count,
        }
    )


def _videos_of(world: World, user: User) -> list[tuple[int, dict[str, Any]]]:
    videos = []
    for post in world.state.posts_of.get(user.name, []):
        kind = "photo" if post.mode == "photo" else "video"
        moment = post.settled_at or post.created_at
        for post_id in post.post_ids:
            video = {
                "id": str(post_id),
                "title": post.title,
                "video_description": post.title,
                "create_time": int(moment),
                "share_url": f"https://www.tiktok.com/@{user.username}/{kind}/{post_id}",
                "duration": 15,
            }
            videos.append((int(moment * 1000), video))
    return sorted(videos, key=lambda video: video[0], reverse=True)
