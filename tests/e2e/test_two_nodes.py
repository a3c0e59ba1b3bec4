"""Two daemons on one PostgreSQL: one account, files on each node, every post once."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.daemons import Daemon, Simulator, make_clip
from tests.postgres import PostgresServer

POSTS = 6


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
                "tiktok.rate_status_per_min": "600",
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
