"""D6: the network between tokd and both TikTok and the broker breaks in each way, and is mended again."""

import contextlib
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.crash.campaign import SMALL
from tests.crash.ledgers import FINAL, Books, Ordered
from tests.crash.stage import Stage
from tests.daemons import Daemon
from tests.scorecard.faulty import FaultProxy, Netns, silent_names
from tests.scorecard.row import Task
from tests.waiting import wait_until

ACCOUNTS = tuple(f"creator-{number}" for number in range(1, 5))
WAYS = (
    "slow",
    "delay",
    "swallow",
    "half_open",
    "reset",
    "blackhole",
    "refuse_407",
    "names fail",
    "names silent",
)
BROKEN_FOR_S = 6.0
GOES_ON_WITHIN_S = 60.0
SETTLES_WITHIN_S = 180.0
# As in the shipped settings, but in seconds where those are minutes: what is tried is that they are kept.
PATIENCE = {
    "tiktok.connect_timeout_s": "2", "tiktok.read_timeout_s": "4", "tiktok.call_deadline_s": "8",
    "posts.retry_delays_s": str([1.0] * 50), "mqtt.keepalive_s": "5", "daemon.workers": "4",
}  # fmt: skip
DEADLINE_S = 8.0
PONG_S = 5.0  # the core answers on its own socket whatever the network does
_THREAD = re.compile(
    r'^(?:Current thread|Thread) 0x[0-9a-f]+.*$|^  File "([^"]+)", line \d+ in (\w+)', re.MULTILINE
)


