"""What TikTok allows, as data and pure checks: texts, privacy, disclosure and the creator's own switches."""

from adapters.tiktok.errors import MT
from adapters.tiktok.metadata import caption, photo_texts, units
from daemon.domain.account import Creator
from daemon.domain.errors import Problem
from daemon.domain.media import MediaFacts, MediaLimits
from daemon.domain.post import Description, Kind, Mode

PRIVACY_LEVELS = ("PUBLIC_TO_EVERYONE", "MUTUAL_FOLLOW_FRIENDS", "FOLLOWER_OF_CREATOR", "SELF_ONLY")  # DP
CAPTION_UNITS_MAX = 2200  # DP
PHOTO_TITLE_UNITS_MAX = 90  # PH
PHOTO_TEXT_UNITS_MAX = 4000  # PH
_SLACK_S = 0.05  # containers round durations

LIMITS = MediaLimits(
    source=MT,
    as_of="2026-11",
    containers=("mp4", "mov", "webm"),
    video_codecs=("h264", "hevc", "vp8", "vp9"),
    fps_min=23.0,
    fps_max=60.0,
    side_min=360,
    side_max=4096,
    size_max=4_000_000_000,
    duration_max_s=600.0,
)

Found = tuple[tuple[str, Problem], ...]


def check_description(description: Description, mode: Mode, kind: Kind) -> Found:
    """Return what TikTok would refuse in the description whoever the creator is (DP, PH, CG)."""
    found: list[tuple[str, Problem]] = []
    if kind is Kind.PHOTO:
        found += _photo_texts(description)
    elif mode is Mode.DIRECT:
        found += _too_long("title", caption(description), CAPTION_UNITS_MAX, "the caption with its hashtags")
    if mode is Mode.INBOX:
        return tuple(found)  # everything else is for the creator to choose in the app (UP)
    found += _privacy(description)
    if kind is Kind.PHOTO and description.is_aigc:
        problem = Problem(
            "not_for_photos",
            "TikTok takes no AI label for photos, so it would be lost without a word",
            "say it in the text, or use mode inbox and set it in the app",
        )
        found.append(("is_aigc", problem))
    return tuple(found)


def _too_long(field: str, text: str, longest: int, what: str) -> Found:
    length = units(text)
    if length <= longest:
        return ()
    message = f"{what}: {length} UTF-16 units, TikTok takes {longest}"
    return ((field, Problem("too_long", message, f"shorten it by {length - longest} (an emoji counts 2)")),)


def _photo_texts(description: Description) -> Found:
    title, text = photo_texts(description)
    return (
        *_too_long("title", title, PHOTO_TITLE_UNITS_MAX, "the title of a photo post"),
        *_too_long("text", text, PHOTO_TEXT_UNITS_MAX, "the text with its hashtags"),
    )


def _privacy(description: Description) -> Found:
    # CG: the level is chosen by the person, with no default; branded content cannot be private.
    levels = ", ".join(PRIVACY_LEVELS)
    if not description.privacy:
        problem = Problem("privacy_required", "a direct post needs a privacy level", f"one of {levels}")
    elif description.privacy not in PRIVACY_LEVELS:
        problem = Problem(
            "privacy_unknown", f"TikTok has no privacy level {description.privacy}", f"one of {levels}"
        )
    elif description.brand_content and description.privacy == "SELF_ONLY":
        problem = Problem(
            "branded_content_is_private",
            "branded content cannot be visible to its creator only",
            "choose another privacy level, or leave brand_content out",
        )
    else:
        return ()
    return (("privacy", problem),)


def check_creator(creator: Creator, description: Description, mode: Mode, facts: MediaFacts | None) -> Found:
    """Return what this creator's own settings forbid now (CI). Inbox drafts are finished in the app."""
    if mode is Mode.INBOX:
        return ()
    found: list[tuple[str, Problem]] = []
    if description.privacy not in creator.privacy_options:
        offered = ", ".join(creator.privacy_options) or "nothing"
        message = f"{description.privacy} is not open to @{creator.username} now"
        found.append(("privacy", Problem("privacy_not_offered", message, f"TikTok offers {offered}")))
    switches = (
        ("allow_comment", description.allow_comment, creator.comment_disabled),
        ("allow_duet", description.allow_duet, creator.duet_disabled),
        ("allow_stitch", description.allow_stitch, creator.stitch_disabled),
    )
    found += [
        (name, Problem("disabled_by_creator", f"the account's settings rule out {name}", f"leave {name} out"))
        for name, is_wanted, is_disabled in switches
        if is_wanted and is_disabled
    ]
    longest = creator.duration_max_s
    if facts is not None and 0 < longest < facts.duration_s - _SLACK_S:
        message = f"{facts.duration_s:.1f} s is longer than the {longest} s open to @{creator.username}"
        found.append(("media", Problem("duration", message, f"cut the video to {longest} s")))
    return tuple(found)
