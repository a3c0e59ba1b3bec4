"""A1 and A4: the daemon ends at moments that nobody chose, by a kill or with the power of its disk."""

import itertools
import random
import shutil
import statistics
import time

from tests.crash.campaign import Campaign, Tally
from tests.crash.stage import Stage
from tests.daemons import ROOT
from tests.scorecard.power import Disk
from tests.scorecard.row import Task, side_by_side

LANES = 2  # campaigns at once
ACCOUNTS = tuple(f"creator-{number}" for number in range(1, 6))


def random_kills(task: Task) -> None:
    """A1. Posts are under way while the daemon, and now and then the broker, is ended with kill -9."""
    lanes = LANES if task.count >= 20 * LANES else 1
    tallies: list[Tally] = []
    try:
        side_by_side(task, lanes, lambda number: _kills(task.part(number, lanes), tallies))
    finally:
        task.tally.figures["with a post at the platform"] = str(sum(tally.busy_kills for tally in tallies))
        aside = sum(tally.put_aside for tally in tallies)
        task.tally.figures["put aside after ten ends, and released by hand"] = str(aside)


def _kills(task: Task, tallies: list[Tally]) -> None:
    """Run one campaign, with platform, broker and daemon of its own."""
    stage = Stage(task.folder / "stage", ACCOUNTS, persistence=True)
    daemon = stage.daemon(task.folder / "daemon")
    caller = stage.caller(daemon, session_s=3600)
    campaign, kills = Campaign(stage, daemon, caller, task.seed), task.count
    tallies.append(campaign.tally)
    try:
        # A kill takes more than a second: were the orders through before, the last ones would meet nothing.
        campaign.plan(ACCOUNTS, max(20, kills * 5 // 2), over_s=max(20.0, kills * 1.5))
        brokers = max(1, kills // 20) if kills > 1 else 0
        campaign.hold(kills, min(brokers, kills - 1), until=_told(task, tallies))
        _close_books(task, campaign)
    finally:
        with task.lock:
            task.tally.faults.update(
                {"kill -9": campaign.tally.kills, "broker kill": campaign.tally.broker_kills}
            )
        campaign.rest()
        caller.close()
        daemon.kill()
        stage.close()


def _told(task: Task, tallies: list[Tally]):
    def look() -> bool:
        kills, busy = (sum(getattr(tally, name) for tally in tallies) for name in ("kills", "busy_kills"))
        task.say(f"{kills} kills, {busy} of them with a post at the platform")
        return task.is_over()

    return look


def _close_books(task: Task, campaign: Campaign) -> None:
    findings, books = campaign.read()
    with task.lock:
        task.tally.take(findings)
        task.tally.orders += campaign.tally.posts
        task.tally.inits += sum(len(books.inits_of(order.expected)) for order in campaign.orders)
    campaign.check_events(len(findings.uncertain))


class PowerCuts(Campaign):
    """The daemon's folder is a file system of its own, and each end leaves of it what had reached its disk."""

    def __init__(self, *args, disk: Disk) -> None:
        super().__init__(*args)
        self.disk = disk
        self.took: list[float] = []

    def end(self) -> None:
        begun = time.monotonic()
        self.daemon.pause()  # so that it can promise nothing after the picture was taken
        picture = self.disk.picture()
        self.daemon.kill_all()
        self.disk.go_on_from(picture)
        self.took.append(time.monotonic() - begun)


def power_cuts(task: Task) -> None:
    """A4. At any moment the disk is what had been written to it, and no more."""
    lanes = LANES if task.count >= 20 * LANES else 1
    tallies: list[Tally] = []
    took: list[float] = []
    side_by_side(task, lanes, lambda number: _cuts(task.part(number, lanes), tallies, took))
    task.tally.figures["with a post at the platform"] = str(sum(tally.busy_kills for tally in tallies))
    if took:
        task.tally.figures["seconds a cut"] = f"{statistics.median(took):.2f}"
    _control(task)


def _cuts(task: Task, tallies: list[Tally], took: list[float]) -> None:
    """Run one campaign, on a disk of its own."""
    with Disk(task.folder / "disk", task.folder / "daemon") as disk:
        stage = Stage(task.folder / "stage", ACCOUNTS)
        daemon = stage.daemon(task.folder / "daemon")
        caller = stage.caller(daemon, session_s=3600)
        campaign = PowerCuts(stage, daemon, caller, task.seed, disk=disk)
        tallies.append(campaign.tally)
        try:
            campaign.plan(ACCOUNTS, max(20, task.count * 100 // 60), over_s=max(20.0, task.count * 1.2))
            disk.sync()
            campaign.hold(task.count, 0, until=_told(task, tallies))
            _close_books(task, campaign)
            took += campaign.took
        finally:
            with task.lock:
                task.tally.faults["power cut"] += campaign.tally.kills
            campaign.rest()
            caller.close()
            daemon.kill()
            stage.close()


def _control(task: Task) -> None:
    """Without the sync at each commit, a power cut must lose what was promised."""
    root = task.folder / "broken"
    for package in ("daemon", "adapters", "config"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    store = root / "adapters/storage/store.py"
    text = store.read_text()
    assert text.count("synchronous=FULL") == 1, "store.py has changed: mend this control with it"
    store.write_text(text.replace("synchronous=FULL", "synchronous=NORMAL"))
    with Disk(task.folder / "disk2", task.folder / "daemon2") as disk:
        stage = Stage(task.folder / "stage2", root=root)
        daemon = stage.daemon(task.folder / "daemon2")
        chance = random.Random(task.seed)
        try:
            for number in itertools.count(1):
                assert number <= 20, "twenty power cuts without a sync, and no promise was broken"
                if _has_lost(stage, daemon, disk, chance):
                    task.tally.controls += 1
                    task.tally.figures["control lost a promise at cut"] = str(number)
                    return
        finally:
            daemon.kill()
            stage.close()


def _has_lost(stage: Stage, daemon, disk: Disk, chance: random.Random) -> bool:
    disk.sync()
    daemon.start(wait=False)
    daemon.wait_ready(60)
    disk.sync()
    promised = []
    for _ in range(chance.randint(3, 12)):
        order = stage.address()
        args = {"account": "demo", "privacy": "SELF_ONLY", "url": order.url, "at": "2099-01-01T00:00:00Z"}
        reply = daemon.call("post/schedule", args, id=order.command)
        assert reply["status"] == "done", reply
        promised.append(reply["result"]["post"])
    daemon.pause()
    picture = disk.picture()
    daemon.kill_all()
    disk.go_on_from(picture)
    stored = {row[0] for row in daemon.rows("SELECT id FROM post")}
    return bool(set(promised) - stored)
