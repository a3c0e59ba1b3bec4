"""Uploading 1 GB: against `curl -T` with the same chunks to the same sink, and the daemon's memory meanwhile."""

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from adapters.media import MediaLibrary
from adapters.scheduler.clock import SystemClock
from adapters.tiktok.chunks import plan
from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.uploader import TikTokUploader
from daemon.domain.platform import Plan
from tests.bench.report import tell
from tests.daemons import Daemon, Simulator, make_clip
from tests.waiting import wait_until

GIGABYTE = 1_000_000_000
TURNS = 3


class Sink:
    """The fastest host there is: it throws the bytes away and answers 206, or 201 for the last ones."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/upload"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        room = memoryview(bytearray(1 << 20))
        with connection, contextlib.suppress(OSError, ValueError):
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    head += piece
                text, _, body = head.partition(b"\r\n\r\n")
                fields = dict(
                    line.split(": ", 1) for line in text.decode().lower().split("\r\n")[1:] if ": " in line
                )
                if fields.get("expect"):
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                left = int(fields["content-length"]) - len(body)
                while left > 0:
                    left -= connection.recv_into(room[: min(left, len(room))])
                span, total = fields["content-range"].removeprefix("bytes ").split("/")
                stored = int(span.split("-")[1]) + 1
                status = "201 Created" if stored == int(total) else "206 Partial Content"
                answer = f"HTTP/1.1 {status}\r\nContent-Range: bytes 0-{stored}/{total}\r\nContent-Length: 0\r\n\r\n"
                connection.sendall(answer.encode())

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


def _curl(chunks: list[Path], found: Plan, url: str) -> float:
    """Return the seconds one curl process needs for all chunks, over one connection."""
    config = []
    for index, chunk in enumerate(chunks):
        first, last = found.span(index)
        config += [
            "next" if index else "silent", "silent", "output = /dev/null", f'url = "{url}"', f'upload-file = "{chunk}"',
            'header = "Content-Type: video/mp4"', 'header = "Expect:"',
            f'header = "Content-Range: bytes {first}-{last}/{found.size}"',
        ]  # fmt: skip
    begin = time.perf_counter()
    subprocess.run(["curl", "--config", "-"], input="\n".join(config), text=True, check=True)
    return time.perf_counter() - begin


def _ours(library: MediaLibrary, uploader: TikTokUploader, name: str, found: Plan, url: str) -> float:
    facts = library.recall(name) or library.inspect(name)
    file = library.open(facts)
    begin = time.perf_counter()
    for index in range(found.count):
        file.has_changed()
        uploader.send_chunk(url, file.window(*found.span(index)), found, index, "video/mp4")
    took = time.perf_counter() - begin
    file.close()
    return took


def _split(source: Path, found: Plan, folder: Path) -> Iterator[Path]:
    with source.open("rb") as file:
        for index in range(found.count):
            first, last = found.span(index)
            target = folder / f"chunk-{index:04d}"
            with target.open("wb") as chunk:
                os.sendfile(chunk.fileno(), file.fileno(), first, last - first + 1)
            yield target


def _throughput(folder: Path) -> None:
    clip = make_clip(folder / "big.mp4", pad_to=GIGABYTE)
    settings = TikTokSettings(api_base="http://127.0.0.1:9", client_key="k", client_secret="s")
    found = plan(clip.stat().st_size, settings)
    chunks = list(_split(clip, found, folder))
    sink = Sink()
    library = MediaLibrary((folder,), (), clock=SystemClock(), stopping=threading.Event(), settle_s=0)
    uploader = TikTokUploader(settings, SystemClock())
    ours = [_ours(library, uploader, "big.mp4", found, sink.url) for _ in range(TURNS)]
    curl = [_curl(chunks, found, sink.url) for _ in range(TURNS)]
    sink.close()
    for chunk in chunks:
        chunk.unlink()
    size = GIGABYTE / 1e6
    tell(
        "upload of 1 GB",
        size / min(ours),
        "MB/s",
        floor=size / min(curl),
        floor_name="curl -T",
        aim="ratio ≥ 0.9",
    )


def _memory(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        simulator = Simulator(folder / "simulator", "--discard-uploads")
        stack.callback(simulator.stop)
        daemon = Daemon(folder / "daemon").use_simulator(simulator).start()
        stack.callback(daemon.stop)
        daemon.link(simulator)
        (folder / "big.mp4").rename(daemon.media / "big.mp4")
        make_clip(daemon.media / "small.mp4")
        small = daemon.schedule("small.mp4")["result"]["post"]
        daemon.wait_state(small, "published")
        process = psutil.Process(daemon.process.pid if daemon.process else 0)
        idle = process.memory_info().rss / 1e6
        post = daemon.schedule("big.mp4")["result"]["post"]
        most = idle

        def is_published() -> bool:
            nonlocal most
            most = max(most, process.memory_info().rss / 1e6)
            return bool(daemon.post(post)["state"] == "published")

        wait_until(is_published, 120)
        tell("memory while 1 GB goes out, over idle", most - idle, "MB", aim="≤ 16 MB")


def main() -> None:
    """Print throughput and memory."""
    with tempfile.TemporaryDirectory() as text:
        _throughput(Path(text))
        _memory(Path(text))


if __name__ == "__main__":
    main()
