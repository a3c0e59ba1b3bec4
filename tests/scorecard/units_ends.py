"""E4 and E5: the installed unit stopped in the middle of everything, and in loops of starts that fail."""

import contextlib
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.crash.campaign import SMALL, TWO_CHUNKS
from tests.crash.ledgers import Ordered
from tests.crash.stage import wait_or_none
from tests.scorecard.row import Task
from tests.scorecard.units import PATIENCE_S, installed
from tests.systemd.stage import CONFIG, Stage
from tests.waiting import wait_until

BROWSERS = 3
STOPPED_WITHIN_S = 20.0
SLOW_UPLOAD = {"endpoint": "upload", "action": "slow", "seconds": 1.5, "times": None}
THREE_CHUNKS = 17_000_000
UNDER_WAY = {"uploading", "initialised"}


@dataclass
class Stops:
    """E4. A stop while a file is on its way and windows are open; the next start finishes the post."""

    task: Task
    stage: Stage
    orders: list[Ordered] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        chance = random.Random(self.task.seed)
        for number in range(self.task.count):
            if self.task.is_over():
                break
            try:
                self._one(chance)
            except AssertionError as error:
                self.task.tally.wrong.append(f"stop {number + 1}: {error}"[:600])
                self.stage.simulator.clear_faults()
                self.stage.start()
            self.task.say(f"{number + 1} of {self.task.count} stops")
        self._close_books()

    def _one(self, chance: random.Random) -> None:
        stage = self.stage
        stage.open_windows(BROWSERS)
        stage.simulator.faults(SLOW_UPLOAD)
        order = stage.order(THREE_CHUNKS)
        self.orders.append(order)
        wait_until(lambda: stage.state_of(order) in UNDER_WAY, 30, 0.05, what="an upload under way")
        wait_or_none(lambda: False, chance.uniform(0, 2.5))
        before, windows = stage.main(), stage.windows()
        state = stage.state_of(order)
        self.took_s.append(stage.stop())
        self.states[state] += 1
        self.task.tally.faults["stop"] += 1
        self.task.tally.wrong += [f"stopped while {state}: {text}" for text in self._left(before, windows)]
        stage.simulator.clear_faults()
        stage.start()

    def _left(self, main: int, windows: int) -> Iterator[str]:
        stage = self.stage
        if windows < BROWSERS:
            yield f"only {windows} windows were open"
        if self.took_s[-1] > STOPPED_WITHIN_S + PATIENCE_S:
            yield f"it took {self.took_s[-1]:.1f} s"
        ended = stage.machine.shown("Result", "ExecMainCode", "ExecMainStatus", "ExecMainPID")
        # ExecMainCode 1 is CLD_EXITED: by itself, with ExecMainStatus, and by no signal.
        if ended != {
            "Result": "success",
            "ExecMainCode": "1",
            "ExecMainStatus": "0",
            "ExecMainPID": str(main),
        }:
            yield f"it ended with {ended}"
        killed = [line for line in stage.words_of_the_end().splitlines() if "SIGKILL" in line]
        if killed:
            yield f"systemd had to kill: {killed[:3]}"
        if not stage.is_empty():
            yield f"processes are left: {stage.commands()}"
        if clones := stage.clones():
            yield f"clones are left: {clones}"

    def _close_books(self) -> None:
        findings = self.stage.settled(self.orders)
        books, tally = self.stage.books(), self.task.tally
        tally.take(findings)
        tally.orders = len(self.orders)
        tally.inits = sum(len(books.inits_of(order)) for order in self.orders)
        tally.wrong += [
            f"{order.command}: {len(books.inits_of(order))} inits"
            for order in self.orders
            if len(books.inits_of(order)) != 1
        ]
        if self.took_s:
            late = sum(took > STOPPED_WITHIN_S for took in self.took_s)
            tally.figures |= {
                f"longer than {STOPPED_WITHIN_S:.0f} s": str(late),
                "a stop (s)": f"{statistics.median(self.took_s):.1f}, at most {max(self.took_s):.1f}",
                "stopped while": "; ".join(
                    f"{state} {count}" for state, count in sorted(self.states.items())
                ),
            }


