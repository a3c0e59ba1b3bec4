"""B8: a node is stopped in the middle of a post until another one has taken it, and then goes on."""

import json
import random
import signal
from collections import Counter
from contextlib import suppress

from tests.crash.stage import PREFIX, SETTINGS, UNLIMITED
from tests.daemons import Daemon, Simulator
from tests.postgres import BINARIES, PostgresServer
from tests.scorecard.row import CannotRun, Task
from tests.waiting import wait_until

# While which call the node stands still, and what may come of it: past the init of an address nobody can know.
CALLS = {"creator_info": ("published",), "init": ("published", "uncertain")}
LEASE_S = 2
TAKEN_WITHIN_S = 45.0


def stale_worker(task: Task) -> None:
    """Stop the node that drives a post past its lease, let the other one take it, and let the first go on."""
    if not (BINARIES / "postgres").exists():
        raise CannotRun("two nodes need PostgreSQL: apt install postgresql")
    simulator = Simulator(task.folder / "simulator")
    simulator.post("settings", UNLIMITED)
    server = PostgresServer()
    server.start()
    nodes: list[Daemon] = []
    ends: Counter[str] = Counter()
    chance = random.Random(task.seed)
    try:
        url = server.new_database()
        for name in ("left", "right"):
            own = {
                "daemon.node": name, "daemon.database_url": url, "posts.lease_s": str(LEASE_S),
                "secrets.key_file": str(task.folder / "fernet.keys"), "media.verified_prefixes": json.dumps([PREFIX]),
            }  # fmt: skip
            nodes.append(Daemon(task.folder / name, SETTINGS | own).use_simulator(simulator).start())
        nodes[0].link(simulator)
        for number in range(task.count):
            if task.is_over():
                break
            call = chance.choice(sorted(CALLS))
            ends[_one(task, simulator, nodes, url, number, call)] += 1
            task.say(f"{number + 1} of {task.count}: {dict(ends)}")
    finally:
        task.tally.figures["ends"] = "; ".join(f"{how} {count} times" for how, count in sorted(ends.items()))
        for node in nodes:
            with suppress(ProcessLookupError, AssertionError):
                if node.process is not None:
                    node.process.send_signal(signal.SIGCONT)
            node.kill()
        server.stop()
        simulator.stop()


def _one(task: Task, simulator: Simulator, nodes: list[Daemon], url: str, number: int, call: str) -> str:
    address = f"{PREFIX}stale-{number}.mp4"
    simulator.faults({"endpoint": call, "action": "slow", "seconds": 2.5})
    reply = nodes[0].call(
        "post/schedule",
        {"account": "demo", "url": address, "privacy": "SELF_ONLY", "at": "now"},
        id=f"stale-{number}",
    )
    assert reply["status"] == "done", reply
    post = reply["result"]["post"]
    owner = _driver(nodes, url, post)
    driver = next(found for found in nodes if found.settings["daemon.node"] == owner)
    other = next(found for found in nodes if found is not driver)
    assert driver.process is not None
    driver.process.send_signal(signal.SIGSTOP)
    before = _row(url, post)[:2]
    if before[1] not in {"validating", "initialised"}:  # too late: nothing was in its hands any more
        driver.process.send_signal(signal.SIGCONT)
        return "not stopped in time"
    task.tally.faults["stopped past its lease"] += 1
    try:
        wait_until(lambda: _row(url, post)[:2] != before, TAKEN_WITHIN_S, 0.2)
    except AssertionError:
        task.tally.wrong.append(f"{call}: nobody took the post of the stopped node: {_row(url, post)}")
    finally:
        driver.process.send_signal(signal.SIGCONT)
    state = other.wait_state(post, "published", "uncertain", "failed", "held", within_s=60)["state"]
    with suppress(AssertionError):
        wait_until(lambda: False, 2.0)  # time for the stale one to do harm
    _check(task, simulator, address, call, state, _row(url, post)[1])
    return f"{call}: {state}"


def _check(task: Task, simulator: Simulator, address: str, call: str, state: str, now: str) -> None:
    ledger = simulator.ledger()
    inits = [init for init in ledger["inits"] if init["source_info"].get("video_url") == address]
    made = {init["publish_id"] for init in inits}
    publishes = sum(row["publish_id"] in made for row in ledger["publishes"])
    tally = task.tally
    tally.orders += 1
    tally.inits += len(inits)
    tally.uncertain += state == "uncertain"
    if len(inits) > 1 or publishes > 1:
        tally.doubled += 1
        tally.wrong.append(f"{call}: {len(inits)} inits, {publishes} publishes of {address}")
    if state not in CALLS[call]:
        tally.lost += 1
        tally.wrong.append(f"{call}: {state}, where it may be {' or '.join(CALLS[call])}")
    # The answer of an init, late as it is, is evidence, and ends the doubt; everything else would be a stale write.
    if now != state and (state, now) != ("uncertain", "published"):
        tally.wrong.append(f"{call}: the stale node has changed {state} to {now}")


def _row(url: str, post: str) -> tuple[int, str, str]:
    import psycopg

    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
        found = connection.execute("SELECT fence, state, node FROM post WHERE id = %s", (post,)).fetchone()
    assert found is not None
    return found


def _driver(nodes: list[Daemon], url: str, post: str) -> str:
    names = {node.settings["daemon.node"] for node in nodes}
    wait_until(
        lambda: _row(url, post)[1] in {"validating", "initialised"} and _row(url, post)[2] in names, 20, 0.01
    )
    return _row(url, post)[2]
