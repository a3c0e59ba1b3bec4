"""C2: the wall clock of a whole daemon process jumps while posts wait. libfaketime brings that about."""

import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.crash.stage import Stage
from tests.daemons import Daemon
from tests.scorecard.row import CannotRun, Task
from tests.waiting import wait_until

SIZES_S = (1.0, 7200.0, 40 * 86400.0)
LATE_AFTER_S = 600.0
STARTS_WITHIN_S = 35.0  # it looks at the clock every 30 s
PATIENCE_S = 60.0  # of a loaded machine; what is over STARTS_WITHIN_S is told
DAY_S = 86400.0
GRACE_S = 2.0  # between the file's new text and the last look at its old one


def library() -> Path:
    """Return libfaketime for programs with threads. Raises CannotRun where there is none."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise CannotRun("libfaketime is missing: apt install libfaketime")
    return found[0]


class FakeTime:
    """The daemon's wall clock: the machine's and an offset in a file. Its monotonic clock stays true.

    With a false one Python's waits would hang; so the daemon must wait on events, which it does.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._file = daemon.folder / "offset"
        self.offsets: list[tuple[float, float]] = []  # since when, by the machine's clock
        self.set(0.0)
        daemon.environ |= {
            "LD_PRELOAD": str(library()), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        }  # fmt: skip

    def set(self, offset: float) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{offset:+.0f}\n")
        draft.rename(self._file)
        self.offsets.append((time.time(), offset))

    @property
    def offset(self) -> float:
        return self.offsets[-1][1]

    def now(self) -> float:
        """Return what the daemon takes the time for."""
        return time.time() + self.offset

    def latest_at(self, moment: float) -> float:
        """Return the latest time that the daemon can have read at a moment of the machine's clock."""
        ends = [*(since for since, _ in self.offsets[1:]), float("inf")]
        near = [
            offset for (since, offset), end in zip(self.offsets, ends, strict=True)
            if since - GRACE_S <= moment <= end + GRACE_S
        ]  # fmt: skip
        return moment + max(near)


@dataclass
class Order:
    """One post, and when it is due by the daemon's clock."""

    post: str
    url: str
    due: float
    rule: str
    is_over: bool = False


