"""What a platform takes: every broken limit is named at once, each with the way to mend it."""

from dataclasses import replace
from typing import Any

import pytest

from daemon.domain.media import MediaFacts, MediaLimits, compare_with_limits

LIMITS = MediaLimits(
    source="https://developers.tiktok.com/doc/content-posting-api-media-transfer-guide",
    as_of="2026-10-01",
    containers=("mp4", "mov", "webm"),
    video_codecs=("h264", "h265", "vp8", "vp9"),
    fps_min=23,
    fps_max=60,
    side_min=360,
    side_max=4096,
    size_max=4_000_000_000,
    duration_max_s=600,
)
GOOD = MediaFacts(
    name="clip.mp4",
    size=98_000_000,
    sha256="0" * 64,
    identity="1:2:3:4:5",
    container="mp4",
    mime_type="video/mp4",
    video_codec="h264",
    audio_codec="aac",
    width=1080,
    height=1920,
    duration_s=30,
    fps=30,
    fps_max=30,
    pixel_format="yuv420p",
)


def codes(creator_max_s: float | None = None, **changes: Any) -> list[str]:
    return [problem.code for problem in compare_with_limits(replace(GOOD, **changes), LIMITS, creator_max_s)]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="an ordinary clip"),
        pytest.param({"audio_codec": None}, id="silent"),
        pytest.param({"container": "webm", "video_codec": "vp9"}, id="webm"),
        pytest.param({"width": 360, "height": 4096}, id="both sides at the edge"),
        pytest.param({"fps": 23, "fps_max": 60}, id="both rates at the edge"),
        pytest.param({"fps": 59.94, "fps_max": 60.04}, id="a peak within the rounding"),
        pytest.param({"size": 4_000_000_000}, id="the largest file"),
        pytest.param({"duration_s": 600.04}, id="ten minutes and one frame"),
    ],
)
def test_a_file_within_the_limits_has_no_problem(changes: dict[str, Any]) -> None:
    assert codes(**changes) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"container": "matroska"}, "container", id="container"),
        pytest.param({"video_codec": "av1"}, "video_codec", id="codec"),
        pytest.param({"fps": 22.9, "fps_max": 22.9}, "frame_rate", id="too slow"),
        pytest.param({"fps": 120, "fps_max": 120}, "frame_rate", id="too fast"),
        pytest.param({"fps": 30, "fps_max": 120}, "frame_rate", id="a spike in a variable rate"),
        pytest.param({"width": 359}, "picture_size", id="too narrow"),
        pytest.param({"height": 4097}, "picture_size", id="too high"),
        pytest.param({"size": 4_000_000_001}, "file_size", id="too large"),
        pytest.param({"duration_s": 600.1}, "duration", id="too long"),
    ],
)
def test_each_broken_limit_is_named(changes: dict[str, Any], code: str) -> None:
    assert codes(**changes) == [code]


def test_the_creator_may_be_allowed_less_than_the_platform() -> None:
    assert codes(creator_max_s=60, duration_s=61) == ["duration"]


def test_the_creator_is_never_allowed_more_than_the_platform() -> None:
    assert codes(creator_max_s=3600, duration_s=700) == ["duration"]


def test_all_problems_are_named_at_once_and_each_has_a_hint() -> None:
    bad = replace(
        GOOD,
        container="avi",
        video_codec="mpeg4",
        fps=10,
        fps_max=10,
        width=320,
        size=5_000_000_000,
        duration_s=900,
    )

    problems = compare_with_limits(bad, LIMITS)

    assert [problem.code for problem in problems] == [
        "container",
        "video_codec",
        "frame_rate",
        "picture_size",
        "file_size",
        "duration",
    ]
    assert all(problem.hint.startswith("ffmpeg -i clip.mp4 ") for problem in problems)
