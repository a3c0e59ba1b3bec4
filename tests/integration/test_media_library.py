"""The media library against real files: what it reads from them, and how it refuses what must not be posted."""

import contextlib
import hashlib
import os
import resource
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psutil
import pytest
import requests
from requests.utils import rewind_body

from adapters.media import MediaLibrary
from adapters.media.names import open_media
from adapters.media.outline import read_outline
from adapters.media.probe_child import rates
from adapters.scheduler import SystemClock
from daemon.domain.errors import Code, Rejected
from daemon.domain.media import MediaFacts

PICTURE = "testsrc2=size=540x960:rate=30"
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
LONG_AGO = 1_700_000_000


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=60)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of real clips, made once."""
    folder = tmp_path_factory.mktemp("clips")
    film = ("-f", "lavfi", "-i", PICTURE)
    sound = ("-f", "lavfi", "-i", "sine=frequency=440")
    mp4 = folder / "clip.mp4"
    ffmpeg(*film, *sound, "-t", "2", *FAST, "-c:a", "aac", mp4)
    ffmpeg("-i", mp4, "-c", "copy", folder / "clip.mov")
    ffmpeg("-i", mp4, "-c", "copy", "-movflags", "faststart", folder / "faststart.mp4")
    ffmpeg("-i", mp4, "-c", "copy", "-movflags", "frag_keyframe+empty_moov", folder / "fragments.mp4")
    ffmpeg("-i", mp4, "-c", "copy", "-metadata:s:v", "rotate=90", folder / "turned.mp4")
    ffmpeg("-i", mp4, "-c", "copy", folder / "clip.mkv")
    ffmpeg("-i", mp4, "-vn", "-c", "copy", folder / "sound.mp4")
    ffmpeg(
        *film, "-t", "0.5", "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", folder / "clip.webm"
    )
    smooth = "testsrc2=size=360x360:rate=60"
    ffmpeg(
        *("-f", "lavfi", "-i", smooth, "-t", "0.5", "-c:v", "libvpx-vp9", "-deadline", "realtime"),
        *("-cpu-used", "8", folder / "smooth.webm"),
    )
    ffmpeg(
        *film,
        "-t",
        "0.2",
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=none",
        folder / "hevc.mp4",
    )
    # 120 frames a second, of which the first ten stay and then every fifth: 24 a second with a spike at the start.
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=360x640:rate=120", "-t", "2"),
        *("-vf", "select='lt(n,10)+not(mod(n,5))'", "-vsync", "vfr", *FAST, folder / "spikes.mp4"),
    )
    return folder


@dataclass
class Shelf:
    """A media root of one test, beside a directory that is outside it."""

    clips: Path
    root: Path
    outside: Path
    stopping: threading.Event = field(default_factory=threading.Event)

    def put(self, clip: str, name: str = "") -> Path:
        """Copy a clip into the root, as old as a file that nobody writes any more."""
        path = self.root / (name or clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.clips / clip, path)
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def write(self, name: str, content: bytes) -> Path:
        path = self.root / name
        path.write_bytes(content)
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def library(self, *more_roots: Path, **options: object) -> MediaLibrary:
        options = {"stopping": self.stopping, "clock": SystemClock()} | options
        roots = (*more_roots, self.root)
        return MediaLibrary(roots, ("https://cdn.example.com/v/",), **options)  # type: ignore[arg-type]

    def refusal(self, name: str, **options: object) -> Rejected:
        """Return how inspect refuses the name, having made sure that recall is quiet about it."""
        library = self.library(**options)
        with pytest.raises(Rejected) as caught:
            library.inspect(name)
        assert library.recall(name) is None
        assert caught.value.field == "args.media"
        return caught.value

    def problem(self, name: str, **options: object) -> str:
        error = self.refusal(name, **options)
        assert error.code is Code.MEDIA_REJECTED
        (problem,) = error.problems
        return problem.code


@pytest.fixture
def shelf(clips: Path, tmp_path: Path) -> Shelf:
    root, outside = tmp_path / "root", tmp_path / "root-evil"
    root.mkdir()
    outside.mkdir()
    return Shelf(clips, root, outside)


class Meddler(threading.Event):
    """A stop event that is never set, and at whose nth question something happens to the file."""

    def __init__(self, deed: Callable[[], object], *, at_question: int = 1) -> None:
        super().__init__()
        self._deed = deed
        self._left = at_question

    def _ask(self) -> bool:
        self._left -= 1
        if self._left == 0:
            self._deed()
        return False

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        return self._ask()

    def is_set(self) -> bool:
        return self._ask()


@dataclass
class HeldClock:
    """A clock that stands."""

    seconds: float

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


class Waiting(threading.Event):
    """A stop event that is set from the second question on."""

    def __init__(self) -> None:
        super().__init__()
        self._questions = 0

    def is_set(self) -> bool:
        self._questions += 1
        return self._questions > 1


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


# What is read from good files.


def test_the_facts_of_an_mp4_are_read(shelf: Shelf) -> None:
    path = shelf.put("clip.mp4", "day one/clip ü.mp4")

    facts = shelf.library().inspect("day one/clip ü.mp4")

    assert facts == MediaFacts(
        name="day one/clip ü.mp4",
        size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        identity=facts.identity,
        container="mp4",
        mime_type="video/mp4",
        video_codec="h264",
        audio_codec="aac",
        width=540,
        height=960,
        duration_s=2.0,
        fps=30.0,
        fps_max=30.0,
        pixel_format="yuv420p",
    )


@pytest.mark.parametrize(
    ("clip", "container", "mime_type", "codec"),
    [
        pytest.param("clip.mov", "mov", "video/quicktime", "h264", id="mov"),
        pytest.param("clip.webm", "webm", "video/webm", "vp8", id="webm"),
        pytest.param("smooth.webm", "webm", "video/webm", "vp9", id="vp9"),
        pytest.param("clip.mkv", "matroska", "video/x-matroska", "h264", id="matroska"),
        pytest.param("faststart.mp4", "mp4", "video/mp4", "h264", id="index first"),
        pytest.param("fragments.mp4", "mp4", "video/mp4", "h264", id="fragments"),
        pytest.param("hevc.mp4", "mp4", "video/mp4", "h265", id="hevc"),
    ],
)
def test_containers_and_codecs_get_neutral_names(
    shelf: Shelf, clip: str, container: str, mime_type: str, codec: str
) -> None:
    shelf.put(clip, "clip")  # the ending of a name proves nothing

    facts = shelf.library().inspect("clip")

    assert (facts.container, facts.mime_type, facts.video_codec) == (container, mime_type, codec)
    assert facts.duration_s > 0


def test_rotation_turns_width_and_height(shelf: Shelf) -> None:
    shelf.put("turned.mp4")

    facts = shelf.library().inspect("turned.mp4")

    assert (facts.width, facts.height) == (960, 540)


def test_spikes_of_a_variable_frame_rate_show_as_the_peak(shelf: Shelf) -> None:
    shelf.put("spikes.mp4")

    facts = shelf.library().inspect("spikes.mp4")

    assert 24 <= facts.fps <= 30
    assert facts.fps_max == pytest.approx(120, rel=0.05)


def test_sixty_frames_in_whole_milliseconds_are_no_spike(shelf: Shelf) -> None:
    shelf.put("smooth.webm")

    facts = shelf.library().inspect("smooth.webm")

    assert facts.fps_max == pytest.approx(60, abs=0.3)


@pytest.mark.parametrize(
    ("times", "tick", "expected"),
    [
        pytest.param([0, 512, 1024], 1 / 15360, (30, 30), id="constant"),
        pytest.param([0, 33, 67, 100], 0.001, (30, 30), id="constant, rounded"),
        pytest.param([1024, 0, 512, 512], 1 / 15360, (30, 30), id="in coding order, one twice"),
        pytest.param([0, 4, 8, 9, 13], 1 / 120, (36.92, 120), id="a spike in coarse ticks"),
        pytest.param([0, 16, 56, 96], 0.001, (31.25, 58.82), id="60 for a moment, rounded down"),
        pytest.param([0, 1, 3, 4], 1 / 60, (45, 45), id="constant in coarse ticks"),
        pytest.param([0], 0.001, None, id="one picture"),
        pytest.param([], 0.001, None, id="none"),
    ],
)
def test_rates_allow_for_the_rounding_of_times(
    times: list[int], tick: float, expected: tuple[float, float] | None
) -> None:
    found = rates(times, tick)

    assert found == (None if expected is None else pytest.approx(expected, abs=0.01))


def test_a_name_may_be_an_absolute_path_inside_a_root(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")

    assert shelf.library().inspect(str(path)).name == str(path)


def test_the_first_root_that_has_the_name_wins(shelf: Shelf) -> None:
    shelf.put("clip.webm", "same")
    shutil.copy(shelf.clips / "clip.mov", shelf.outside / "same")
    os.utime(shelf.outside / "same", (LONG_AGO, LONG_AGO))

    facts = shelf.library(Path("/nonexistent"), shelf.outside).inspect("same")

    assert facts.container == "mov"


@pytest.mark.parametrize("name", ["link.webm", "folder/clip.webm", "real/../link.webm", "./real//clip.webm"])
def test_links_and_dots_that_stay_inside_the_root_are_followed(shelf: Shelf, name: str) -> None:
    shelf.put("clip.webm", "real/clip.webm")
    (shelf.root / "link.webm").symlink_to("real/clip.webm")
    (shelf.root / "folder").symlink_to(shelf.root / "real")
    library = shelf.library()

    facts = library.inspect(name)

    assert library.recall(name) == facts


def test_a_root_may_itself_be_a_link(shelf: Shelf) -> None:
    shelf.put("clip.webm")
    link = shelf.outside / "media"
    link.symlink_to(shelf.root)
    library = MediaLibrary((link,), (), clock=SystemClock(), stopping=shelf.stopping)

    for name in ("clip.webm", str(link / "clip.webm"), str(shelf.root / "clip.webm")):
        assert library.inspect(name).container == "webm"


# Names that lead elsewhere, and things that are no files.


@pytest.mark.parametrize("name", ["absent.mp4", "no/such/folder.mp4", "clip.webm/inside", "dangling", "loop"])
def test_a_missing_file_is_reported_with_the_roots_searched(shelf: Shelf, name: str) -> None:
    shelf.put("clip.webm")
    (shelf.root / "dangling").symlink_to("absent.mp4")
    (shelf.root / "loop").symlink_to("loop")

    error = shelf.refusal(name)

    assert error.code is Code.MEDIA_MISSING
    assert str(shelf.root) in error.message


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../root-evil/clip.webm", id="dots"),
        pytest.param("../absent.webm", id="dots to nothing"),
        pytest.param("{outside}/clip.webm", id="absolute, a root's name as prefix"),
        pytest.param("{root}/../root-evil/clip.webm", id="absolute with dots"),
        pytest.param("/etc/passwd", id="absolute elsewhere"),
        pytest.param("file-link.webm", id="link to a file"),
        pytest.param("folder-link/clip.webm", id="link to a folder"),
        pytest.param("zero", id="link to a device"),
    ],
)
def test_a_name_that_leaves_the_roots_is_refused(shelf: Shelf, name: str) -> None:
    shutil.copy(shelf.clips / "clip.webm", shelf.outside / "clip.webm")
    (shelf.root / "file-link.webm").symlink_to(shelf.outside / "clip.webm")
    (shelf.root / "folder-link").symlink_to("../root-evil")
    (shelf.root / "zero").symlink_to("/dev/zero")

    error = shelf.refusal(name.format(root=shelf.root, outside=shelf.outside))

    assert error.code is Code.MEDIA_OUTSIDE_ROOTS


def test_a_directory_is_refused(shelf: Shelf) -> None:
    (shelf.root / "folder").mkdir()

    assert [shelf.problem(name) for name in ("folder", ".", str(shelf.root))] == ["directory"] * 3


def test_a_pipe_is_refused_without_waiting_for_a_writer(shelf: Shelf) -> None:
    os.mkfifo(shelf.root / "pipe")

    assert shelf.problem("pipe") == "not_a_file"


def test_a_socket_is_refused(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shelf.root)  # the address of a socket may be 108 bytes long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")

    assert shelf.problem("socket") == "not_a_file"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_refused(shelf: Shelf) -> None:
    try:
        os.mknod(shelf.root / "device", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this container may not make devices")

    assert shelf.problem("device") == "not_a_file"


def test_a_hard_link_is_refused_with_the_way_out(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    (shelf.root / "second").hardlink_to(path)

    error = shelf.refusal("second")

    assert error.problems[0].code == "hard_link"
    assert error.problems[0].hint.startswith("cp ")


def test_a_hard_link_is_taken_where_the_configuration_allows_it(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    (shelf.root / "second").hardlink_to(path)

    assert shelf.library(allow_hard_links=True).inspect("second").container == "webm"


def test_an_empty_file_is_refused(shelf: Shelf) -> None:
    shelf.write("empty.mp4", b"")

    assert shelf.problem("empty.mp4") == "empty"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(shelf: Shelf) -> None:
    shelf.put("clip.webm").chmod(0)

    assert shelf.problem("clip.webm") == "no_permission"


@pytest.mark.parametrize(
    "name", ["", "a\0b", "\0", "\ud800.mp4", "x" * 10_000, "a/" * 5_000, "/" + "x" * 10_000]
)
def test_an_impossible_name_is_refused_in_a_short_message(shelf: Shelf, name: str) -> None:
    error = shelf.refusal(name)

    assert error.code in {Code.MEDIA_REJECTED, Code.MEDIA_MISSING, Code.MEDIA_OUTSIDE_ROOTS}
    assert len(error.message) < 1000
    error.message.encode()


def test_refusals_leave_no_descriptor_open(shelf: Shelf) -> None:
    (shelf.root / "folder").mkdir()
    shelf.write("garbage.mp4", b"garbage" * 100)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for name in ("folder", "garbage.mp4", "absent", "../x", "a\0b", "garbage.mp4/x"):
        shelf.refusal(name)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """Let this process open so many files more."""
    with Path("/dev/null").open() as file:
        lowest = file.fileno()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_shortage_of_descriptors_says_nothing_about_the_file(shelf: Shelf, number: int) -> None:
    library = shelf.library()
    shelf.put("clip.mp4")
    facts = library.inspect("clip.mp4")

    with descriptors_left(number), pytest.raises(Rejected) if number < 3 else nullcontext() as caught:
        library.open(facts).close()

    if number < 3:
        assert [problem.code for problem in caught.value.problems] == ["out_of_resources"]
        assert caught.value.retryable


# Files that are not, or not yet, a whole film.


@pytest.mark.parametrize(
    ("clip", "kept"),
    [
        pytest.param("clip.mp4", 0.5, id="before the index is written"),
        pytest.param("clip.mp4", 0.999, id="within the index"),
        pytest.param("clip.mov", 0.5, id="mov"),
        pytest.param("faststart.mp4", 0.5, id="index first, pictures missing"),
        pytest.param("fragments.mp4", 0.6, id="within a fragment"),
        pytest.param("clip.webm", 0.9, id="webm"),
    ],
)
def test_a_truncated_file_is_incomplete(shelf: Shelf, clip: str, kept: float) -> None:
    content = (shelf.clips / clip).read_bytes()
    shelf.write("short", content[: int(len(content) * kept)])

    assert shelf.problem("short") == "incomplete"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"#EXTM3U\nfile:///etc/passwd\n", id="playlist"),
        pytest.param(b"x", id="one byte"),
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(b"\xff\xd8\xff\xe0" + b"\0" * 100, id="jpeg"),
        pytest.param(b"\x1a\x45\xdf\xa3" + b"\xff" * 100, id="garbage behind the magic of webm"),
        pytest.param(b"\x1a\x45\xdf\xa3", id="nothing behind the magic of webm"),
    ],
)
def test_what_is_no_film_is_refused_by_its_container(shelf: Shelf, content: bytes) -> None:
    shelf.write("clip.mp4", content)

    assert shelf.problem("clip.mp4") == "container"


FTYP = b"\0\0\0\x10ftypisom\0\0\0\0"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(FTYP + os.urandom(5000), "incomplete", id="noise"),
        pytest.param(FTYP + b"\0\0\0\x08mdat\0\0\0\x08moov", "no_video", id="an empty index"),
        pytest.param(FTYP + b"\0\0\0\x08mdat\0\0\1\0moov" + b"\x7f" * 248, "no_video", id="garbage as index"),
        pytest.param(FTYP + b"\0\0\0\x08moov", "incomplete", id="an index to nothing"),
        pytest.param(FTYP + b"\0\0\0\x01mdat" + b"\xff" * 8, "incomplete", id="a box of 16 exabytes"),
        pytest.param(FTYP + b"\0\0\0\x01mdat" + b"\0" * 8, "incomplete", id="a 64-bit box of no length"),
        pytest.param(FTYP + b"\0\0\0\x04mdat", "incomplete", id="a box shorter than its header"),
    ],
)
def test_garbage_behind_a_good_beginning_is_refused(shelf: Shelf, content: bytes, problem: str) -> None:
    shelf.write("clip.mp4", content)

    assert shelf.problem("clip.mp4") == problem


def test_a_good_index_to_garbage_is_unreadable(shelf: Shelf) -> None:
    content = bytearray((shelf.clips / "faststart.mp4").read_bytes())
    pictures = content.index(b"mdat") + 4
    content[pictures:] = b"\xff" * (len(content) - pictures)
    shelf.write("clip.mp4", bytes(content))

    assert shelf.problem("clip.mp4") == "unreadable"


def test_a_box_with_a_64_bit_length_is_walked_over(shelf: Shelf) -> None:
    path = shelf.write("clip", FTYP + b"\0\0\0\x01mdat" + (20).to_bytes(8) + b"1234" + b"\0\0\0\x08moov")

    with path.open("rb") as file:
        assert read_outline(file.fileno(), path.stat().st_size, "clip").container == "mp4"


def test_a_file_of_a_million_boxes_is_refused(shelf: Shelf) -> None:
    shelf.write("clip.mp4", FTYP + b"\0\0\0\x08free" * 300_000)

    assert shelf.problem("clip.mp4") == "container"


def test_a_film_with_bytes_behind_its_end_is_taken(shelf: Shelf) -> None:
    shelf.write("clip.mp4", (shelf.clips / "clip.mp4").read_bytes() + b"\0" * 7)

    assert shelf.library().inspect("clip.mp4").video_codec == "h264"


def test_a_file_without_video_is_refused(shelf: Shelf) -> None:
    shelf.put("sound.mp4")

    assert shelf.problem("sound.mp4") == "no_video"


def test_a_young_file_that_grows_while_we_wait_is_still_being_written(shelf: Shelf) -> None:
    path = shelf.put("clip.mp4")
    os.utime(path)

    error = shelf.refusal("clip.mp4", stopping=Meddler(lambda: append(path)), settle_s=60)

    assert error.problems[0].code == "still_being_written"
    assert error.retryable


def test_a_young_file_that_rests_is_taken(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    os.utime(path)

    assert shelf.library(settle_s=0.1).inspect("clip.webm").container == "webm"


@pytest.mark.parametrize("deed", [append, Path.unlink, os.utime], ids=["written", "removed", "touched"])
def test_a_file_that_changes_while_it_is_hashed_is_still_being_written(
    shelf: Shelf, deed: Callable[[Path], object]
) -> None:
    path = shelf.put("clip.mp4")

    assert shelf.problem("clip.mp4", stopping=Meddler(lambda: deed(path))) == "still_being_written"


def test_a_stop_ends_the_check(shelf: Shelf) -> None:
    path = shelf.put("clip.mp4")
    shelf.stopping.set()

    assert shelf.refusal("clip.mp4").code is Code.SHUTTING_DOWN
    os.utime(path)
    assert shelf.refusal("clip.mp4", settle_s=3600).code is Code.SHUTTING_DOWN


# The child process and its limits.


def test_a_check_that_takes_too_long_is_ended(shelf: Shelf) -> None:
    shelf.put("clip.mp4")

    error = shelf.refusal("clip.mp4", probe_timeout_s=0.001)

    assert error.problems[0].code == "unreadable"
    assert "longer than" in error.message


def test_a_check_that_needs_too_much_memory_is_ended(shelf: Shelf) -> None:
    shelf.put("clip.mp4")

    assert shelf.problem("clip.mp4", probe_memory_mb=24) == "unreadable"


def test_a_stop_ends_the_child(shelf: Shelf) -> None:
    """The library asks once for the only block of the hash, and then between two looks at the child."""
    shelf.put("clip.webm")
    waiting = Waiting()

    with pytest.raises(Rejected) as caught:
        shelf.library(stopping=waiting).inspect("clip.webm")

    assert caught.value.code is Code.SHUTTING_DOWN


def test_no_child_stays_behind(shelf: Shelf) -> None:
    shelf.put("clip.mp4")
    before = psutil.Process().children()

    shelf.refusal("clip.mp4", probe_timeout_s=0.001)

    assert psutil.Process().children() == before


# Remembering.


def test_an_inspected_file_is_recalled(shelf: Shelf) -> None:
    shelf.put("clip.webm")
    library = shelf.library()

    facts = library.inspect("clip.webm")

    assert library.recall("clip.webm") == facts


def test_a_file_is_recalled_by_another_name_of_it_under_that_name(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    facts = library.inspect("clip.webm")

    recalled = library.recall(str(path))

    assert recalled is not None
    assert recalled.name == str(path)
    assert recalled.sha256 == facts.sha256


def test_a_file_that_nobody_inspected_is_not_recalled(shelf: Shelf) -> None:
    shelf.put("clip.webm")

    assert shelf.library().recall("clip.webm") is None


@pytest.mark.parametrize("deed", [append, Path.unlink, os.utime], ids=["written", "removed", "touched"])
def test_a_changed_file_is_not_recalled(shelf: Shelf, deed: Callable[[Path], object]) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    library.inspect("clip.webm")

    deed(path)

    assert library.recall("clip.webm") is None


def test_a_file_so_young_that_its_time_proves_nothing_is_not_recalled(shelf: Shelf) -> None:
    shelf.put("clip.webm")
    clock = HeldClock(LONG_AGO + 10)
    library = shelf.library(clock=clock)
    library.inspect("clip.webm")

    clock.seconds = LONG_AGO + 1

    assert library.recall("clip.webm") is None


def test_a_file_that_was_swapped_for_an_equal_one_is_not_recalled(shelf: Shelf) -> None:
    shelf.put("clip.webm")
    library = shelf.library()
    library.inspect("clip.webm")

    shelf.put("clip.webm", "other").replace(shelf.root / "clip.webm")

    assert library.recall("clip.webm") is None


# Opening what was scheduled.


def test_the_opened_file_is_read_in_windows(shelf: Shelf) -> None:
    content = shelf.put("clip.mp4").read_bytes()
    library = shelf.library()
    opened = library.open(library.inspect("clip.mp4"))

    first, second = opened.window(0, 999), opened.window(1000, opened.size - 1)

    assert second.read(10) == content[1000:1010]
    assert first.read(600) + first.read(600) + first.read(600) == content[:1000]
    assert second.read() == content[1010:]
    assert not opened.has_changed()
    opened.close()


def test_a_window_is_an_http_body_of_known_length_that_can_be_sent_again(shelf: Shelf) -> None:
    shelf.put("clip.mp4")
    library = shelf.library()
    opened = library.open(library.inspect("clip.mp4"))
    window = opened.window(100, 299)

    prepared = requests.Request("PUT", "https://upload.example.com/", data=window).prepare()
    sent = window.read()
    rewind_body(prepared)

    assert prepared.headers["Content-Length"] == "200"
    assert "Transfer-Encoding" not in prepared.headers
    assert window.read() == sent
    opened.close()


def test_a_window_seeks_iterates_and_fills_buffers(shelf: Shelf) -> None:
    content = shelf.put("clip.mp4").read_bytes()
    library = shelf.library()
    opened = library.open(library.inspect("clip.mp4"))
    window = opened.window(10, 19)
    buffer = bytearray(4)

    assert window.seek(-4, os.SEEK_END) == 6
    assert window.readinto(buffer) == 4  # type: ignore[attr-defined]  # BinaryIO does not name it
    assert buffer == content[16:20]
    assert window.read(1) == b""
    window.seek(0)
    assert b"".join(window) == content[10:20]
    opened.close()


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (5, 4), (0, 10**9)])
def test_a_window_outside_the_file_is_refused(shelf: Shelf, first: int, last: int) -> None:
    shelf.put("clip.webm")
    library = shelf.library()
    opened = library.open(library.inspect("clip.webm"))

    with pytest.raises(ValueError, match="not within"):
        opened.window(first, last)
    opened.close()


def test_a_file_that_shrinks_while_it_is_sent_fails_the_reader(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    opened = library.open(library.inspect("clip.webm"))
    window = opened.window(0, opened.size - 1)
    os.truncate(path, 100)

    assert len(window.read(1000)) == 100
    with pytest.raises(OSError, match="shorter"):
        window.read(1000)
    assert opened.has_changed()
    opened.close()


def test_a_closed_file_is_not_read_and_closes_twice(shelf: Shelf) -> None:
    shelf.put("clip.webm")
    library = shelf.library()
    opened = library.open(library.inspect("clip.webm"))
    window = opened.window(0, 9)

    opened.close()
    opened.close()

    with pytest.raises(ValueError, match="closed"):
        window.read(1)


def test_writing_to_an_opened_file_shows(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    opened = library.open(library.inspect("clip.webm"))
    with path.open("r+b") as file:
        file.write(b"x")

    assert opened.has_changed()
    opened.close()


def test_writing_that_hides_the_time_of_writing_shows(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    opened = library.open(library.inspect("clip.webm"))
    with path.open("r+b") as file:
        file.write(b"x")
    os.utime(path, (LONG_AGO, LONG_AGO))

    assert opened.has_changed()
    opened.close()


def test_moving_and_removing_an_opened_file_does_not_change_it(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    opened = library.open(library.inspect("clip.webm"))

    moved = path.rename(shelf.outside / "posted.webm")
    assert not opened.has_changed()
    moved.unlink()

    assert not opened.has_changed()
    opened.close()


@pytest.mark.parametrize("is_same_size", [True, False], ids=["other bytes", "another size"])
def test_a_file_that_changed_after_scheduling_is_not_opened(shelf: Shelf, *, is_same_size: bool) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    facts = library.inspect("clip.webm")
    content = path.read_bytes()
    shelf.write("clip.webm", content[:-1] + b"!" * (1 if is_same_size else 2))

    with pytest.raises(Rejected, match="not the file that was scheduled") as caught:
        library.open(facts)

    assert caught.value.problems[0].code == "changed"
    assert caught.value.problems[0].hint == "schedule it as a new post"


def test_an_equal_copy_of_the_scheduled_file_is_opened(shelf: Shelf) -> None:
    shelf.put("clip.webm")
    library = shelf.library()
    facts = library.inspect("clip.webm")
    shelf.put("clip.webm", "copy").replace(shelf.root / "clip.webm")

    opened = library.open(facts)

    assert opened.size == facts.size
    opened.close()


def test_a_scheduled_file_that_became_a_link_out_is_not_opened(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    facts = library.inspect("clip.webm")
    path.rename(shelf.outside / "clip.webm")
    path.symlink_to(shelf.outside / "clip.webm")

    with pytest.raises(Rejected) as caught:
        library.open(facts)

    assert caught.value.code is Code.MEDIA_OUTSIDE_ROOTS


def test_a_scheduled_file_that_is_gone_is_reported_missing(shelf: Shelf) -> None:
    path = shelf.put("clip.webm")
    library = shelf.library()
    facts = library.inspect("clip.webm")
    path.unlink()

    with pytest.raises(Rejected) as caught:
        library.open(facts)

    assert caught.value.code is Code.MEDIA_MISSING


# -- swapping under our eyes (S10) ---------------------------------------------------------------------------


class Swapper:
    """Swaps what a name stands for, as fast as it can, until it is left; counts how often.

    Now and then the first of the contents may stay for a moment, or no file would live long enough to be taken.
    """

    def __init__(self, shelf: Shelf, *contents: Callable[[Path], object]) -> None:
        self._path = shelf.root / "clip.mp4"
        self._spare = shelf.root / "spare"
        self._contents = contents
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            for make in self._contents:
                make(self._spare)
                self._spare.replace(self._path)
                self.count += 1
                if self.count % 80 == 1:
                    self._over.wait(0.06)


def test_a_name_that_is_swapped_a_thousand_times_never_opens_a_file_outside(shelf: Shelf) -> None:
    secret = shelf.outside / "secret"
    secret.write_bytes(b"secret")
    found: set[bytes] = set()
    with Swapper(
        shelf,
        lambda path: path.write_bytes(b"inside"),
        lambda path: path.symlink_to(secret),
        lambda path: path.hardlink_to(secret),
        lambda path: os.mkfifo(path),
    ) as swapper:
        tries = 0
        while swapper.count < 1000 or tries < 100:
            tries += 1
            with contextlib.suppress(Rejected):
                opened = open_media((str(shelf.root),), "clip.mp4", allow_hard_links=False)
                found.add(os.pread(opened.fd, 100, 0))
                os.close(opened.fd)

    assert found <= {b"inside"}


def test_a_swapped_file_is_never_sent(shelf: Shelf) -> None:
    good, other = b"the file that was scheduled", b"another file of equal size!"
    facts = MediaFacts(
        name="clip.mp4", size=len(good), sha256=hashlib.sha256(good).hexdigest(), identity="", container="mp4",
        mime_type="video/mp4", video_codec="h264", audio_codec=None, width=1, height=1, duration_s=1, fps=30, fps_max=30,
        pixel_format="yuv420p",
    )  # fmt: skip
    library = shelf.library()
    sent: set[bytes] = set()
    with Swapper(shelf, lambda path: path.write_bytes(good), lambda path: path.write_bytes(other)) as swapper:
        tries = 0
        while swapper.count < 1000 or tries < 1000:
            tries += 1
            with contextlib.suppress(Rejected):
                opened = library.open(facts)
                sent.add(opened.window(0, opened.size - 1).read())
                opened.close()

    assert sent <= {good}
