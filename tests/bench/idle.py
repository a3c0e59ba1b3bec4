"""Starting with a long schedule, and doing nothing."""

import contextlib
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil

from adapters.scheduler.clock import SystemClock
from adapters.storage import rows
from adapters.storage.statements import POST
from adapters.storage.store import SqlStore
from daemon.domain.ids import NodeName
from tests.bench.punctuality import a_post, an_account
from tests.bench.report import p50, tell
from tests.brokers import Broker
from tests.daemons import Daemon

QUIET_S = 30
STARTS = 5


def _seed(daemon: Daemon, count: int) -> None:
    store = SqlStore(f"sqlite:///{daemon.state_dir}/tokd.db", NodeName("main"))
    store.open()
    now = SystemClock().now()
    far = now + timedelta(days=30)
    with store.transaction() as unit:
        for number in range(1000):
            unit.save_account(an_account(number, now))
        for start in range(0, count, 5000):
            values = [
                rows.post_values(a_post(f"w{n}", n, far, now)) for n in range(start, min(count, start + 5000))
            ]
            unit._db.execute(POST.insert(), values)
    store.close()


def _starts(daemon: Daemon) -> list[float]:
    found = []
    for _ in range(STARTS):
        begin = time.perf_counter()
        daemon.start()
        found.append((time.perf_counter() - begin) * 1000)
        daemon.stop()
    return found


def main() -> None:
    """Print start times, idle memory, wake-ups and CPU."""
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        broker = Broker(folder / "broker")
        broker.start()
        stack.callback(broker.close)
        empty = Daemon(folder / "empty").use_broker(broker.port)
        full = Daemon(folder / "full").use_broker(broker.port)
        full.settings["daemon.node"] = "full"
        empty.start()
        empty.stop()
        _seed(full, 100_000)
        floor, ours = p50(_starts(empty)), p50(_starts(full))
        tell(
            "start to READY with 100,000 posts, p50",
            ours,
            "ms",
            floor=floor,
            floor_name="with none",
            aim="ratio ≤ 1.3",
        )
        empty.start()
        stack.callback(empty.stop)
        process = psutil.Process(empty.process.pid if empty.process else 0)
        threading.Event().wait(3)
        begin = (process.cpu_times(), process.num_ctx_switches())
        threading.Event().wait(QUIET_S)
        end = (process.cpu_times(), process.num_ctx_switches())
        cpu = (end[0].user + end[0].system - begin[0].user - begin[0].system) / QUIET_S * 100
        tell("idle: resident memory", process.memory_info().rss / 1e6, "MB", aim="≤ 100 MB")
        tell("idle: CPU", cpu, "%", aim="≤ 0.2 %")
        tell(
            "idle: wake-ups",
            (end[1].voluntary - begin[1].voluntary) / QUIET_S,
            "/s",
            aim="≤ 1 for each thread",
        )


if __name__ == "__main__":
    main()
