"""A daemon that is broken on purpose must be caught: what cannot find a fault proves nothing."""

import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import failpoints
from tests.crash.campaign import Campaign
from tests.crash.ledgers import Books, Findings, Ordered
from tests.crash.stage import PATIENCE_S, Stage, insist, told, wait_online
from tests.daemons import ROOT, Caller
from tests.postgres import PostgresServer
from tests.scorecard.lease import Pair
from tests.waiting import wait_until

INTENT = """\
        if not self._bus.ask(InitIntended(post.id, self._work.fence, request.body_hash, request.plan)):
            return None
"""
ANSWERED = """\
        failpoints.hit("init.after_call")
"""
TAKEN = """\
        ack = Ack(link.number, message.mid, message.qos)
"""
FENCE = "post is None or post.fence != fence or post.state not in IN_HAND"
ENDS = """\
            os._exit(EXIT_CODE)
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose daemons write their intent down after the call instead of before it."""
    folder = tmp_path_factory.mktemp("broken")
    root = a_copy(folder / "source")
    deliver = root / "daemon/jobs/deliver.py"
    text = deliver.read_text()
    assert text.count(INTENT) == text.count(ANSWERED) == 1, "deliver.py has changed: mend this test with it"
    deliver.write_text(text.replace(INTENT, "").replace(ANSWERED, ANSWERED + INTENT))
    stage = Stage(folder, ("demo",), root=root)
    yield stage
    stage.close()


def test_a_daemon_without_the_intent_commit_is_caught(stage: Stage, tmp_path: Path) -> None:
    daemon = stage.daemon(tmp_path / "daemon")
    caller = stage.caller(daemon)
    order = stage.address()
    args = {"account": "demo", "privacy": "SELF_ONLY", "at": "now", "url": order.url}
    try:
        daemon.start("init.after_call:kill@1", wait=False)
        wait_online(caller, daemon)
        caller.send("post/schedule", args, id=order.command)
        assert daemon.wait_dead(PATIENCE_S) == failpoints.EXIT_CODE
        daemon.start(wait=False)
        insist(caller, "post/schedule", args, order.command)
        wait_until(lambda: told(caller, "post.published"), PATIENCE_S, what="the second publish")
        assert daemon.stop() == 0
        findings = read(stage, daemon.state_dir, [order])
        assert len(findings.second_inits) == 1
        wait_until(lambda: read(stage, daemon.state_dir, [order]).doubled, PATIENCE_S, what="the double post")
    finally:
        caller.close()
        daemon.kill()


def test_random_kills_catch_a_daemon_without_the_intent_commit(stage: Stage, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1, 10**6)
    print(f"seed {seed}")
    daemon = stage.daemon(tmp_path / "daemon")
    caller = stage.caller(daemon)
    campaign = Campaign(stage, daemon, caller, seed)
    campaign.plan(("demo",), 20, over_s=1, urls=1.0)
    stage.simulator.faults({"endpoint": "init", "action": "slow_after", "seconds": 0.3, "times": None})
    insisting = threading.Thread(target=campaign.insist, name="caller")
    insisting.start()
    try:
        campaign.kill_some(20, until=lambda: bool(campaign.read()[0].second_inits))
        findings, _ = campaign.read()
        print(campaign.tally, findings)
        assert findings.second_inits, "twenty kills, and the double init was not seen"
    finally:
        campaign.rest()
        insisting.join()
        caller.close()
        daemon.kill()


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose daemons take their time to die, so that an early acknowledgement would have left by then."""
    folder = tmp_path_factory.mktemp("late")
    root = a_copy(folder / "source")
    change(
        root / "daemon/failpoints.py", ENDS, "            __import__('threading').Event().wait(0.5)\n" + ENDS
    )
    stage = Stage(folder, ("demo",), root=root)
    yield stage
    stage.close()


@pytest.mark.parametrize("is_hasty", [True, False], ids=["acknowledged early", "as it is"])
def test_a_daemon_that_acknowledges_before_it_has_stored_is_caught(
    late: Stage, tmp_path: Path, *, is_hasty: bool
) -> None:
    stage = late
    daemon = stage.daemon(tmp_path / "daemon")
    if is_hasty:
        daemon.root = shutil.copytree(daemon.root, tmp_path / "hasty")
        early = "        link.ack(message.mid, message.qos)\n"
        change(daemon.root / "adapters/mqtt/reception.py", TAKEN, early + TAKEN)
    caller = stage.caller(daemon)
    order = stage.address()
    try:
        daemon.start()
        wait_online(caller, daemon)
        assert daemon.stop() == 0  # the broker keeps a session for it now
        wait_until(lambda: said(caller, b"offline"), PATIENCE_S, what="its farewell")
        before = said(caller, b"online")
        daemon.start("inbox.before_commit:kill@1", wait=False)
        wait_until(lambda: said(caller, b"online") > before, PATIENCE_S, what="the daemon online again")
        args = {"account": "demo", "privacy": "SELF_ONLY", "at": "2099-01-01T00:00:00Z", "url": order.url}
        caller.send("post/schedule", args, id=order.command)  # once, trusting in QoS 1
        assert daemon.wait_dead(PATIENCE_S) == failpoints.EXIT_CODE
        daemon.start()
        assert insist(caller, "system/ping", {}, "after")["status"] == "done"
        found = daemon.rows(f"SELECT id FROM post WHERE command_id = '{order.command}'")
        assert len(found) == (0 if is_hasty else 1)
    finally:
        caller.close()
        daemon.kill()


def test_a_daemon_without_fencing_is_caught(tmp_path: Path) -> None:
    """The row of the stopped worker, on nodes that do not ask whose turn it is."""
    root = a_copy(tmp_path / "source")
    change(root / "daemon/handlers/attempt.py", FENCE, "post is None or post.state not in IN_HAND")
    server = PostgresServer()
    server.start()
    try:
        with Pair(tmp_path / "pair", server, root) as pair:
            found = [pair.round(0, "creator_info")]
            while not any(one.wrong for one in found):
                assert len(found) < 10, f"ten stopped workers went on, and nobody saw it: {found}"
                found.append(pair.round(len(found), "creator_info"))
    finally:
        server.stop()
    assert "the stale node went on" in "".join(text for one in found for text in one.wrong)


def said(caller: Caller, word: bytes) -> int:
    """Return how often the daemon has said this of itself."""
    return sum(message[1] == word for message in list(caller.messages))


def a_copy(root: Path) -> Path:
    for package in ("daemon", "adapters", "config"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def change(path: Path, guard: str, instead: str) -> None:
    text = path.read_text()
    assert text.count(guard) == 1, f"{path.name} has changed: mend this test with it"
    path.write_text(text.replace(guard, instead))


def read(stage: Stage, state_dir: Path, orders: list[Ordered]) -> Findings:
    return Books(stage.simulator.ledger(), state_dir / "tokd.db").check(orders)
