"""B8: a node is stopped in the middle of a post until another one has taken it, and then goes on."""

import json
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.crash.stage import PREFIX, SETTINGS, UNLIMITED
from tests.daemons import ROOT, Daemon, Simulator
from tests.postgres import BINARIES, PostgresServer
from tests.scorecard.row import CannotRun, Task, side_by_side
from tests.waiting import wait_until

# While which call the node stands still, and in which state its post is then.
CALLS = {"creator_info": "validating", "init": "initialised"}
LEASE_S = 2
SLOW_S = 1.0  # so long each of these calls takes: the stopped node goes on while the other one is at it, too
GIVEN_UP_MS = (
    700  # after which PostgreSQL ends a transaction that is stopped; 10 s where nobody says otherwise
)
PATIENCE_S = 90.0
LANES = 2  # pairs of nodes at once
FINAL = {"published", "failed", "held", "cancelled", "sent_to_inbox"}
# What only the node says that drives a post; a status may be read by any.
DRIVES = {"post.started", "post.initialised", "post.processing", "post.retrying", "post.released"}


@dataclass(frozen=True)
class Stand:
    """How a post stands in the database."""

    fence: int
    state: str
    driver: str | None


@dataclass
class Found:
    """What a round has come to. `wrong` is what must never be."""

    end: str = "not stopped in time"
    is_doubled: bool = False
    is_lost: bool = False
    is_inside: bool = False  # it was stopped in the middle of a transaction
    inits: int = 0
    wrong: list[str] = field(default_factory=list)


