"""D5: post after post after post; memory, descriptors, the write-ahead log and the daemon's log stay within bounds."""

import json
import queue
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.crash.ledgers import FINAL
from tests.crash.stage import PREFIX, SETTINGS, UNLIMITED
from tests.daemons import Daemon, Simulator
from tests.scorecard.row import Task
from tests.waiting import wait_until

ACCOUNTS = 24  # one account posts one at a time
OPEN_MAX = 120
SENDERS = 2
SLOPE_MAX_MIB = 1.0  # for 1,000 posts
WAL_MAX_MIB = 64.0
FDS_MAX = 8  # how far from the median descriptors may go
WARM = 0.3  # of the posts, until the caches are as large as they get


@dataclass
class Sample:
    """What the process was at one moment."""

    posts: int
    rss: float
    fds: int
    threads: int
    wal: float


@dataclass
class Soak:
    """Keeps so many posts open, and looks at the daemon every second."""

    task: Task
    daemon: Daemon
    samples: list[Sample] = field(default_factory=list)
    ordered: int = 0
    done: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    faults: list[str] = field(default_factory=list)
    _room: "queue.SimpleQueue[int]" = field(default_factory=queue.SimpleQueue)

    def send(self) -> None:
        """Order what there is room for, until there is an end."""
        while (number := self._room.get()) >= 0:
            try:
                reply = self.daemon.schedule(
                    None, id=f"s{number}", account=f"u{number % ACCOUNTS}", url=f"{PREFIX}s{number}.mp4"
                )
                if reply["status"] != "done":
                    self.faults.append(f"s{number}: {reply}")
            except Exception as error:  # noqa: BLE001 - each is a fault of the row
                self.faults.append(f"s{number}: {type(error).__name__}: {error}")

    def run(self, count: int) -> None:
        senders = [threading.Thread(target=self.send, name="sender") for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        process = psutil.Process(self.daemon.process.pid if self.daemon.process else 0)
        pause, quiet_since = threading.Event(), time.monotonic()
        try:
            while self.done < count and not self.faults:
                if self.task.is_over():
                    count = self.ordered  # what is ordered comes to its end
                for number in range(self.ordered, min(count, self.done + OPEN_MAX)):
                    self._room.put(number)
                    self.ordered = number + 1
                before, self.done = self.done, self._look(process)
                quiet_since = time.monotonic() if self.done > before else quiet_since
                if time.monotonic() - quiet_since > 120:
                    self.faults.append(f"nothing came to its end for two minutes after {self.done} posts")
                self.task.say(f"{self.done} of {count} posts, {self.samples[-1].rss:.1f} MiB")
                pause.wait(0.5)
        finally:
            for _ in senders:
                self._room.put(-1)
            for sender in senders:
                sender.join()

    def _look(self, process: psutil.Process) -> int:
        ends = ", ".join(f"'{state}'" for state in sorted({*FINAL, "failed", "uncertain"}))
        done = self.daemon.rows(f"SELECT COUNT(*) FROM post WHERE state IN ({ends})")[0][0]
        wal = Path(f"{self.daemon.state_dir}/tokd.db-wal")
        size = wal.stat().st_size / 1024**2 if wal.exists() else 0.0
        rss = process.memory_info().rss / 1024**2
        self.samples.append(Sample(done, rss, process.num_fds(), process.num_threads(), size))
        return int(done)


def soak(task: Task) -> None:
    """D5. Tiny orders without media of our own, so that what is measured is tokd and not the disk."""
    simulator = Simulator(task.folder / "simulator")
    simulator.post("settings", UNLIMITED)
    quiet = {"log.format": "json", "daemon.workers": "12"}
    daemon = Daemon(task.folder / "d", SETTINGS | quiet).use_simulator(simulator)
    found = Soak(task, daemon)
    try:
        daemon.start(wait=False)
        daemon.wait_ready(60)
        for number in range(ACCOUNTS):
            simulator.post("users", {"name": f"u{number}", "private": True})
            daemon.link(simulator, f"u{number}")
        begun, written = time.monotonic(), daemon.log.stat().st_size
        found.run(task.count)
        took = time.monotonic() - begun
        wait_until(lambda: not daemon.rows("SELECT 1 FROM outbox WHERE sent_at IS NULL LIMIT 1"), 60)
        _judge(task, found, took, daemon.log.stat().st_size - written)
        assert daemon.stop() == 0, daemon.tail()
        _count(task, found, daemon, simulator)
    finally:
        daemon.kill()
        simulator.stop()


def slope(samples: list[Sample]) -> float:
    """Return the MiB that came with each 1,000 posts, by least squares."""
    mean_x = sum(sample.posts for sample in samples) / len(samples)
    mean_y = sum(sample.rss for sample in samples) / len(samples)
    over = sum((sample.posts - mean_x) * (sample.rss - mean_y) for sample in samples)
    under = sum((sample.posts - mean_x) ** 2 for sample in samples)
    return 1000 * over / under if under else 0.0


def _judge(task: Task, found: Soak, took: float, logged: int) -> None:
    tally = task.tally
    warm = [sample for sample in found.samples if sample.posts >= found.done * WARM]
    grows = slope(warm)
    fds = sorted(sample.fds for sample in warm)
    middle = fds[len(fds) // 2]
    wal = max(sample.wal for sample in found.samples)
    tally.orders = tally.cases = found.ordered
    tally.figures |= {
        "posts a second": f"{found.done / took:.1f}", "MiB for 1,000 posts": f"{grows:.2f}",
        "RSS (MiB)": f"{warm[0].rss:.1f} to {warm[-1].rss:.1f}", "descriptors": f"{fds[0]} to {fds[-1]}",
        "threads (most)": str(max(sample.threads for sample in warm)), "WAL (MiB, most)": f"{wal:.1f}",
        "log (bytes a post)": f"{logged / max(found.done, 1):.0f}",
    }  # fmt: skip
    tally.wrong += found.faults[:10]
    tally.lost += len(found.faults)
    # A slope over few posts is that of a cache that fills: it is told, and judged from some thousands on.
    if grows > SLOPE_MAX_MIB and found.done >= 4000:
        tally.wrong.append(f"it grows by {grows:.2f} MiB for 1,000 posts")
    if fds[-1] - middle > FDS_MAX:
        tally.wrong.append(f"{fds[-1]} descriptors, where {middle} are usual")
    if warm[-1].fds > middle + FDS_MAX // 2:
        tally.wrong.append(f"{warm[-1].fds} descriptors at the end, {middle} in between")
    if wal > WAL_MAX_MIB:
        tally.wrong.append(f"the write-ahead log had {wal:.0f} MiB")
    levels = Counter(
        json.loads(line)["level"]
        for line in found.daemon.log.read_text().splitlines()
        if line.startswith("{")
    )
    tally.figures["lines of the log"] = ", ".join(f"{count} {level}" for level, count in levels.most_common())
    if loud := levels["error"] + levels["critical"]:
        tally.wrong.append(f"{loud} lines of the log are errors: {found.daemon.tail(3)}")


def _count(task: Task, found: Soak, daemon: Daemon, simulator: Simulator) -> None:
    """Hold the ledgers side by side: each order one init and one publish."""
    tally = task.tally
    ledger = simulator.ledger()
    url = {init["publish_id"]: init["source_info"].get("video_url") for init in ledger["inits"]}
    inits = Counter(url.values())
    publishes = Counter(url[row["publish_id"]] for row in ledger["publishes"])
    tally.inits = len(url)
    tally.doubled += sum(count > 1 for count in inits.values()) + sum(
        count > 1 for count in publishes.values()
    )
    states = dict(daemon.rows("SELECT command_id, state FROM post"))
    for number in range(found.ordered):
        state = states.get(f"s{number}")
        tally.uncertain += state == "uncertain"
        if state == "uncertain":
            continue  # it is told; whether it had a reason is what other rows look at
        if state not in FINAL or publishes[f"{PREFIX}s{number}.mp4"] != 1:
            tally.lost += 1
            if len(tally.wrong) < 10:
                tally.wrong.append(f"s{number}: {state}, {publishes[f'{PREFIX}s{number}.mp4']} publishes")
    if tally.uncertain:
        tally.wrong.append(f"{tally.uncertain} posts are in doubt, where nothing was done to them")
