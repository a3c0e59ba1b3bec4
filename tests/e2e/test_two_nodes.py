"""Two daemons on one PostgreSQL: one account, files on each node, every post once."""

import itertools
import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, Simulator, make_clip
from tests.postgres import PostgresServer
from tests.waiting import wait_until

POSTS = 6
PREFIX = "https://media.example.com/"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    found = Simulator(tmp_path_factory.mktemp("simulator"))
    found.post(
        "settings", {"rate_limits": False, "daily_posts": None, "active_users": None, "pending_shares": None}
    )
    yield found
    found.stop()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[list[Daemon]]:
    server = PostgresServer()
    server.start()
    url = server.new_database()
    keys = tmp_path_factory.mktemp("keys") / "fernet.keys"
    found = []
    for name in ("left", "right"):
        daemon = Daemon(
            tmp_path_factory.mktemp(name),
            {
                "daemon.node": name, "daemon.database_url": url, "secrets.key_file": str(keys),
                "tiktok.rate_init_per_min": "600", "tiktok.rate_creator_per_min": "600",
                "tiktok.rate_status_per_min": "600", "media.verified_prefixes": json.dumps([PREFIX]),
            },
        ).use_simulator(simulator)  # fmt: skip
        make_clip(daemon.media / "clip.mp4")
        found.append(daemon.start())
    yield found
    for daemon in found:
        daemon.stop()
    server.stop()


@pytest.fixture(scope="module")
def posts(nodes: list[Daemon], simulator: Simulator) -> list[str]:
    nodes[0].link(simulator)
    found = [nodes[number % 2].schedule(at="now")["result"]["post"] for number in range(POSTS)]
    for number, post in enumerate(found):
        nodes[number % 2].wait_state(post, "published", within_s=60)
    return found


def test_every_post_of_both_nodes_is_published_once(posts: list[str], simulator: Simulator) -> None:
    ledger = simulator.ledger()

    assert len(ledger["inits"]) == len(ledger["publishes"]) == len(posts)


def test_each_node_sees_the_posts_of_the_other(posts: list[str], nodes: list[Daemon]) -> None:
    for node in nodes:
        listed = {post["post"] for post in node.call("post/list")["result"]["posts"]}
        assert listed == set(posts)


def test_each_node_tells_its_own_events_without_a_hole(posts: list[str], nodes: list[Daemon]) -> None:
    for node in nodes:
        events = node.events()
        assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
        assert {event["source"] for event in events} == {f"tokd/{node.settings['daemon.node']}"}


def test_a_killed_node_finishes_its_posts_when_it_is_back(
    posts: list[str], nodes: list[Daemon], simulator: Simulator
) -> None:
    before = Counter(entry["publish_id"] for entry in simulator.ledger()["publishes"])
    post = nodes[1].schedule(at="now")["result"]["post"]
    nodes[1].kill()

    nodes[1].start()
    nodes[1].wait_state(post, "published", within_s=60)

    after = Counter(entry["publish_id"] for entry in simulator.ledger()["publishes"])
    assert sum((after - before).values()) == 1


@pytest.fixture
def stopped(posts: list[str], nodes: list[Daemon], tmp_path: Path, simulator: Simulator) -> Iterator[Daemon]:
    """A third node that stops when it has claimed its first post and not committed that; PostgreSQL soon gives it up."""
    own = nodes[0].settings | {"daemon.node": "third", "daemon.state_dir": str(tmp_path / "state")}
    own["daemon.database_url"] += "&options=-c%20idle_in_transaction_session_timeout%3D500ms"
    daemon = Daemon(tmp_path, own)
    daemon.start("claim.before_commit:stop")
    yield daemon
    assert daemon.process is not None
    if daemon.process.poll() is None:
        daemon.process.send_signal(signal.SIGCONT)
    daemon.kill()


def test_a_node_that_is_stopped_in_a_transaction_keeps_its_post_from_nobody(
    stopped: Daemon, nodes: list[Daemon], simulator: Simulator
) -> None:
    other = nodes[0]
    later = other.schedule(at="2099-01-01T00:00:00Z")["result"]["post"]
    address = f"{PREFIX}stopped.mp4"
    post = stopped.schedule(None, url=address, at="now")["result"]["post"]
    wait_until(lambda: is_stopped(stopped), what="the node at its stop")

    rings = itertools.count()

    def is_posted() -> bool:
        moved = {"post": later, "at": "2099-01-01T00:00:00Z"}  # which lets its clock ring
        assert other.call("post/reschedule", moved, id=f"ring-{next(rings)}")["status"] == "done"
        return other.post(post)["state"] == "published"

    wait_until(is_posted, 30, every_s=0.2, what="the post out")
    stopped.process.send_signal(signal.SIGCONT)

    assert stopped.wait_dead() == 70
    inits = [found["source_info"].get("video_url") for found in simulator.ledger()["inits"]]
    assert inits.count(address) == 1


def is_stopped(daemon: Daemon) -> bool:
    assert daemon.process is not None
    return Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
