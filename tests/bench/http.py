"""HTTP at 50 requests a second with 10,000 posts scheduled, against a bare route that answers as many bytes."""

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from adapters.scheduler.clock import SystemClock
from adapters.storage import rows
from adapters.storage.statements import POST
from adapters.storage.store import SqlStore
from daemon.domain.ids import NodeName
from tests.bench.punctuality import a_post, an_account
from tests.bench.report import p50, quantile, tell
from tests.bench.roundtrip import commit_ms
from tests.brokers import free_port
from tests.daemons import ROOT, Daemon, Simulator, make_clip
from tests.e2e.doors import await_port

POSTS = 10_000
ACCOUNTS = 20
RATE = 50
SECONDS = 20
FLOOR_SECONDS = 10
CALLERS = 8
AIM = "p99 < 50 ms"
Order = tuple[str, str, Any]  # method, path, body


class Callers:
    """Connections that stay open, each in a thread of its own."""

    def __init__(self, port: int, token: str = "") -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._own = threading.local()

    def ask(self, order: Order) -> bytes:
        """Send one request and return the answer's body. Raises SystemExit for anything but success."""
        method, path, body = order
        wire = getattr(self._own, "wire", None)
        if wire is None:
            wire = self._own.wire = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        wire.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = wire.getresponse()
        raw: bytes = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {raw[:300]!r}")
        return raw

    def once(self, order: Order) -> bytes:
        """Send one request on a connection of its own: an idle one may have been closed meanwhile."""
        self._own.wire = None
        return self.ask(order)

    def at_rate(self, order: Callable[[int], Order], seconds: int) -> list[float]:
        """Return each request's milliseconds, counted from when it was due: a late answer delays none in the count."""
        begin = time.perf_counter() + 0.2

        def one(number: int) -> float:
            due = begin + number / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            self.ask(order(number))
            return (time.perf_counter() - due) * 1000

        with ThreadPoolExecutor(CALLERS) as pool:
            return list(pool.map(one, range(RATE * seconds)))


def seed(daemon: Daemon, count: int) -> None:
    """Write posts into the ledger of a daemon that has run and is down."""
    store = SqlStore(f"sqlite:///{daemon.state_dir}/tokd.db", NodeName("main"))
    store.open()
    now = SystemClock().now()
    with store.transaction() as unit:
        for number in range(ACCOUNTS):
            unit.save_account(an_account(number, now))
        far = now + timedelta(days=30)
        values = [rows.post_values(a_post(f"w{n}", n % ACCOUNTS, far, now)) for n in range(count)]
        unit._db.execute(POST.insert(), values)
    store.close()


def main() -> None:
    """Print the requests."""
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        simulator = Simulator(folder / "simulator")
        stack.callback(simulator.stop)
        daemon = Daemon(folder / "daemon", {"http.port": str(free_port())}).use_simulator(simulator)
        daemon.start().stop()
        seed(daemon, POSTS)
        daemon.start()
        stack.callback(daemon.stop)
        daemon.link(simulator)
        make_clip(daemon.media / "clip.mp4")
        _measure(daemon, commit_ms(folder), _bare(stack))


def _bare(stack: contextlib.ExitStack) -> Callers:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare_http", str(port)], cwd=ROOT)
    stack.callback(process.wait)
    stack.callback(process.kill)
    await_port(port)
    return Callers(port)


def _measure(daemon: Daemon, commit: float, bare: Callers) -> None:
    token = daemon.call("token/issue", {"user": "bench"})["result"]["text"]
    await_port(int(daemon.settings["http.port"]))
    ours = Callers(int(daemon.settings["http.port"]), token)
    order = {"account": "demo", "media": "clip.mp4", "privacy": "SELF_ONLY", "draft": True}
    at = (SystemClock().now() + timedelta(days=60)).isoformat()
    done = {"instance_id": "bench", "status": "completed", "output_data": {"video_path": "clip.mp4"}}
    task = json.loads(ours.once(("POST", "/api/v1/tasks", done)))["task_id"]
    ours.once(("POST", "/api/v1/posts", order))  # the file is checked once
    reads = {
        "GET /api/v1/posts (50 of them)": "/api/v1/posts",
        "GET one post": "/api/v1/posts/p_w77",
        "GET a task's detail": f"/api/v1/tasks/{task}/detail",
        "GET /readyz": "/readyz",
    }
    for name, path in reads.items():
        size = len(ours.once(("GET", path, None)))
        found = ours.at_rate(lambda _number, path=path: ("GET", path, None), SECONDS)
        _tell(name, found, _floor(bare, "GET", size))
    commands: dict[str, Callable[[int], Order]] = {
        "POST /api/v1/posts (a draft)": lambda _number: ("POST", "/api/v1/posts", order),
        "PATCH a post's time": lambda number: ("PATCH", f"/api/v1/posts/p_w{number}", {"at": at}),
    }
    floor = _floor(bare, "POST", 200)
    for name, make in commands.items():
        _tell(name, ours.at_rate(make, SECONDS), [each + commit for each in floor], "bare + commit")


def _floor(bare: Callers, method: str, size: int) -> list[float]:
    path = f"/{max(1, size // 100)}"
    return bare.at_rate(lambda _number: (method, path, {} if method == "POST" else None), FLOOR_SECONDS)


def _tell(name: str, found: list[float], floor: list[float], floor_name: str = "bare route") -> None:
    tell(f"{name}, p50", p50(found), "ms", floor=p50(floor), floor_name=floor_name)
    tell(
        f"{name}, p99", quantile(found, 0.99), "ms", floor=quantile(floor, 0.99), floor_name=floor_name,
        aim=AIM,
    )  # fmt: skip


if __name__ == "__main__":
    main()