def stops(task: Task) -> None:
    """E4. `systemctl stop` while uploading, with three windows open."""
    with installed(task) as stage:
        # Windows must not come and go by themselves, and a stop must be no hang.
        stage.change(service="WatchdogSec=60", session__max_session_duration="3600")
        stage.start()
        Stops(task, stage).run()


# -- E5 ------------------------------------------------------------------------------------------------------

# Every start dies here, also one in safe mode, which tells that it is there and does nothing else.
ALWAYS = "outbox.before_send:kill@1"
# The post itself brings the daemon down, at any of these places before its bytes leave.
BY_THE_POST = (
    "claim.after_commit",
    "attempt.after_start",
    "init.before_call",
    "init.after_call",
    "upload.before_chunk",
)
TRIES = 5
LIMIT = f"StartLimitIntervalSec=300\nStartLimitBurst={TRIES}"
BAD = {
    "a value": '\n[log]\nlevel = "loud"\n',
    "a key": "\n[posts]\nkeep_dayz = 3\n",
    "the form": "\n[media\nroots = 1\n",
}
NAMED = {"a value": "log.level", "a key": "posts.keep_dayz", "the form": "tokd.toml"}
DUE_IN_S = 6.0
CALM_S = 3.0  # time for a post that is due to go out where it must not


