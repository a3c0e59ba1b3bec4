"""Random kills: posts are under way while the daemon, and now and then the broker, are ended with kill -9."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.crash.ledgers import FINAL_EVENTS, Books, Findings, Ordered
from tests.crash.stage import Stage
from tests.daemons import Caller, Daemon
from tests.notes import note
from tests.waiting import wait_until

SMALL = 300_000
TWO_CHUNKS = 12_000_000
RESEND_S = 5.0  # doubled with each try
# A caller that sends all that is not answered again and again fills a broker that keeps messages faster than a daemon
# that lives for half a second can take them: after some hundred kills nothing would be under way any more.
UNANSWERED_MAX = 40
# Answers take a while in the real world; here, too, so that a kill meets work that is done and not yet answered.
SLOW = [
    {"endpoint": name, "action": "slow_after", "seconds": seconds, "times": None}
    for name, seconds in (("init", 0.15), ("upload", 0.1), ("creator_info", 0.05), ("status", 0.05))
]
BUSY_STATES = "('claimed', 'validating', 'initialised', 'uploading', 'committing', 'processing')"


@dataclass
class Order:
    """One post/schedule command of the campaign."""

    expected: Ordered
    args: dict[str, Any]
    due: datetime
    sent_at: float = float("-inf")
    tries: int = 0
    times: int = 1

    def is_wanted_again(self, now: float) -> bool:
        """Tell whether it is time to send it (again)."""
        return now - self.sent_at >= RESEND_S * 2 ** min(self.tries, 5)


@dataclass
class Tally:
    """What was done to the daemon."""

    seed: int
    kills: int = 0
    early_kills: int = 0  # before it was ready
    busy_kills: int = 0  # while a post was at the platform
    broker_kills: int = 0
    put_aside: int = 0  # after ten ends with them at work, until somebody said to go on
    posts: int = 0
    seconds: float = 0.0


class Campaign:
    """Orders posts and kills; every step is drawn from `seed`."""

    def __init__(self, stage: Stage, daemon: Daemon, caller: Caller, seed: int) -> None:
        self.stage = stage
        self.daemon = daemon
        self.caller = caller
        self.random = random.Random(seed)
        self.tally = Tally(seed)
        self.orders: list[Order] = []
        self.replayed: list[dict[str, Any]] = []
        self._stop = threading.Event()

    def plan(self, accounts: tuple[str, ...], posts: int, over_s: float, *, urls: float = 0.1) -> None:
        """Draw the orders: mostly small files, some of two chunks, a share `urls` of addresses; a fifth are drafts."""
        for number in range(posts):
            account = accounts[number % len(accounts)]
            due = datetime.now(UTC) + timedelta(seconds=2 + self.random.uniform(0, over_s))
            args: dict[str, Any] = {"account": account, "at": due.isoformat()}
            if self.random.random() < 0.2:
                args["mode"] = "inbox"
            else:
                args |= {"privacy": "SELF_ONLY", "title": f"number {number}"}
            if self.random.random() < urls:
                expected = self.stage.address()
                args["url"] = expected.url
            else:
                size = TWO_CHUNKS if self.random.random() < 0.1 else SMALL
                args["media"], expected = self.stage.clip(self.daemon, size)
            self.orders.append(Order(expected, args, due))
        self.tally.posts = len(self.orders)

    def send_unanswered(self) -> int:
        """Send every order of the next half minute that has no final reply; return how many there are in all."""
        finals = {reply["id"]: reply for reply in list(self.caller.replies) if reply["final"]}
        for order in self.orders:
            if finals.get(order.expected.command, {}).get("error", {}).get("code") == "bad_time":
                self._order_anew(order)
        waiting = [order for order in self.orders if order.expected.command not in finals]
        soon, now = datetime.now(UTC) + timedelta(seconds=30), time.monotonic()
        sent = sum(order.tries > 0 for order in waiting)
        for order in sorted(waiting, key=lambda order: order.due):
            is_new = order.tries == 0
            if order.due >= soon or not order.is_wanted_again(now) or (is_new and sent >= UNANSWERED_MAX):
                continue
            sent += is_new
            order.sent_at, order.tries = now, order.tries + 1
            self.caller.send("post/schedule", order.args, id=order.expected.command)
        return len(waiting)

    def _order_anew(self, order: Order) -> None:
        """The order came after its time: order the same for a later one, under a new id, as a person would."""
        order.times += 1
        order.due = datetime.now(UTC) + timedelta(seconds=5 * order.times)
        order.args = order.args | {"at": order.due.isoformat()}
        name = order.expected.command.partition("-again-")[0]  # an id has 64 letters at the most
        order.expected = replace(order.expected, command=f"{name}-again-{order.times}")
        order.sent_at, order.tries = float("-inf"), 0

    def insist(self) -> None:
        """Go on sending what is not answered until all is, or `rest` is called."""
        while not self._stop.is_set() and self.send_unanswered():
            self._stop.wait(1)

    def rest(self) -> None:
        self._stop.set()

    def kill_some(
        self, kills: int, broker_kills: int = 0, *, until: Callable[[], bool] = lambda: False
    ) -> None:
        """Start and kill the daemon so many times; the broker dies at rounds of its own."""
        broker_rounds = set(self.random.sample(range(1, kills), broker_kills))
        for number in range(kills):
            self.daemon.start(wait=False)
            if number in broker_rounds:
                self.stage.broker.restart()
                self.tally.broker_kills += 1
                note({"broker kill": 1})
            if self.random.random() < 0.2:
                self.tally.early_kills += 1
                self._let_run(self.random.uniform(0.0, 1.0))
            else:
                self.daemon.wait_ready(60)
                self._let_run(self._life())
            self.tally.kills += 1
            assert self.daemon.process is not None
            assert self.daemon.process.poll() is None, f"it ended by itself:\n{self.daemon.tail()}"
            self.end()
            self.tally.busy_kills += self._is_busy()
            if until():
                return

    def _life(self) -> float:
        """Draw how long the daemon may live: one time in six long enough for a file's check and for a whole post.

        Were all lives short, a loaded machine would get nothing done in any, and the kills would meet nothing.
        """
        return (
            self.random.uniform(1.0, 3.0) if self.random.random() < 1 / 6 else self.random.uniform(0.15, 0.8)
        )

    def end(self) -> None:
        """End the daemon as this campaign does it."""
        self.daemon.kill()
        note({"kill -9": 1})

    def _let_run(self, seconds: float) -> None:
        threading.Event().wait(seconds)  # the one moment of the campaign that is left to chance

    def _is_busy(self) -> bool:
        try:
            return self.daemon.rows(f"SELECT count(*) FROM post WHERE state IN {BUSY_STATES}")[0][0] > 0
        except Exception:  # noqa: BLE001 - the database may not be there yet
            return False

    def finish(self, within_s: float) -> None:
        """Start once more and let everything come to its end."""
        self.daemon.start(wait=False)
        self.daemon.wait_ready(60)
        wait_until(
            lambda: all(self._is_done(order) for order in self.orders),
            within_s, every_s=0.2, what="every order taken",
        )  # fmt: skip
        wait_until(lambda: not self._open(), within_s, every_s=0.2, what="every post at its end")
        if self._release_put_aside():
            wait_until(lambda: not self._open(), within_s, every_s=0.2, what="the end of what was put aside")
        self.rest()

    def _release_put_aside(self) -> int:
        """Do what tokd asks for where it has ended ten times over a post: look at the log (we know), and go on."""
        found = self.daemon.rows("SELECT id FROM post WHERE state = 'held' AND reason = 'crashes_the_daemon'")
        for (post,) in found:
            reply = self.daemon.call("post/publish_now", {"post": post}, id=f"go-on-{post}")
            assert reply["status"] == "done", reply
        self.tally.put_aside += len(found)
        return len(found)

    def _is_done(self, order: Order) -> bool:
        reply = self.caller.final(order.expected.command)
        return reply is not None and reply["status"] == "done"

    def _open(self) -> list[tuple[Any, ...]]:
        settled = "('published', 'sent_to_inbox', 'failed', 'cancelled', 'held')"
        query = f"SELECT id, state FROM post WHERE state NOT IN {settled}"
        return [
            row for row in self.daemon.rows(query) if not (row[1] == "uncertain" and self._is_quiet(row[0]))
        ]

    def _is_quiet(self, post: str) -> bool:
        return self.daemon.rows(f"SELECT wake_at FROM post WHERE id = '{post}'")[0][0] is None

    def read(self) -> tuple[Findings, Books]:
        """Read both ledgers."""
        books = Books(self.stage.simulator.ledger(), self.daemon.state_dir / "tokd.db")
        return books.check([order.expected for order in self.orders]), books

    def hold(self, kills: int, broker_kills: int, *, until: Callable[[], bool] = lambda: False) -> None:
        """Kill so often while the orders are sent, let all come to its end, and stop the daemon in order."""
        begun = time.monotonic()
        self.stage.simulator.faults(*SLOW)
        insisting = threading.Thread(target=self.insist, name="caller")
        insisting.start()
        try:
            self.kill_some(kills, broker_kills, until=until)
            self.finish(60 + len(self.orders) / 2)
        finally:
            self.rest()
            insisting.join()
        self.replayed = self.daemon.events()
        assert self.daemon.stop() == 0, self.daemon.tail()
        self.tally.seconds = round(time.monotonic() - begun, 1)

    def check_events(self, doubts: int) -> None:
        """Every event is heard or can be replayed under one id and number, and every sure post has one end."""
        sequences = heard_or_replayed(self.caller, self.replayed)
        assert sequences == list(range(1, sequences[-1] + 1))
        finals = [event["data"]["post"] for event in self.replayed if event["type"] in FINAL_EVENTS]
        assert len(finals) == len(set(finals)) == len(self.orders) - doubts


def heard_or_replayed(caller: Caller, replayed: list[dict[str, Any]]) -> list[int]:
    """Return the sequence numbers that a caller has by either way. Raises where one number has two ids."""
    ids: dict[int, set[str]] = {}
    for event in [*caller.events(), *replayed]:
        ids.setdefault(int(event["sequence"]), set()).add(event["id"])
    assert all(len(found) == 1 for found in ids.values())
    return sorted(ids)
