"""E1 to E3: the installed units in a real systemd of their own; looked at, and their daemon killed and hung."""

import atexit
import contextlib
import functools
import itertools
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.crash.campaign import SMALL
from tests.crash.ledgers import Ordered
from tests.crash.stage import wait_or_none
from tests.scorecard.row import CannotRun, Task
from tests.systemd import newer, probes
from tests.systemd.machine import NotBooted, why_not
from tests.systemd.stage import RESTART_S, UNITS, Seen, Stage, missing_stacks
from tests.waiting import wait_until

# Over the figures of the reference, for a machine that has other work; what took longest is told with the results.
PATIENCE_S = 10.0
WATCHDOG_S = 3
BACK_WITHIN_S = RESTART_S + 3.0
FOUND_WITHIN_S = WATCHDOG_S + 5.0
ENDS_WITHIN_S = 60.0
KILL, STOP, DEADLOCK, DEAD_THREAD = "SIGKILL", "SIGSTOP", "deadlocked loop", "dead MQTT thread"
FAILPOINTS = {
    KILL: None,
    STOP: None,
    # The second message that comes is the one that hangs: the first orders a post.
    DEADLOCK: "inbox.before_commit:hang@2",
    # A start alone has fewer events, even with those that its forerunner did not get rid of.
    DEAD_THREAD: "outbox.before_send:die@25",
}


@functools.cache
def _built() -> Stage:
    stage = Stage.built()
    atexit.register(stage.close)
    return stage


@contextlib.contextmanager
def installed(task: Task) -> Iterator[Stage]:
    """Lend the machine with tokd installed, the same one to all rows of a command. Raises CannotRun."""
    if (reason := why_not()) is not None:
        raise CannotRun(f"a systemd of its own {reason}")
    task.say("boots a machine and installs tokd there, if no row before has")
    begun = time.monotonic()
    try:
        stage = _built()
    except NotBooted as error:
        raise CannotRun(str(error)) from error
    if time.monotonic() - begun > 1:
        task.tally.figures["boot and installation (s)"] = f"{time.monotonic() - begun:.0f}"
    with stage.network():
        stage.arm(None)
        stage.change()
        stage.start()
        yield stage


def exposure(task: Task) -> None:
    """E1. The text of the units, by this systemd and a newer one."""
    tally = task.tally
    with installed(task) as stage:
        for unit in UNITS:
            value, wrong = probes.exposed(stage, unit)
            tally.figures[unit] = f"{value}"
            tally.wrong += wrong + probes.verified(stage, unit)
            tally.cases += 2
        tally.wrong += probes.verified_for_a_person(stage)
        tally.cases += 1
        version = stage.run("systemctl", "--version").stdout.split()[1]
    tally.figures["systemd"] = version
    task.say("makes a tree with a newer systemd", every_s=0)
    with newer.systemd() as (there, why):
        if there is None:
            tally.figures["a newer systemd"] = f"not tried: {why}"
            return
        for unit in UNITS:
            value, wrong = there.exposed(unit)
            tally.figures[f"{unit} on {there.version}"] = f"{value}"
            tally.wrong += wrong
            tally.cases += 2


def inside(task: Task) -> None:
    """E2. Browsers with windows in the unit: their sandbox, their windows, and secrets that others cannot read."""
    tally = task.tally
    with installed(task) as stage:
        stage.open_windows(2)
        tally.cases = len(stage.commands())
        tally.wrong += probes.sandboxed(stage) + probes.secret(stage)
        try:
            wait_until(lambda: probes.is_shown(stage), 20, 0.3, what=lambda: f"a title: {stage.titles()}")
        except AssertionError as error:
            tally.wrong.append(str(error))
        tally.figures |= {
            "renderers": str(len(stage.renderers())), "processes": str(tally.cases), "titles": "; ".join(stage.titles()),
        }  # fmt: skip
        stage.stop()


