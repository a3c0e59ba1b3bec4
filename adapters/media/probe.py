"""Looks into a media file through a short-lived child process with limits on memory, time and files."""

import json
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.media.refusals import refused, shutting_down, unreadable, unreadable_now

_PROGRAM = Path(__file__).with_name("probe_child.py")
_STEP_S = 0.2  # how soon a stopping daemon lets go of the child
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What is in the file, in neutral words."""

    video_codec: str
    audio_codec: str | None
    pixel_format: str
    width: int
    height: int
    fps: float
    fps_max: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Starts the child, with these limits."""

    timeout_s: float
    memory_mb: int
    stopping: threading.Event

    def look(self, fd: int, demuxer: str, name: str) -> Streams:
        """Return what is in the open file. Raises Rejected: `unreadable`, `no_video`, or shutting_down."""
        output = self._run(fd, demuxer, name)
        hint = f"ffmpeg -i {shlex.quote(name)} -c:v libx264 -c:a aac out.mp4"
        try:
            found = json.loads(output)
            if found.get("error"):
                raise unreadable(name, str(found["error"]), hint)
            if found["video_codec"] is None:
                raise refused(name, "no_video", "has no video in it", "photos are named in args.photos")
            return _streams(found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise unreadable(name, "the check broke down over it", hint) from error

    def _run(self, fd: int, demuxer: str, name: str) -> bytes:
        command = [sys.executable, "-I", "-B", str(_PROGRAM), str(fd), demuxer]
        try:
            process = subprocess.Popen(
                [*command, str(self.memory_mb), str(self.timeout_s)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(fd,),
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise unreadable_now(name, error, "the check could not be started: ") from error
        with process:
            try:
                output = self._wait(process, name)
            finally:
                process.kill()
        if process.returncode:
            raise unreadable(name, f"the check broke down over it (status {process.returncode})")
        return output

    def _wait(self, process: subprocess.Popen[bytes], name: str) -> bytes:
        deadline = time.monotonic() + self.timeout_s
        while True:
            if self.stopping.is_set():
                raise shutting_down()
            left = deadline - time.monotonic()
            try:
                return process.communicate(timeout=max(0.0, min(_STEP_S, left)))[0]
            except subprocess.TimeoutExpired:
                if left <= 0:
                    raise unreadable(name, f"the check took longer than {self.timeout_s:g} s") from None


def _streams(found: dict[str, Any]) -> Streams:
    audio = found["audio_codec"]
    return Streams(
        video_codec=str(found["video_codec"]),
        audio_codec=None if audio is None else str(audio),
        pixel_format=str(found["pixel_format"]),
        width=int(found["width"]),
        height=int(found["height"]),
        fps=float(found["fps"]),
        fps_max=float(found["fps_max"]),
        duration_s=float(found["duration_s"]),
    )
