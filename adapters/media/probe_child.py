"""The program that looks into a media file: a process of its own, because the file may be hostile.

It is started by path, not imported, and needs nothing of tokd: PyAV and the standard library only.
"""

import json
import math
import resource
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MOST_PACKETS = 100_000  # 27 minutes at 60 frames a second
_CODECS = {"hevc": "h265"}
_FINE = 8  # ticks: an interval of at least so many is taken for rounded, a shorter one for exact


def main(arguments: list[str]) -> int:
    """Print the facts of the file on descriptor arguments[0] as one JSON object, or {"error": why}."""
    descriptor, demuxer, memory_mb, seconds = arguments
    _limit(int(memory_mb), math.ceil(float(seconds)))
    try:
        found = _look(int(descriptor), demuxer, time.monotonic() + float(seconds) / 2)
    except Exception as error:  # noqa: BLE001 - whatever a hostile file provokes is the answer about that file
        found = {"error": f"{type(error).__name__}: {error}"[:300]}
    sys.stdout.write(json.dumps(found))
    return 0


def _limit(memory_mb: int, seconds: int) -> None:
    wanted = {
        resource.RLIMIT_AS: memory_mb * 1024 * 1024,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


def _look(descriptor: int, demuxer: str, deadline: float) -> dict[str, Any]:
    import av  # noqa: PLC0415 - only now do the limits hold

    with open(descriptor, "rb", buffering=0) as file:
        # A file object and a fixed demuxer: no protocol and no playlist can make it open anything else.
        container = av.open(file, mode="r", format=demuxer, buffer_size=256 * 1024)
        films = [
            each for each in container.streams.video if not each.disposition & each.disposition.attached_pic
        ]
        if not films:
            return {"video_codec": None}
        video = films[0]
        video.codec_context.thread_count = 1  # threads cost address space, and one picture needs none
        frame, times = _read(container, video, deadline)
        sounds = container.streams.audio
        sides = (frame.width, frame.height)
        is_turned = frame.rotation % 180 == 90  # noqa: PLR2004 - degrees
        tick = float(video.time_base or 0)
        average, peak = rates(times, tick) or (float(video.average_rate or 0),) * 2
        return {
            "video_codec": _codec(video),
            "audio_codec": _codec(sounds[0]) if sounds else None,
            "pixel_format": frame.format.name,
            "width": sides[is_turned],
            "height": sides[not is_turned],
            "fps": round(average, 3),
            "fps_max": round(peak, 3),
            "duration_s": round(_duration(container, times, tick), 3),
        }


def _codec(stream: "VideoStream | AudioStream") -> str:
    if stream.codec_context is None:  # one that the library has never heard of
        return "unknown"
    name = str(stream.codec_context.codec.canonical_name)
    return _CODECS.get(name, name)


def _read(
    container: "InputContainer", video: "VideoStream", deadline: float
) -> tuple["VideoFrame", list[int]]:
    """Return the first picture and the times of all: from the index where it is full, else by reading."""
    is_indexed = video.frames > 1 and len(video.index_entries) == video.frames
    times = [entry.timestamp for entry in video.index_entries] if is_indexed else []
    frame = None
    for packet in container.demux(video):
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None and not is_indexed:
            times.append(stamp)
        if frame is None:
            frame = next(iter(packet.decode()), None)
        is_enough = is_indexed or len(times) >= _MOST_PACKETS or time.monotonic() > deadline
        if frame is not None and is_enough:
            break
    if frame is None:
        raise ValueError("not one picture in it can be decoded")
    return frame, times


def rates(times: Iterable[int], tick: float) -> tuple[float, float] | None:
    """Return the average and the peak of the frames in a second, None where there are too few pictures.

    Times are whole ticks, so an interval can be off by less than one: 60 frames a second in milliseconds
    are 16, 17, 17, and must not count as a peak of 62.5.
    """
    ordered = sorted(set(times))
    if len(ordered) < 2 or tick <= 0:  # noqa: PLR2004 - one interval needs two pictures
        return None
    mean = (ordered[-1] - ordered[0]) / (len(ordered) - 1)
    shortest = min(later - earlier for earlier, later in pairwise(ordered))
    average = 1 / (mean * tick)
    if mean - shortest < 1:
        return average, average
    slack = 1 if shortest >= _FINE else 0
    return average, max(average, 1 / ((shortest + slack) * tick))


def _duration(container: "InputContainer", times: list[int], tick: float) -> float:
    if container.duration:
        return container.duration / 1_000_000
    return (max(times) - min(times)) * tick if times else 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