@dataclass
class Deaths:
    """E3. Faults one after the other, of every kind in an order that chance has drawn; each with a post under way."""

    task: Task
    stage: Stage
    orders: list[Ordered] = field(default_factory=list)
    found_s: dict[str, list[float]] = field(default_factory=dict)
    back_s: dict[str, list[float]] = field(default_factory=dict)

    def run(self) -> None:
        plan = self._plan()
        self.stage.arm(FAILPOINTS[plan[0]])
        self.stage.start()
        for number, kind in enumerate(plan):
            if self.task.is_over():
                break
            # The start that this fault leads to is armed for the next one.
            self.stage.arm(FAILPOINTS[plan[number + 1]] if number + 1 < len(plan) else None)
            try:
                self._one(kind)
            except AssertionError as error:
                self.task.tally.wrong.append(f"{kind}: {error}"[:600])
                self.stage.start()
            self.task.say(f"{number + 1} of {len(plan)}, the last one: {kind}")
        self._close_books()

    def _plan(self) -> list[str]:
        """Draw the order of the faults, no two dead threads in turn.

        What the first one has left unsent would end the second one at its start, not when its own turn has come.
        """
        chance, each = random.Random(self.task.seed), max(self.task.count // len(FAILPOINTS), 1)
        plan = [kind for kind in FAILPOINTS if kind != DEAD_THREAD for _ in range(each)]
        chance.shuffle(plan)
        for place in sorted(chance.sample(range(len(plan) + 1), each), reverse=True):
            plan.insert(place, DEAD_THREAD)
        return plan

    def _one(self, kind: str) -> None:
        stage, before = self.stage, self.stage.seen()
        self.orders.append(stage.order(SMALL))
        at = self._inject(kind, before.main)
        self.task.tally.faults[kind] += 1
        self._judge(kind, at, before, stage.another(before.main))

    def _inject(self, kind: str, main: int) -> float:
        """Do it; return when it was done."""
        if kind == DEAD_THREAD:
            return self._say_much()
        at = time.monotonic()
        if kind == DEADLOCK:
            self.stage.later("system/ping", {})
        else:
            self.stage.run("kill", f"-{kind.removeprefix('SIG')}", str(main))
        return at

    def _say_much(self) -> float:
        """Order what leads to events until nobody answers any more; return when the last order was given."""
        stage, end = self.stage, time.monotonic() + ENDS_WITHIN_S
        wait_until(stage.is_at_the_broker, ENDS_WITHIN_S, 0.1, what="MQTT")
        at = time.monotonic()
        for verb in itertools.cycle(("system/pause", "system/resume")):
            before, at = at, time.monotonic()
            reply = stage.daemon.call_or_none(
                verb
            )  # without an id, so that it is not sent again to the next daemon
            if reply is None or reply["status"] != "done":
                return before
            assert at < end, "the thread did not end"
            wait_or_none(lambda: False, 0.02)
        raise AssertionError  # a cycle has no end

    def _judge(self, kind: str, at: float, before: Seen, after: Seen) -> None:
        found, back = after.left_at - at, after.ready_at - after.left_at
        self.found_s.setdefault(kind, []).append(found)
        self.back_s.setdefault(kind, []).append(back)
        wrong = []
        if kind in {STOP, DEADLOCK}:  # the journal may be behind where much else runs
            wait_or_none(lambda: not missing_stacks(self.stage.words_of(before.main)), PATIENCE_S)
        words = self.stage.words_of(before.main)
        if found > FOUND_WITHIN_S + PATIENCE_S:
            wrong.append(f"found after {found:.1f} s")
        if back > BACK_WITHIN_S + PATIENCE_S:
            wrong.append(f"back after {back:.1f} s")
        if after.restarts != before.restarts + 1:
            wrong.append(f"{after.restarts - before.restarts} restarts")
        if kind in {STOP, DEADLOCK} and (missing := missing_stacks(words)):
            wrong.append(f"no stack of {', '.join(missing)} in the journal")
        if kind == DEADLOCK and "hanging: bus" not in words:
            wrong.append("the journal does not say what hangs")
        if kind == DEAD_THREAD and not ("mqtt died" in words and "failpoints.py" in words):
            wrong.append("the journal does not say what died, and where")
        if wrong:
            (self.task.folder / f"journal-of-{before.main}.txt").write_text(words)
        self.task.tally.wrong += [f"{kind}: {text}" for text in wrong]

    def _late(self) -> str:
        """Tell how often a figure was missed by less than the patience."""
        found = sum(seconds > FOUND_WITHIN_S for each in self.found_s.values() for seconds in each)
        back = sum(seconds > BACK_WITHIN_S for each in self.back_s.values() for seconds in each)
        return f"{found} found late, {back} ready late"

    def _close_books(self) -> None:
        self.stage.arm(None)
        self.stage.start()
        self.stage.daemon.call("system/resume")  # an end may have come between a pause and its resume
        findings = self.stage.settled(self.orders)
        tally = self.task.tally
        tally.take(findings)
        tally.orders = len(self.orders)
        books = self.stage.books()
        tally.inits = sum(len(books.inits_of(order)) for order in self.orders)
        tally.figures["within the patience only"] = self._late()
        for name, seconds in (("found", self.found_s), ("ready again", self.back_s)):
            tally.figures |= {
                f"{kind}, {name} (s)": f"{statistics.median(found):.1f}, at most {max(found):.1f}"
                for kind, found in seconds.items()
            }


def deaths(task: Task) -> None:
    """E3. The main process is killed or hangs, and systemd finds out and starts it again."""
    with installed(task) as stage:
        stage.change(service=f"WatchdogSec={WATCHDOG_S}")
        Deaths(task, stage).run()
