"""Taking in 1 GB over HTTP: against curl into a host that throws it away, the daemon's memory, and who waits for it."""

import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tests.bench.report import quantile, tell
from tests.bench.upload import GIGABYTE, Sink
from tests.brokers import free_port
from tests.daemons import ROOT, Daemon, make_clip


def _curl(clip: Path, url: str, *options: str) -> tuple[float, str]:
    """Return the seconds one curl process needs to send the file, and the answer's status."""
    begin = time.perf_counter()
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: video/mp4", "-H", "Expect:",
         "-X", "POST", "-T", str(clip), *options, url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return time.perf_counter() - begin, done.stdout


def _token(daemon: Daemon) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOKD_")}
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "--set", f"daemon.state_dir={daemon.state_dir}", "token", "issue",
         "--user", "bench"],
        cwd=daemon.folder, env=environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


class _Watch:
    """Watches the daemon while it works: its memory, and how long another caller waits."""

    def __init__(self, pid: int, port: int) -> None:
        self._process = psutil.Process(pid)
        self._port = port
        self.idle = self.most = self._process.memory_info().rss / 1e6
        self.waits: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        wire = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.wait(0.01):
            self.most = max(self.most, self._process.memory_info().rss / 1e6)
            begin = time.perf_counter()
            wire.request("GET", "/livez")
            wire.getresponse().read()
            self.waits.append((time.perf_counter() - begin) * 1000)
        wire.close()


def main() -> None:
    """Print throughput, memory and waiting times."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        clip, small = make_clip(folder / "big.mp4", pad_to=GIGABYTE), make_clip(folder / "small.mp4")
        sink = Sink()
        span = f"Content-Range: bytes 0-{clip.stat().st_size - 1}/{clip.stat().st_size}"
        floor, _ = _curl(clip, sink.url, "-H", span)
        sink.close()
        port = free_port()
        daemon = Daemon(folder / "daemon", {"http.port": str(port)}).start()
        try:
            bearer = ("-H", f"Authorization: Bearer {_token(daemon)}")
            url = f"http://127.0.0.1:{port}/api/v1/media"
            _curl(small, url, *bearer)
            watch = _Watch(daemon.process.pid if daemon.process else 0, port)
            took, status = _curl(clip, url, *bearer)
            watch.end()
        finally:
            daemon.stop()
        assert status == "201", status
        size = GIGABYTE / 1e6
        tell(
            "upload of 1 GB over HTTP, checked and on disk", size / took, "MB/s", floor=size / floor,
            floor_name="curl to nowhere",
        )  # fmt: skip
        tell("memory while 1 GB comes in, over idle", watch.most - watch.idle, "MB", aim="≤ 16 MB")
        tell("another request meanwhile, p99", quantile(watch.waits, 0.99), "ms", aim="≤ 100 ms")


if __name__ == "__main__":
    main()