class Jumps:
    """Posts that wait, and a clock that jumps over their times or away from them."""

    def __init__(self, task: Task, stage: Stage, daemon: Daemon, clock: FakeTime) -> None:
        self.task, self.stage, self.daemon, self.clock = task, stage, daemon, clock
        self.orders: list[Order] = []
        self.waits: list[float] = []
        self.ends: Counter[str] = Counter()

    def order(self, due: float, rule: str) -> None:
        expected = self.stage.address()
        at = datetime.fromtimestamp(due, UTC).isoformat()
        late = {"policy": rule, "after_s": int(LATE_AFTER_S)}
        reply = self.daemon.schedule(None, id=expected.command, url=expected.url, at=at, if_late=late)
        assert reply["status"] == "done", reply
        self.orders.append(Order(reply["result"]["post"], expected.url, due, rule))
        self.task.tally.orders += 1

    def jump(self, size: float) -> None:
        """Order what this jump is about, jump, and see what becomes of it and of all that waited before."""
        now = self.clock.now()
        if size > 0:
            for rule in ("post", "hold"):
                self.order(now + max(size / 2, 1.5) + 40, rule)  # more than a look at the clock away
            self.order(now + size + 45, "hold")
        else:
            self.order(now + 5, "hold")
        self.order(now + abs(size) + 100 * DAY_S, "post")
        self.clock.set(self.clock.offset + size)
        self.task.tally.faults[f"clock {'forward' if size > 0 else 'back'}"] += 1
        wait_until(self._is_seen, 20, 0.1, what="the daemon's clock as it is now")
        after, jumped = self.clock.now(), time.monotonic()
        self._await([order for order in self.orders if order.due <= after], jumped, after)
        soon = [order for order in self.orders if not order.is_over and order.due - after < 90]
        for order in soon:
            begun = jumped + order.due - after
            self._await([order], max(begun, jumped), max(after, order.due))
        self._check_waiting()

    def _is_seen(self) -> bool:
        told = datetime.fromisoformat(self.daemon.call("system/ping")["time"]).timestamp()
        return abs(told - self.clock.now()) < 0.4

    def _await(self, due: list[Order], since: float, at: float) -> None:
        """Wait until what is due has its end; it must have begun soon after that moment."""
        for order in [order for order in due if not order.is_over]:
            late = at - order.due
            wanted = {"published"} if order.rule == "post" or late < LATE_AFTER_S - 60 else {"held"}
            left = max(since - time.monotonic(), 0) + PATIENCE_S
            try:
                self.daemon.wait_state(order.post, *wanted, within_s=left)
            except AssertionError as error:
                self.task.tally.lost += 1
                self.task.tally.wrong.append(
                    f"{late:.0f} s late, rule {order.rule}, wanted {wanted}: {error}"[:400]
                )
            waited = time.monotonic() - since
            self.waits.append(waited)
            self.ends[next(iter(wanted))] += 1
            order.is_over = True

    def _check_waiting(self) -> None:
        """What is not due by the daemon's clock must be waiting, all the more after a jump back."""
        states = dict(self.daemon.rows("SELECT id, state FROM post"))
        now = self.clock.now()
        for order in self.orders:
            if not order.is_over and order.due > now + GRACE_S and states[order.post] != "scheduled":
                self.task.tally.wrong.append(
                    f"{order.due - now:.0f} s before its time {order.post} is {states[order.post]}"
                )

    def close_books(self) -> None:
        """Read both ledgers: nothing twice, nothing early by any clock."""
        ledger = self.stage.simulator.ledger()
        tally = self.task.tally
        urls = {order.url: order for order in self.orders}
        inits = Counter(init["source_info"].get("video_url") for init in ledger["inits"])
        tally.inits = sum(inits.values())
        for url, count in inits.items():
            if count > 1:
                tally.doubled += 1
                tally.wrong.append(f"{urls[url].post}: {count} inits")
        for init in ledger["inits"]:
            order = urls[init["source_info"].get("video_url")]
            if (early := order.due - self.clock.latest_at(init["time"])) > 0.1:
                tally.wrong.append(f"{order.post} began {early:.1f} s before its time")
        query = "SELECT p.id FROM post p JOIN attempt a ON a.post = p.id WHERE a.started_at < p.due_at"
        tally.wrong += [
            f"{row[0]} began before its time, by the daemon's own word" for row in self.daemon.rows(query)
        ]


def jumps(task: Task) -> None:
    """C2. A second, two hours, forty days, there and back."""
    library()
    stage = Stage(task.folder / "stage")
    daemon = stage.daemon(task.folder / "daemon")
    clock = FakeTime(daemon)
    chance = random.Random(task.seed)
    found = Jumps(task, stage, daemon, clock)
    try:
        daemon.start(wait=False)
        daemon.wait_ready(60)
        pending: list[float] = []
        while task.tally.faults.total() < task.count and not task.is_over():
            if not pending:
                pairs = [(size * sign, -size * sign) for size in SIZES_S for sign in (1, -1)]
                chance.shuffle(pairs)
                pending = [size for pair in pairs for size in pair]
            found.jump(pending.pop(0))
            task.say(f"{task.tally.faults.total()} of {task.count} jumps; {dict(found.ends)}")
        found.close_books()
        assert daemon.stop() == 0, daemon.tail()
    finally:
        late = [wait for wait in found.waits if wait > STARTS_WITHIN_S]
        task.tally.figures |= {
            "ends": ", ".join(f"{count} {state}" for state, count in sorted(found.ends.items())),
            "seconds from the jump, or the time, to the end (max)": f"{max(found.waits, default=0):.1f}",
            "over 35 s": str(len(late)),
        }  # fmt: skip
        daemon.kill()
        stage.close()