class Breaks:
    """One daemon behind the proxies; each round breaks the network, orders meanwhile, mends it and counts."""

    def __init__(
        self, task: Task, stage: Stage, daemon: Daemon, netns: Netns, proxies: list[FaultProxy]
    ) -> None:
        self.task, self.stage, self.daemon, self.netns, self.proxies = task, stage, daemon, netns, proxies
        self.orders: list[Ordered] = []
        self.posts: list[str] = []
        self.waits: dict[str, float] = {}
        self.stuck: Counter[str] = Counter()
        self.threads = 0

    def order(self, account: str) -> str:
        """Order a post for now over the control socket; every second one is a file."""
        if len(self.orders) % 2:
            media, expected = self.stage.clip(self.daemon, SMALL)
            source = {"media": media}
        else:
            expected = self.stage.address()
            source = {"media": None, "url": expected.url}
        reply = self.daemon.schedule(id=expected.command, account=account, **source)
        assert reply["status"] == "done", reply
        self.orders.append(expected)
        self.posts.append(reply["result"]["post"])
        return self.posts[-1]

    def settle(self) -> None:
        """Remember how many threads there are where all is well."""
        self.daemon.wait_state(self.order(ACCOUNTS[0]), *FINAL, within_s=60)
        counts: list[int] = []  # a call that is just under way has a thread of its own
        wait_until(lambda: counts.append(self._count()) or len(counts) > 20, 10, 0.1)
        self.threads = min(counts)

    def round(self, way: str) -> None:
        """Break it for some seconds with posts before and in it, mend it, and see it all go on."""
        for account in ACCOUNTS[:2]:
            self.order(account)
        with self._broken(way):
            meanwhile = [self.order(account) for account in ACCOUNTS]
            self._let_be()
            self._check_broken(way, meanwhile)
        self.task.tally.faults[way] += 1
        mended = time.monotonic()
        fresh = self.order(ACCOUNTS[-1])
        self._await_fresh(way, fresh, mended)
        self._await_broker(way, mended)
        wait_until(
            lambda: not self._open(),
            SETTLES_WITHIN_S,
            0.2,
            what=lambda: f"{way}: posts at their end: {self._open()}",
        )
        self._await_threads(way)

    @contextlib.contextmanager
    def _broken(self, way: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if way.startswith("names"):
                if way == "names silent":
                    stack.enter_context(silent_names(self.netns))
                self.netns.lose_names()
                stack.callback(self.netns.heal_names)
                self.proxies[0].set("reset")  # or the connections that are open would go on being used
                stack.callback(self.proxies[0].set, "pass")
            for proxy in self.proxies if not way.startswith("names") else ():
                proxy.set(way)
                stack.callback(proxy.set, "pass")
            yield

    def _let_be(self) -> None:
        """Let the fault last; the core must answer all the while."""
        end, pause = time.monotonic() + BROKEN_FOR_S, threading.Event()
        while time.monotonic() < end:
            begun = time.monotonic()
            self.daemon.call("system/ping")
            if (took := time.monotonic() - begun) > PONG_S:
                self.task.tally.wrong.append(f"a ping took {took:.1f} s while the network was broken")
            pause.wait(0.5)

    def _check_broken(self, way: str, meanwhile: list[str]) -> None:
        """A fault that posts pass through would prove nothing."""
        if way not in {"slow", "delay"}:
            names = ", ".join(f"'{post}'" for post in meanwhile)
            out = self.daemon.rows(f"SELECT id FROM post WHERE id IN ({names}) AND state IN ('published')")
            if out:
                self.task.tally.wrong.append(
                    f"{way}: {len(out)} posts went out through a network that was broken"
                )

    def _await_fresh(self, way: str, post: str, mended: float) -> None:
        try:
            self.daemon.wait_state(post, *FINAL, within_s=GOES_ON_WITHIN_S)
        except AssertionError as error:
            self.task.tally.wrong.append(f"{way}: posting does not go on: {error}"[:400])
        self.waits[way] = max(self.waits.get(way, 0.0), time.monotonic() - mended)

    def _await_broker(self, way: str, mended: float) -> None:
        def is_back() -> bool:
            return bool(self.daemon.call("system/health")["result"]["parts"]["mqtt"]["connected"])

        left = max(mended + GOES_ON_WITHIN_S - time.monotonic(), 1)
        try:
            wait_until(is_back, left, 0.2, what="the broker")
        except AssertionError as error:
            self.task.tally.wrong.append(f"{way}: {error}"[:300])

    def _await_threads(self, way: str) -> None:
        """No thread may be left in a call whose deadline has passed: as many as before, none of them in the transport."""
        try:
            wait_until(lambda: self._has_thread_count(self.threads), DEADLINE_S + 30, 0.5)
        except AssertionError:
            self.task.tally.wrong.append(
                f"{way}: {self._count()} threads, before it {self.threads}: {self._stacks()}"
            )
            return
        for place in self._stacks():
            self.stuck[place] += 1
            self.task.tally.wrong.append(f"{way}: a thread is still in {place}")

    def _count(self) -> int:
        assert self.daemon.process is not None
        return len(list(Path(f"/proc/{self.daemon.process.pid}/task").iterdir()))

    def _has_thread_count(self, wanted: int) -> bool:
        return self._count() <= wanted

    def _stacks(self) -> list[str]:
        """Return where the daemon's threads wait for TikTok just now, by its own SIGUSR1."""
        assert self.daemon.process is not None
        before = self.daemon.log.stat().st_size
        self.daemon.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self.daemon.log.stat().st_size > before + 500, 10, what="stacks")
        text = self.daemon.log.read_bytes()[before:].decode(errors="replace")
        files = [found.groups() for found in _THREAD.finditer(text) if found.group(1)]
        return sorted({name for file, name in files if "/adapters/tiktok/" in file or name == "getaddrinfo"})

    def _open(self) -> list[tuple[str, str, str]]:
        ends = "('published', 'sent_to_inbox', 'failed', 'cancelled', 'uncertain')"
        return self.daemon.rows(f"SELECT id, state, reason FROM post WHERE state NOT IN {ends}")

    def close_books(self) -> None:
        books = Books(self.stage.simulator.ledger(), self.daemon.state_dir / "tokd.db")
        self.task.tally.take(books.check(self.orders))
        self.task.tally.orders = len(self.orders)
        self.task.tally.inits = sum(len(books.inits_of(order)) for order in self.orders)


def broken(task: Task) -> None:
    """D6. No thread stays in a call for ever, posting goes on soon after, nothing is lost and nothing twice."""
    stage = Stage(task.folder / "stage", ACCOUNTS)
    daemon = stage.daemon(task.folder / "daemon", PATIENCE)
    try:
        port = urlsplit(stage.simulator.url).port or 0
        daemon.settings["tiktok.api_base"] = f"http://localhost:{port}"
        netns = Netns(daemon)
        daemon.start(wait=False)
        with (
            FaultProxy(netns.socket, port) as platform,
            FaultProxy(netns.socket, stage.broker.port) as broker,
        ):
            daemon.wait_ready(60)
            found = Breaks(task, stage, daemon, netns, [platform, broker])
            found.settle()
            ways = list(WAYS)
            random.Random(task.seed).shuffle(ways)
            try:
                for number in range(task.count):
                    if task.is_over():
                        break
                    found.round(ways[number % len(ways)])
                    task.say(f"{number + 1} of {task.count}: {ways[number % len(ways)]}")
                found.close_books()
            finally:
                slowest = max(found.waits, key=lambda way: found.waits[way], default="none")
                task.tally.figures |= {
                    "seconds from the repair to a fresh post's end (max)": f"{found.waits.get(slowest, 0):.1f} ({slowest})",
                    "threads": str(found.threads),
                }  # fmt: skip
            assert daemon.stop() == 0, daemon.tail()
    finally:
        daemon.kill()
        stage.close()
