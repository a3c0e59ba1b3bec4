"""A description in TikTok's words."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tiktok.metadata import caption, units
from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.uploader import TikTokUploader
from daemon.domain.errors import PlatformError
from daemon.domain.media import MediaFacts
from daemon.domain.platform import InitRequest, Plan, PostOrder
from daemon.domain.post import Description, Kind, Mode, Source

FACTS = MediaFacts(
    name="clip.mp4", size=64_000_001, sha256="", identity="", container="mp4", mime_type="video/mp4",
    video_codec="h264", audio_codec=None, width=1080, height=1920, duration_s=10.0, fps=30.0, fps_max=30.0,
    pixel_format="yuv420p",
)  # fmt: skip
SAID = Description(title="Hällo 🎬", privacy="SELF_ONLY", allow_duet=True, cover_ms=1500, is_aigc=True)
VIDEO = PostOrder(mode=Mode.DIRECT, kind=Kind.VIDEO, source=Source.FILE, description=SAID, facts=FACTS)
PHOTOS = PostOrder(
    mode=Mode.DIRECT,
    kind=Kind.PHOTO,
    source=Source.URL,
    description=replace(SAID, text="A text", hashtags=("one",), auto_music=True, photo_cover=1),
    urls=("https://m.example/1.jpg", "https://m.example/2.jpg"),
)
FILE_INFO = {
    "source": "FILE_UPLOAD", "video_size": 64000001, "chunk_size": 10000000, "total_chunk_count": 6,
}  # fmt: skip


class FrozenClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 5, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def prepare(order: PostOrder) -> InitRequest:
    return TikTokUploader(TikTokSettings(), FrozenClock()).prepare(order)


def body(order: PostOrder) -> dict[str, Any]:
    return json.loads(prepare(order).body)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        pytest.param(Description(), "", id="nothing"),
        pytest.param(Description(title="T"), "T", id="title"),
        pytest.param(Description(title="T", expression="E"), "T", id="title before expression"),
        pytest.param(Description(expression="E"), "E", id="expression"),
        pytest.param(Description(title="T", hashtags=("a", "#b")), "T #a #b", id="hashtags"),
        pytest.param(Description(title="T #A", hashtags=("a", "b", "B")), "T #A #b", id="already there"),
        pytest.param(Description(title="T #ab", hashtags=("a",)), "T #ab #a", id="a longer one is another"),
        pytest.param(Description(hashtags=("a",)), "#a", id="hashtags only"),
    ],
)
def test_a_caption_is_the_title_and_the_hashtags_not_yet_in_it(said: Description, text: str) -> None:
    assert caption(said) == text


@pytest.mark.parametrize(("text", "length"), [("", 0), ("aä€", 3), ("🎬", 2), ("👩‍🚀", 5), ("\ud83d", 1)])
def test_length_is_counted_in_utf16_units(text: str, length: int) -> None:
    assert units(text) == length


@given(st.text())
def test_a_text_of_the_basic_plane_counts_its_letters_and_others_twice(text: str) -> None:
    assert units(text) == sum(1 + (ord(letter) > 0xFFFF) for letter in text)


def test_a_direct_video_says_everything_and_turns_allowing_into_disabling() -> None:
    request = prepare(VIDEO)

    assert request.endpoint == "/v2/post/publish/video/init/"
    assert request.plan == Plan(64000001, 10000000, 6)
    assert json.loads(request.body) == {
        "post_info": {
            "title": "Hällo 🎬",
            "privacy_level": "SELF_ONLY",
            "disable_comment": True,
            "disable_duet": False,
            "disable_stitch": True,
            "video_cover_timestamp_ms": 1500,
            "brand_content_toggle": False,
            "brand_organic_toggle": False,
            "is_aigc": True,
        },
        "source_info": FILE_INFO,
    }


def test_a_body_is_compact_utf8_and_its_hash_covers_the_endpoint_too() -> None:
    request = prepare(VIDEO)

    assert "Hällo 🎬" in request.body
    assert ": " not in request.body
    assert request.body_hash == hashlib.sha256((request.endpoint + request.body).encode()).hexdigest()
    assert prepare(VIDEO) == request


@given(st.text(st.characters(categories=["Cs", "L", "So"])))
def test_any_title_makes_a_body_that_can_be_sent_and_read_back(title: str) -> None:
    order = replace(VIDEO, description=replace(SAID, title=title + "x"))

    assert json.loads(prepare(order).body.encode())["post_info"]["title"] == title + "x"


def test_an_empty_caption_and_no_privacy_are_left_out() -> None:
    info = body(replace(VIDEO, description=Description()))["post_info"]

    assert not {"title", "privacy_level", "video_cover_timestamp_ms"} & set(info)


def test_an_inbox_draft_carries_the_source_only() -> None:
    order = replace(VIDEO, mode=Mode.INBOX)

    assert prepare(order).endpoint == "/v2/post/publish/inbox/video/init/"
    assert body(order) == {"source_info": FILE_INFO}


def test_a_pulled_video_has_an_address_and_no_plan() -> None:
    order = replace(VIDEO, source=Source.URL, facts=None, urls=("https://m.example/v.mp4",))

    assert prepare(order).plan is None
    assert body(order)["source_info"] == {
        "source": "PULL_FROM_URL", "video_url": "https://m.example/v.mp4",
    }  # fmt: skip


def test_direct_photos_put_the_hashtags_into_the_text() -> None:
    request = prepare(PHOTOS)

    assert (request.endpoint, request.plan) == ("/v2/post/publish/content/init/", None)
    assert json.loads(request.body) == {
        "media_type": "PHOTO",
        "post_mode": "DIRECT_POST",
        "post_info": {
            "title": "Hällo 🎬",
            "description": "A text #one",
            "privacy_level": "SELF_ONLY",
            "disable_comment": True,
            "auto_add_music": True,
            "brand_content_toggle": False,
            "brand_organic_toggle": False,
        },
        "source_info": {
            "source": "PULL_FROM_URL",
            "photo_images": ["https://m.example/1.jpg", "https://m.example/2.jpg"],
            "photo_cover_index": 1,
        },
    }


def test_photo_drafts_say_nothing_that_the_creator_decides_in_the_app() -> None:
    content = body(replace(PHOTOS, mode=Mode.INBOX))

    assert content["post_mode"] == "MEDIA_UPLOAD"
    assert not {"privacy_level", "disable_comment", "auto_add_music"} & set(content["post_info"])


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (replace(VIDEO, facts=None), "no_media"),
        (replace(VIDEO, source=Source.URL), "no_media"),
        (replace(PHOTOS, urls=()), "photos_need_addresses"),
        (replace(PHOTOS, source=Source.FILE), "photos_need_addresses"),
        (replace(VIDEO, facts=replace(FACTS, size=0)), "file_size"),
    ],
)
def test_an_order_that_cannot_be_sent_is_refused(order: PostOrder, code: str) -> None:
    with pytest.raises(PlatformError) as caught:
        prepare(order)

    assert caught.value.code == code
