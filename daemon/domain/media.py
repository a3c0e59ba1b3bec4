"""What is known of a media file, what a platform allows, and the comparison of the two."""

import re
import shlex
from dataclasses import dataclass
from typing import Any

from daemon.domain.errors import Problem

PEAK_ALLOWANCE = 1.25
STORED_NAME = re.compile(r"([0-9a-f]{64})\.[0-9a-z]{2,4}")  # of a file in the media store: its SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """Facts read from one regular file inside a media root. Sizes in bytes and pixels, durations in seconds."""

    name: str  # as the caller wrote it
    size: int
    sha256: str
    identity: str  # device, inode, size, mtime and ctime: equal means that nobody has written since
    container: str
    mime_type: str
    video_codec: str
    audio_codec: str | None
    width: int  # as shown, rotation applied
    height: int
    duration_s: float
    fps: float
    fps_max: float
    pixel_format: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {field: getattr(self, field) for field in MediaFacts.__dataclass_fields__}


def stored_hash(name: str) -> str | None:
    """Return the SHA-256 that a file of the media store is named by; None for the name of any other file."""
    found = STORED_NAME.fullmatch(name.rpartition("/")[2])
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """A file of the media store: its name is what a post calls it. `is_new`: it was not there before."""

    facts: MediaFacts
    is_new: bool


@dataclass(frozen=True, slots=True)
class UploadState:
    """How much of an upload is here, in bytes; `media` is the file's name once it is complete."""

    received: int
    size: int | None
    media: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """What a platform takes, as data. `source` names the page that says so, `as_of` when it was read."""

    source: str
    as_of: str
    containers: tuple[str, ...]
    video_codecs: tuple[str, ...]
    fps_min: float
    fps_max: float
    side_min: int
    side_max: int
    size_max: int
    duration_max_s: float


def compare_with_limits(
    facts: MediaFacts, limits: MediaLimits, creator_max_s: float | None = None
) -> tuple[Problem, ...]:
    """Return every way in which the file breaks the limits, each with a hint how to mend it."""
    longest = min(limits.duration_max_s, creator_max_s or limits.duration_max_s)
    name = shlex.quote(facts.name)
    rows = (
        (
            facts.container not in limits.containers,
            Problem(
                "container",
                f"{facts.container} is not one of {', '.join(limits.containers)}",
                f"ffmpeg -i {name} -c copy out.mp4",
            ),
        ),
        (
            facts.video_codec not in limits.video_codecs,
            Problem(
                "video_codec",
                f"{facts.video_codec} is not one of {', '.join(limits.video_codecs)}",
                f"ffmpeg -i {name} -c:v libx264 -pix_fmt yuv420p out.mp4",
            ),
        ),
        (
            # Spikes of a variable rate are what gets punished, but a phone's honest 60 has peaks of 70.
            not limits.fps_min - 0.05 <= facts.fps <= limits.fps_max + 0.05
            or facts.fps_max > limits.fps_max * PEAK_ALLOWANCE,
            Problem(
                "frame_rate",
                f"{facts.fps:g} frames a second (peak {facts.fps_max:g}) is not within "
                f"{limits.fps_min:g} to {limits.fps_max:g}",
                f"ffmpeg -i {name} -r 30 out.mp4",
            ),
        ),
        (
            not all(limits.side_min <= side <= limits.side_max for side in (facts.width, facts.height)),
            Problem(
                "picture_size",
                f"{facts.width}x{facts.height}: each side must be {limits.side_min} to {limits.side_max} pixels",
                f"ffmpeg -i {name} -vf scale=1080:1920 out.mp4",
            ),
        ),
        (
            facts.size > limits.size_max,
            Problem(
                "file_size",
                f"{facts.size} bytes is more than {limits.size_max}",
                f"ffmpeg -i {name} -b:v 8M out.mp4",
            ),
        ),
        (
            facts.duration_s > longest + 0.05,
            Problem(
                "duration",
                f"{facts.duration_s:.1f} s is longer than the {longest:g} s allowed here",
                f"ffmpeg -i {name} -t {longest:g} -c copy out.mp4",
            ),
        ),
    )
    return tuple(problem for broken, problem in rows if broken)
