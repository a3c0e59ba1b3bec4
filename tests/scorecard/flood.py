"""B11: one actor floods the broker with commands while another sends an order a second."""

import itertools
import json
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.brokers import find
from tests.crash.stage import Stage, wait_or_none
from tests.daemons import Caller, Daemon, make_clip
from tests.scorecard.row import Task
from tests.waiting import wait_until

FULL, SECONDS = 50_000, 60.0
# What is measured are the limits that tokd has by itself; the suite's daemons have none.
LIMITS = {"access.rate_per_s": "100", "access.burst": "500", "access.open_max": "500"}
OPEN_MAX = 500
OUTBOX_MAX = 10_000
GROWTH_MAX_MIB = 50.0
P95_MAX_S = 1.0
SLICE_S = 0.05
DRAIN_S = 90.0
LATER = "2099-01-01T00:00:00Z"


class Stream:
    """One `mosquitto_pub`, which publishes a command for each line that it gets: cheap, it is written in C."""

    def __init__(self, port: int, topic: str) -> None:
        argv = ["nice", find("mosquitto_pub"), "-p", str(port), "-V", "5", "-q", "1", "-l", "-t", topic]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE)

    def send(self, lines: list[str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self._process.stdin.flush()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(DRAIN_S)


class Answers:
    """One `mosquitto_sub`, which writes what the flooding actor is told to a file."""

    def __init__(self, port: int, topic: str, file: Path) -> None:
        self.file = file
        with file.open("wb") as out:
            argv = [find("mosquitto_sub"), "-p", str(port), "-V", "5", "-q", "1", "-t", topic, "-F", "%p"]
            self._process = subprocess.Popen(argv, stdout=out)

    def finals(self) -> Iterator[dict]:
        for line in self.file.read_text().splitlines():
            reply = json.loads(line)
            if reply["final"]:
                yield reply

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


@dataclass
class Watch:
    """Memory and queues, looked at twice a second by somebody else."""

    daemon: Daemon
    rss: list[float] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    outbox: list[int] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        assert self.daemon.process is not None
        process = psutil.Process(self.daemon.process.pid)
        while not self.over.wait(0.5):
            self.look(process)

    def look(self, process: psutil.Process) -> None:
        self.rss.append(process.memory_info().rss / 1024**2)
        query = "SELECT (SELECT COUNT(*) FROM command WHERE finished_at IS NULL), "
        query += "(SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL)"
        opened, unsent = self.daemon.rows(query)[0]
        self.open.append(opened)
        self.outbox.append(unsent)


def orders(media: str) -> Iterator[tuple[str, str]]:
    """Yield verbs and lines without end: questions, orders for an address, orders whose file must be looked into."""
    base = {"account": "demo", "privacy": "SELF_ONLY", "at": LATER}
    for number in itertools.count():
        kind = number % 10
        if kind < 5:
            yield "system/ping", json.dumps({"id": f"f{number}", "args": {}})
        else:
            source = {"media": media} if kind == 9 else {"url": f"https://media.example.com/f{number}.mp4"}
            yield "post/schedule", json.dumps({"id": f"f{number}", "args": base | source})


def flood(task: Task) -> None:
    """B11. Memory and queues stay within bounds, each command gets one answer, the other actor hardly notices.

    It wants the machine for itself: what else runs takes from the rate at which answers leave.
    """
    stage = Stage(task.folder / "stage")
    daemon = stage.daemon(task.folder / "daemon", LIMITS)
    make_clip(daemon.media / "clip.mp4")
    daemon.start(wait=False)
    daemon.wait_ready(60)
    steady = stage.caller(daemon, "steady")
    watch = Watch(daemon)
    watching = threading.Thread(target=watch.run, name="watch")
    port, prefix = stage.broker.port, steady.prefix
    answers = Answers(port, f"{prefix}/reply/flood/#", task.folder / "answers.jsonl")
    streams = {verb: Stream(port, f"{prefix}/cmd/flood/{verb}") for verb in ("system/ping", "post/schedule")}
    try:
        for number in range(20):  # what every part needs once is no growth
            _order(steady, f"warm-{number}")
        watching.start()
        wait_until(lambda: len(watch.rss) > 2, 30)
        late: list[float] = []
        over = threading.Event()
        other = threading.Thread(target=_steadily, args=(steady, over, late), name="steady")
        other.start()
        sent, took = _pour(task, streams, watch)
        over.set()
        other.join()
        finals = wait_or_none(lambda: _all_answered(answers, sent), DRAIN_S)
        wait_or_none(lambda: watch.outbox[-1] == 0, 30)
        _judge(task, watch, late, list(answers.finals()), sent, took)
        if finals is None:
            task.tally.wrong.append("not every command of the flood was answered")
        assert daemon.stop() == 0, daemon.tail()
    finally:
        watch.over.set()
        answers.close()
        steady.close()
        daemon.kill()
        stage.close()


def _pour(task: Task, streams: dict[str, Stream], watch: Watch) -> tuple[int, float]:
    """Send at the row's rate, as far as this machine can; return how many and in what time."""
    source, sent, begun = orders("clip.mp4"), 0, time.monotonic()
    pause, a_slice = threading.Event(), int(FULL / SECONDS * SLICE_S)
    while sent < task.count and not task.is_over():
        lines: dict[str, list[str]] = {verb: [] for verb in streams}
        for verb, line in itertools.islice(source, min(a_slice, task.count - sent)):
            lines[verb].append(line)
        for verb, found in lines.items():
            streams[verb].send(found)
        sent += sum(len(found) for found in lines.values())
        pause.wait(max(begun + sent / FULL * SECONDS - time.monotonic(), 0))
        task.say(f"{sent} of {task.count} sent; {watch.rss[-1]:.0f} MiB, outbox {watch.outbox[-1]}")
    for stream in streams.values():
        stream.close()
    return sent, time.monotonic() - begun


def _order(caller: Caller, name: str) -> float:
    args = {
        "account": "demo",
        "privacy": "SELF_ONLY",
        "at": LATER,
        "url": f"https://media.example.com/{name}.mp4",
    }
    begun = time.monotonic()
    caller.send("post/schedule", args, id=name)
    reply = wait_until(lambda: caller.final(name), 60, 0.005, what=f"an answer to {name}")
    assert reply["status"] == "done", reply
    return time.monotonic() - begun


def _steadily(caller: Caller, over: threading.Event, late: list[float]) -> None:
    """One order a second, whatever the others do; an order that is not answered is one of a minute."""
    for number in itertools.count():
        begun = time.monotonic()
        try:
            late.append(_order(caller, f"steady-{number}"))
        except AssertionError:
            late.append(60.0)
        if over.wait(max(begun + 1 - time.monotonic(), 0)):
            return


def _all_answered(answers: Answers, sent: int) -> int:
    return len({reply["id"] for reply in answers.finals()}) >= sent


def _judge(task: Task, watch: Watch, late: list[float], finals: list[dict], sent: int, took: float) -> None:
    tally = task.tally
    tally.cases = sent
    tally.orders = sent + len(late)
    codes = Counter((reply.get("error") or {}).get("code") or reply["status"] for reply in finals)
    growth = max(watch.rss) - statistics.median(watch.rss[:3])
    p95 = sorted(late)[min(int(len(late) * 0.95), len(late) - 1)]
    tally.figures |= {
        "a second": f"{sent / took:.0f}", "answers": ", ".join(f"{count} {code}" for code, count in codes.most_common()),
        "growth (MiB)": f"{growth:.1f}", "others' p95 (ms)": f"{p95 * 1000:.0f}", "slowest (ms)": f"{max(late) * 1000:.0f}",
        "most open": str(max(watch.open)), "most in the outbox": str(max(watch.outbox)),
    }  # fmt: skip
    again = len(finals) - len({reply["id"] for reply in finals})
    hasty = [reply for reply in finals if _is_refusal(reply) and not reply["error"].get("retry_after_s")]
    for what, is_wrong in {
        f"it grew by {growth:.1f} MiB": growth > GROWTH_MAX_MIB,
        f"the other actor's p95 was {p95:.2f} s": p95 > P95_MAX_S,
        f"{max(watch.open)} orders of two actors were open at a time": max(watch.open) > OPEN_MAX + 5,
        f"{max(watch.outbox)} messages waited in the outbox": max(watch.outbox) > OUTBOX_MAX,
        f"{watch.outbox[-1]} messages are left in the outbox": watch.outbox[-1] > 0,
        f"{len(hasty)} refusals do not say when to come again": bool(hasty),
        f"{again} commands were answered twice": again > 0,
        f"answers that nobody expected: {dict(codes)}": set(codes) - {"done", "rate_limited", "busy"},
    }.items():  # fmt: skip
        if is_wrong:
            tally.wrong.append(what)
    tally.lost += sent - len({reply["id"] for reply in finals})


def _is_refusal(reply: dict) -> bool:
    return (reply.get("error") or {}).get("code") in {"busy", "rate_limited"}