class Loops:
    """E5. Starts that fail, each time with a post that is due meanwhile and must wait for a good one."""

    def __init__(self, task: Task, stage: Stage) -> None:
        self.task, self.stage = task, stage
        self.chance = random.Random(task.seed)
        self.orders: list[Ordered] = []
        self.kinds: dict[str, Callable[[], None]] = {
            "crash loop": self._crash_loop, "crashes by a post": self._safe_mode, "bad configuration": self._bad_config,
        }  # fmt: skip

    def run(self) -> None:
        kinds = list(self.kinds)
        plan = [kinds[number % len(kinds)] for number in range(self.task.count)]
        self.chance.shuffle(plan)
        for number, kind in enumerate(plan):
            if self.task.is_over():
                break
            self.stage.change(unit=LIMIT, daemon__safe_mode_starts="3")
            self.stage.tokd("safe-mode", "leave")
            self.stage.start()
            try:
                self.kinds[kind]()
            except AssertionError as error:
                self._say(kind, str(error))
            self.task.tally.faults[kind] += 1
            self._mend(kind)
            self.task.say(f"{number + 1} of {len(plan)}, the last one: {kind}")

    def _say(self, kind: str, text: str) -> None:
        self.task.tally.wrong.append(f"{kind}: {text}"[:600])

    def _due(self, size: int = SMALL) -> Ordered:
        """Order a post that falls due while the daemon is down; return after its time."""
        due = datetime.now(UTC) + timedelta(seconds=DUE_IN_S)
        order = self.stage.order(size, at=due.isoformat())
        self.orders.append(order)
        self.stage.stop()
        assert datetime.now(UTC) < due, "the stop took longer than the post had time: too much else runs here"
        wait_until(lambda: datetime.now(UTC) > due, DUE_IN_S, 0.1)
        return order

    def _crash_loop(self) -> None:
        order = self._due()
        # The end comes from another thread: slow as this, no post can be quicker.
        self.stage.simulator.faults(
            {"endpoint": "creator_info", "action": "slow", "seconds": 3, "times": None}
        )
        self._fail("crash loop", ALWAYS)
        ended = self.stage.machine.shown("ActiveState", "Result", "NRestarts")
        # The manager counts the restart that the limit then refuses.
        if ended["ActiveState"] != "failed" or ended["NRestarts"] != str(TRIES):
            self._say("crash loop", f"it ended with {ended}")
        self._nothing_went_out("crash loop", order)

    def _fail(self, kind: str, failpoint: str) -> None:
        mark = self.stage.starts()
        self.stage.arm(failpoint)
        self.stage.run("systemctl", "reset-failed", "tokd", check=False)
        self.stage.run("systemctl", "start", "tokd", check=False)
        wait_until(
            lambda: self.stage.show("ActiveState") == "failed", 60, 0.1, what=lambda: str(self.stage.seen())
        )
        if (tries := self.stage.starts() - mark) != TRIES:
            self._say(kind, f"{tries} tries")

    def _safe_mode(self) -> None:
        kind, place = "crashes by a post", self.chance.choice(BY_THE_POST)
        # The last chunk, a small file's only one, is the commit, and passes other places.
        order = self._due(TWO_CHUNKS if place == "upload.before_chunk" else SMALL)
        mark = self.stage.starts()
        self.stage.arm(f"{place}:kill")
        self.stage.run("systemctl", "reset-failed", "tokd", check=False)
        self.stage.run("systemctl", "start", "tokd", check=False)
        phase = wait_or_none(lambda: self._phase() == "safe_mode", 60)
        if phase is None:
            self._say(kind, f"{place}: no safe mode: {self.stage.seen()}; the post: {self._view(order)}")
            return
        if (tries := self.stage.starts() - mark) != 4:
            self._say(kind, f"{place}: safe mode at start {tries}, and it should be the fourth")
        refused = self.stage.daemon.call("system/pause", id=f"safe-{time.monotonic()}")
        if refused.get("error", {}).get("code") != "safe_mode":
            self._say(kind, f"an order in safe mode: {refused}")
        if self.stage.state_of(order) in {"published", "failed"}:
            self._say(kind, f"{place}: the post is {self.stage.state_of(order)}")
        self._nothing_went_out(kind, order)
        if self.stage.seen().state != "active":
            self._say(kind, f"it did not stay: {self.stage.seen()}")

    def _view(self, order: Ordered) -> dict[str, str]:
        found = self.stage.daemon.post(self.stage.posts[order.command])
        return {name: str(found[name]) for name in ("state", "reason", "detail", "until") if found.get(name)}

    def _phase(self) -> str:
        reply = self.stage.daemon.call_or_none("system/health")
        return str(reply["result"]["phase"]) if reply else ""

    def _bad_config(self) -> None:
        kind, mistake = "bad configuration", self.chance.choice(sorted(BAD))
        order = self._due()
        with self.stage.config() as good:
            self.stage.write(CONFIG, good + BAD[mistake])
            self.stage.run("systemctl", "reset-failed", "tokd", check=False)
            self.stage.run("systemctl", "start", "tokd", check=False)
            self._nothing_went_out(kind, order)
            ended = self.stage.machine.shown("ActiveState", "NRestarts", "ExecMainStatus", "ExecMainPID")
            words = self.stage.words_of(int(ended.pop("ExecMainPID")))
            if ended != {"ActiveState": "failed", "NRestarts": "0", "ExecMainStatus": "78"}:
                self._say(kind, f"it ended with {ended}")
            if NAMED[mistake] not in words:
                self._say(kind, f"the journal does not name the mistake in {mistake}: {words[-300:]}")

    def _nothing_went_out(self, kind: str, order: Ordered) -> None:
        wait_or_none(lambda: False, CALM_S)
        ledger = self.stage.simulator.ledger()
        made = {
            init["publish_id"]
            for init in ledger["inits"]
            if init["source_info"].get("video_size") == order.size
        }
        if any(row["publish_id"] in made for row in (*ledger["publishes"], *ledger["ranges"])):
            self._say(kind, f"{order.command} went out meanwhile")

    def _mend(self, kind: str) -> None:
        """Do what the documents say, and see the post go out once."""
        self.stage.simulator.clear_faults()
        self.stage.arm(None)
        self.stage.tokd("safe-mode", "leave")
        self.stage.start()
        self.task.tally.take(self.stage.settled(self.orders[-1:]))
        self.task.tally.orders = len(self.orders)
        self.task.tally.inits += len(self.stage.books().inits_of(self.orders[-1]))
        if self._phase() == "safe_mode":
            self._say(kind, "it is in safe mode still")


def loops(task: Task) -> None:
    """E5. A crash loop, crashes by a post, a bad configuration."""
    with installed(task) as stage:
        try:
            Loops(task, stage).run()
        finally:
            with contextlib.suppress(AssertionError):
                stage.tokd("safe-mode", "leave")