class Pair:
    """Two nodes on one database and one platform, with one account."""

    def __init__(self, folder: Path, server: PostgresServer, root: Path = ROOT) -> None:
        self.simulator = Simulator(folder / "simulator")
        self.simulator.post("settings", UNLIMITED)
        url = server.new_database()
        self.nodes: dict[str, Daemon] = {}
        for name in ("left", "right"):
            own = {
                "daemon.node": name, "posts.lease_s": str(LEASE_S),
                "daemon.database_url": f"{url}&application_name={name}"
                f"&options=-c%20idle_in_transaction_session_timeout%3D{GIVEN_UP_MS}",
                "secrets.key_file": str(folder / "fernet.keys"), "media.verified_prefixes": json.dumps([PREFIX]),
            }  # fmt: skip
            self.nodes[name] = (
                Daemon(folder / name, SETTINGS | own, root).use_simulator(self.simulator).start()
            )
        self._database = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        self._rings = 0
        first = self.nodes["left"]
        first.link(self.simulator)
        # Whatever reads of the account a link begins must not meet the slowness that is meant for a post.
        wait_until(lambda: self.simulator.ledger()["calls"].get("creator_info"), what="the link at its end")
        args = {
            "account": "demo", "url": f"{PREFIX}never.mp4", "privacy": "SELF_ONLY", "at": "2099-01-01T00:00:00Z"
        }  # fmt: skip
        self._later = first.call("post/schedule", args, id="never")["result"]["post"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
            node.kill()
        self.simulator.stop()

    def round(self, number: int, call: str) -> Found:
        """Stop whoever drives a post at this call, let the other one take it, let the first go on, and look."""
        self.simulator.clear_faults()
        self.simulator.faults({"endpoint": call, "action": "slow", "seconds": SLOW_S, "times": 2})
        address = f"{PREFIX}stale-{number}.mp4"
        args = {"account": "demo", "url": address, "privacy": "SELF_ONLY", "at": "now"}
        reply = list(self.nodes.values())[number % 2].call("post/schedule", args, id=f"stale-{number}")
        assert reply["status"] == "done", reply
        post, found = reply["result"]["post"], Found()
        wait_until(
            lambda: self._stand(post).state == CALLS[call], PATIENCE_S, 0.005, what=f"{post} at {call}"
        )
        stale = self._stand(post).driver
        if stale is None:
            return found
        self._signal(stale, signal.SIGSTOP)
        before, inside = self._settled(stale, post)
        if before.driver != stale:  # too late: it was through
            self._signal(stale, signal.SIGCONT)
            return found
        is_intended = self._has_intent(post, before.fence)
        try:
            self._wait_taken(post, before, stale)
            # The other one may not have needed what it holds: then it is taken from it later.
            wait_until(lambda: not self._inside(stale), PATIENCE_S, 0.02, what="the end of its transaction")
        except AssertionError:
            found.wrong.append(f"{call}: nobody took the post of the stopped node: {self._stand(post)}")
        finally:
            # A connection that is still there was not taken from it.
            found.is_inside = bool(inside - self._connections(stale).keys())
            self._signal(stale, signal.SIGCONT)
        is_gone = found.is_inside and self._revive(stale, found)
        found.end = self._wait_end(post, is_gone=is_gone)
        self._judge(found, post, address, before, stale, is_intended=is_intended)
        return found

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self.nodes[name].process
        assert process is not None
        process.send_signal(number)

    def _stand(self, post: str) -> Stand:
        query = "SELECT fence, state, claimed_by FROM post WHERE id = %s"
        row = self._database.execute(query, (post,)).fetchone()
        assert row is not None
        return Stand(*row)

    def _settled(self, stale: str, post: str) -> tuple[Stand, set[int]]:
        """Wait until PostgreSQL has done what the stopped node had sent; return its connections in a transaction."""

        def look() -> bool:
            return "active" not in self._connections(stale).values()

        pause = suppress(AssertionError)
        with pause:
            wait_until(lambda: False, 0.05)  # a signal takes a moment to stop every thread
        wait_until(look, PATIENCE_S, 0.01, what="the database at rest")
        return self._stand(post), self._inside(stale)

    def _inside(self, name: str) -> set[int]:
        return {pid for pid, state in self._connections(name).items() if state == "idle in transaction"}

    def _connections(self, name: str) -> dict[int, str]:
        """Return what PostgreSQL says of a node's connections; the other pair's nodes have the same names."""
        query = (
            "SELECT pid, state FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()"
        )
        return dict(self._database.execute(query, (name,)).fetchall())

    def _has_intent(self, post: str, fence: int) -> bool:
        query = "SELECT init_sent_at FROM attempt WHERE post = %s AND fence = %s"
        row = self._database.execute(query, (post, fence)).fetchone()
        return row is not None and row[0] is not None

    def _wait_taken(self, post: str, before: Stand, stale: str) -> None:
        other = next(node for name, node in self.nodes.items() if name != stale)

        def look() -> bool:
            found = self._stand(post)
            if found.state in FINAL | {"uncertain"}:
                return True
            if found.fence > before.fence and found.driver not in {None, stale}:
                return True
            # A node looks at what is due every 30 s, and whenever somebody gives it an order.
            self._rings += 1
            args = {"post": self._later, "at": "2099-01-01T00:00:00Z"}
            other.call_or_none("post/reschedule", args, id=f"ring-{self._rings}")
            return False

        wait_until(look, PATIENCE_S, 0.15)

    def _revive(self, stale: str, found: Found) -> bool:
        """Start a node again that ends because its transaction was taken from it, as a service manager would."""
        node = self.nodes[stale]
        try:
            code = node.wait_dead(PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - the row tells it
            found.wrong.append(f"the node lives on with a transaction that is over: {error}")
            return False
        if code != 70:
            found.wrong.append(f"the node ended with {code}: {node.tail(3)}")
        node.start(wait=False)
        node.wait_ready(PATIENCE_S)
        return True

    def _wait_end(self, post: str, *, is_gone: bool) -> str:
        """Wait for the end; a doubt is one where nobody can bring evidence, or nobody has for some seconds."""
        begun = [0.0]

        def look() -> str:
            state = self._stand(post).state
            if state != "uncertain":
                begun[0] = 0.0
                return state if state in FINAL else ""
            begun[0] = begun[0] or time.monotonic()
            return state if time.monotonic() - begun[0] >= (0.5 if is_gone else 5.0) else ""

        return wait_until(look, PATIENCE_S, 0.05, what=lambda: f"the end of {post}: {self._stand(post)}")

    def _judge(
        self, found: Found, post: str, address: str, before: Stand, stale: str, *, is_intended: bool
    ) -> None:
        made, publishes = self.count(address)
        found.inits = made
        found.is_doubled = made > 1 or publishes > 1
        if found.is_doubled:
            found.wrong.append(f"{made} inits, {publishes} publishes of {address}")
        # Past the init of an address nobody can know; and what was taken twice may have been stopped there, too.
        is_knowable = not is_intended and self._stand(post).fence <= before.fence + 1
        if found.end != "published" and (found.end != "uncertain" or is_knowable):
            found.is_lost = True
            found.wrong.append(f"{post} is {found.end}, and was stopped as {before}")
        if is_knowable:
            late = self._said_late(post, stale)
            if late or self._has_intent(post, before.fence):
                found.wrong.append(f"the stale node went on with {post}: {', '.join(late) or 'an init'}")

    def count(self, address: str) -> tuple[int, int]:
        """Return how many inits and publishes of this address the platform has seen."""
        ledger = self.simulator.ledger()
        made = {
            row["publish_id"] for row in ledger["inits"] if row["source_info"].get("video_url") == address
        }
        return len(made), sum(row["publish_id"] in made for row in ledger["publishes"])

    def _said_late(self, post: str, stale: str) -> list[str]:
        """Return what the stopped node has told as the post's driver after the other one had begun to."""
        query = "SELECT node, payload FROM outbox WHERE kind = 'event' AND payload LIKE %s ORDER BY row"
        events: list[tuple[str, dict[str, Any]]] = [
            (node, json.loads(payload)) for node, payload in self._database.execute(query, (f"%{post}%",))
        ]
        told = [(node, event["type"].removeprefix("dev.tokd.")) for node, event in events]
        taken = next(
            (at for at, (node, kind) in enumerate(told) if node != stale and kind in DRIVES), len(told)
        )
        return [kind for node, kind in told[taken:] if node == stale and kind in DRIVES]


def stale_worker(task: Task) -> None:
    """Stop the node that drives a post past its lease, let the other one take it, and let the first go on."""
    if not (BINARIES / "postgres").exists():
        raise CannotRun("two nodes need PostgreSQL: apt install postgresql")
    ends: Counter[str] = Counter()
    lanes = LANES if task.count >= 5 * LANES else 1
    server = PostgresServer()
    server.start()
    try:
        side_by_side(task, lanes, lambda lane: _stops(task, lane, server, ends))
    finally:
        task.tally.figures["ends"] = "; ".join(f"{how} {count} times" for how, count in sorted(ends.items()))
        server.stop()


def _stops(task: Task, lane: int, server: PostgresServer, ends: Counter[str]) -> None:
    chance = random.Random(task.seed + lane)
    with Pair(task.folder / str(lane), server) as pair:
        number = 0
        while not task.is_over() and number < 3 * task.count:
            with task.lock:
                if task.tally.faults["stopped past its lease"] >= task.count:
                    break
            call, number = chance.choice(sorted(CALLS)), number + 1
            found = pair.round(number, call)
            _add(task, call, found, ends)
        # What a stale node does late must not be missed because nobody looks any more.
        with suppress(AssertionError):
            wait_until(lambda: False, 1.0)
        late = [n for n in range(1, number + 1) if max(pair.count(f"{PREFIX}stale-{n}.mp4")) > 1]
        task.tally.wrong += [f"round {n} of lane {lane} was doubled in the end" for n in late]


def _add(task: Task, call: str, found: Found, ends: Counter[str]) -> None:
    with task.lock:
        ends[f"{call}: {found.end}"] += 1
        if found.end == "not stopped in time":
            return
        tally = task.tally
        tally.faults["stopped past its lease"] += 1
        tally.orders += 1
        tally.inits += found.inits
        tally.uncertain += found.end == "uncertain"
        tally.doubled += found.is_doubled
        tally.lost += found.is_lost
        tally.wrong += [f"{call}: {text}" for text in found.wrong]
        inside = int(tally.figures.get("of these in a transaction", "0")) + found.is_inside
        tally.figures["of these in a transaction"] = str(inside)
    task.say(f"{task.tally.faults['stopped past its lease']} of {task.count}: {dict(ends)}")
