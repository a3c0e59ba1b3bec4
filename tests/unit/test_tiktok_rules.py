"""What TikTok allows, checked before anything is sent."""

from dataclasses import replace

import pytest

from adapters.tiktok.rules import LIMITS, PRIVACY_LEVELS, check_creator, check_description
from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.uploader import TikTokUploader
from daemon.domain.account import Creator
from daemon.domain.media import MediaFacts, compare_with_limits
from daemon.domain.platform import Endpoint, Rate
from daemon.domain.post import Description, Kind, Mode
from daemon.ports import Clock, PlatformUploader
from tests.unit.test_tiktok_metadata import FACTS, FrozenClock

SAID = Description(title="T", privacy="SELF_ONLY")
CREATOR = Creator(
    username="ann", nickname="Ann", privacy_options=("PUBLIC_TO_EVERYONE", "SELF_ONLY"),
    comment_disabled=False, duet_disabled=True, stitch_disabled=True, duration_max_s=60,
)  # fmt: skip


def uploader(settings: TikTokSettings | None = None) -> TikTokUploader:
    clock: Clock = FrozenClock()
    return TikTokUploader(settings or TikTokSettings(), clock)


def test_it_is_a_platform_uploader() -> None:
    found: PlatformUploader = uploader()

    assert found.name == "tiktok"
    assert found.rates == {
        Endpoint.CREATOR: Rate(20, 60.0), Endpoint.INIT: Rate(6, 60.0), Endpoint.STATUS: Rate(30, 60.0),
    }  # fmt: skip
    assert found.limits.source.startswith("https://developers.tiktok.com/")


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        pytest.param(SAID, Kind.VIDEO, [], id="fine"),
        pytest.param(replace(SAID, title="x" * 2200), Kind.VIDEO, [], id="longest caption"),
        pytest.param(replace(SAID, title="x" * 2201), Kind.VIDEO, [("title", "too_long")], id="caption"),
        pytest.param(replace(SAID, title="🎬" * 1101), Kind.VIDEO, [("title", "too_long")], id="emoji"),
        pytest.param(
            replace(SAID, title="x" * 2197, hashtags=("abc",)), Kind.VIDEO, [("title", "too_long")],
            id="hashtags count",
        ),
        pytest.param(replace(SAID, title="x" * 90), Kind.PHOTO, [], id="longest photo title"),
        pytest.param(replace(SAID, title="x" * 91), Kind.PHOTO, [("title", "too_long")], id="photo title"),
        pytest.param(replace(SAID, text="x" * 4001), Kind.PHOTO, [("text", "too_long")], id="photo text"),
        pytest.param(replace(SAID, is_aigc=True), Kind.PHOTO, [("is_aigc", "not_for_photos")], id="ai photo"),
        pytest.param(
            replace(SAID, privacy=None), Kind.VIDEO, [("privacy", "privacy_required")], id="no privacy"
        ),
        pytest.param(replace(SAID, privacy="public"), Kind.VIDEO, [("privacy", "privacy_unknown")], id="word"),
        pytest.param(
            replace(SAID, brand_content=True), Kind.VIDEO, [("privacy", "branded_content_is_private")],
            id="private advertisement",
        ),
        pytest.param(replace(SAID, brand_organic=True), Kind.VIDEO, [], id="own brand may be private"),
    ],
)  # fmt: skip
def test_a_direct_post_is_checked_against_tiktoks_rules(
    said: Description, kind: Kind, expected: list[tuple[str, str]]
) -> None:
    found = check_description(said, Mode.DIRECT, kind)

    assert [(name, problem.code) for name, problem in found] == expected
    assert all(problem.hint for _, problem in found)


@pytest.mark.parametrize("level", PRIVACY_LEVELS)
def test_every_privacy_level_of_tiktok_is_known(level: str) -> None:
    assert check_description(replace(SAID, privacy=level), Mode.DIRECT, Kind.VIDEO) == ()


def test_an_inbox_draft_needs_nothing() -> None:
    assert check_description(Description(title="x" * 3000), Mode.INBOX, Kind.VIDEO) == ()
    assert check_creator(CREATOR, Description(), Mode.INBOX, FACTS) == ()


@pytest.mark.parametrize(
    ("said", "facts", "expected"),
    [
        pytest.param(SAID, FACTS, [], id="fine"),
        pytest.param(SAID, None, [], id="pulled"),
        pytest.param(replace(SAID, allow_comment=True), FACTS, [], id="comments are open"),
        pytest.param(
            replace(SAID, privacy="FOLLOWER_OF_CREATOR"), FACTS, [("privacy", "privacy_not_offered")],
            id="not offered",
        ),
        pytest.param(
            replace(SAID, privacy=None), FACTS, [("privacy", "privacy_not_offered")], id="none given"
        ),
        pytest.param(
            replace(SAID, allow_duet=True, allow_stitch=True), FACTS,
            [("allow_duet", "disabled_by_creator"), ("allow_stitch", "disabled_by_creator")],
            id="switched off",
        ),
        pytest.param(SAID, replace(FACTS, duration_s=60.04), [], id="as long as allowed"),
        pytest.param(SAID, replace(FACTS, duration_s=60.1), [("media", "duration")], id="too long"),
    ],
)  # fmt: skip
def test_a_post_is_checked_against_what_the_creator_allows_now(
    said: Description, facts: MediaFacts | None, expected: list[tuple[str, str]]
) -> None:
    found = check_creator(CREATOR, said, Mode.DIRECT, facts)

    assert [(name, problem.code) for name, problem in found] == expected


def test_an_unknown_longest_duration_forbids_nothing() -> None:
    assert check_creator(replace(CREATOR, duration_max_s=0), SAID, Mode.DIRECT, FACTS) == ()


def test_an_ordinary_clip_is_within_the_limits() -> None:
    assert compare_with_limits(FACTS, LIMITS) == ()


def test_each_mode_has_its_scope() -> None:
    assert uploader().scope_for(Mode.DIRECT) == "video.publish"
    assert uploader().scope_for(Mode.INBOX) == "video.upload"


@pytest.mark.parametrize(
    ("key", "secret", "is_configured"), [(None, None, False), ("k", None, False), ("k", "s", True)]
)
def test_it_is_configured_with_a_key_and_a_secret(
    key: str | None, secret: str | None, is_configured: bool
) -> None:
    found = uploader(TikTokSettings(client_key=key, client_secret=secret))

    assert found.is_configured() is is_configured
    assert "client_key" in found.advice_if_not_configured()


def test_a_post_has_a_public_address_by_its_kind() -> None:
    assert uploader().post_url("@ann", "76", Kind.VIDEO) == "https://www.tiktok.com/@ann/video/76"
    assert uploader().post_url("a/b", "76", Kind.PHOTO) == "https://www.tiktok.com/@a%2Fb/photo/76"
