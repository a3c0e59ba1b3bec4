"""A neutral description in TikTok's words: captions, post_info and source_info (DP, UP, PH)."""

import hashlib
import json
from typing import Any

from adapters.tiktok.chunks import plan
from adapters.tiktok.settings import TikTokSettings
from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import InitRequest, Plan, PostOrder
from daemon.domain.post import Description, Kind, Mode, Source

DIRECT_VIDEO = "/v2/post/publish/video/init/"
INBOX_VIDEO = "/v2/post/publish/inbox/video/init/"
PHOTO = "/v2/post/publish/content/init/"


def units(text: str) -> int:
    """Return the length as TikTok counts it, in UTF-16 code units: most emoji are two (DP)."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def with_hashtags(text: str, hashtags: tuple[str, ...], said: str = "") -> str:
    """Return the text followed by the hashtags that stand neither in it nor in `said`, each once."""
    words = [text] if text else []
    seen = {word.casefold() for word in f"{said} {text}".split()}
    for hashtag in hashtags:
        tag = "#" + hashtag.lstrip("#")
        if tag != "#" and tag.casefold() not in seen:
            seen.add(tag.casefold())
            words.append(tag)
    return " ".join(words)


def caption(description: Description) -> str:
    """Return a video's caption: the title (or what the clip is about) and the hashtags."""
    return with_hashtags(_headline(description), description.hashtags)


def photo_texts(description: Description) -> tuple[str, str]:
    """Return a photo post's title and text; the hashtags go to the text, where there is room for them."""
    title = _headline(description)
    return title, with_hashtags(description.text or "", description.hashtags, said=title)


def prepare(order: PostOrder, settings: TikTokSettings) -> InitRequest:
    """Return the init call for an order: endpoint, exact body, and sha256 over both (rule R9).

    Raises PlatformError(content): file_size, no_media, photos_need_addresses.
    """
    if order.kind is Kind.PHOTO:
        return _request(PHOTO, _photo(order), None)
    source, cut = _video_source(order, settings)
    if order.mode is Mode.INBOX:
        return _request(INBOX_VIDEO, {"source_info": source}, cut)
    return _request(DIRECT_VIDEO, {"post_info": _video_info(order.description), "source_info": source}, cut)


def _headline(description: Description) -> str:
    return (description.title or description.expression or "").strip()


def _request(endpoint: str, content: dict[str, Any], cut: Plan | None) -> InitRequest:
    # A lone surrogate cannot be written as UTF-8; escaped, as JSON allows, it can.
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    if not _is_encodable(body):
        body = json.dumps(content, separators=(",", ":"))
    digest = hashlib.sha256((endpoint + body).encode()).hexdigest()
    return InitRequest(endpoint=endpoint, body=body, body_hash=digest, plan=cut)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _brand(description: Description) -> dict[str, bool]:
    # DP and PH mark both as required, though their examples omit them: so both are always there.
    return {
        "brand_content_toggle": description.brand_content,
        "brand_organic_toggle": description.brand_organic,
    }


def _video_info(description: Description) -> dict[str, Any]:
    info: dict[str, Any] = {}
    if title := caption(description):
        info["title"] = title
    if description.privacy is not None:
        info["privacy_level"] = description.privacy
    info["disable_comment"] = not description.allow_comment
    info["disable_duet"] = not description.allow_duet
    info["disable_stitch"] = not description.allow_stitch
    if description.cover_ms is not None:
        info["video_cover_timestamp_ms"] = description.cover_ms
    return info | _brand(description) | {"is_aigc": description.is_aigc}


def _video_source(order: PostOrder, settings: TikTokSettings) -> tuple[dict[str, Any], Plan | None]:
    if order.source is Source.URL:
        if not order.urls:
            raise PlatformError(Fault.CONTENT, "no_media", "the order names no address")
        return {"source": "PULL_FROM_URL", "video_url": order.urls[0]}, None
    if order.facts is None:
        raise PlatformError(Fault.CONTENT, "no_media", "the order names no file")
    cut = plan(order.facts.size, settings)
    return {
        "source": "FILE_UPLOAD",
        "video_size": cut.size,
        "chunk_size": cut.chunk_size,
        "total_chunk_count": cut.count,
    }, cut


def _photo(order: PostOrder) -> dict[str, Any]:
    if order.source is not Source.URL or not order.urls:
        raise PlatformError(
            Fault.CONTENT,
            "photos_need_addresses",
            "TikTok takes photos only from addresses, never from files",
        )
    description = order.description
    title, text = photo_texts(description)
    info: dict[str, Any] = {}
    if title:
        info["title"] = title
    if text:
        info["description"] = text
    if order.mode is Mode.DIRECT:
        if description.privacy is not None:
            info["privacy_level"] = description.privacy
        info["disable_comment"] = not description.allow_comment
        info["auto_add_music"] = description.auto_music
    return {
        "media_type": "PHOTO",
        "post_mode": "DIRECT_POST" if order.mode is Mode.DIRECT else "MEDIA_UPLOAD",
        "post_info": info | _brand(description),
        "source_info": {
            "source": "PULL_FROM_URL",
            "photo_images": list(order.urls),
            "photo_cover_index": description.photo_cover,
        },
    }
