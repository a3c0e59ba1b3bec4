"""Webhooks of a simulated TikTok to a real daemon that would otherwise ask an hour later; and those of a forger."""

import hashlib
import hmac
import http.client
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.simulator.child import CLIENT_KEY, CLIENT_SECRET
from tests.brokers import free_port
from tests.daemons import Daemon, Simulator, make_clip
from tests.waiting import wait_until

PATH = "/tiktok/webhook"
HOUR = "[3600]"


@dataclass
class Stage:
    daemon: Daemon
    simulator: Simulator

    @property
    def port(self) -> int:
        return int(self.daemon.settings["http.port"])

    def status_reads(self) -> int:
        return int(self.simulator.ledger()["calls"].get("status", 0))

    def wait_remote(self, publish_id: str, status: str) -> None:
        wait_until(
            lambda: any(
                post["publish_id"] == publish_id and post["status"] == status for post in self.simulator.get("posts")
            ),
            what=f"{publish_id} {status} at TikTok",
        )  # fmt: skip

    def processing(self, **args: Any) -> dict[str, Any]:
        """Return a post that TikTok has all of, as the daemon shows it."""
        post = self.daemon.schedule(**args)["result"]["post"]
        return self.daemon.wait_state(post, "processing")

    def metrics(self) -> dict[tuple[str, ...], float]:
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        wire.request("GET", "/metrics")
        text = wire.getresponse().read().decode()
        wire.close()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("webhooks")
    simulator = Simulator(folder / "simulator")
    settings = {
        "http.port": str(free_port()), "http.metrics_need_token": "false", "posts.status_delays_s": HOUR,
        "tiktok.upload_hosts": '["127.0.0.1"]',
    }  # fmt: skip
    daemon = Daemon(folder / "daemon", settings).use_simulator(simulator).start()
    for user in ("demo", "gone"):
        simulator.post("users", {"name": user, "private": False})
        daemon.link(simulator, user)
    make_clip(daemon.media / "clip.mp4")
    yield Stage(daemon, simulator)
    assert daemon.stop() == 0
    simulator.stop()


@pytest.fixture(autouse=True)
def set_back(stage: Stage) -> None:
    stage.simulator.post(
        "settings",
        {
            "webhook_url": None, "webhook_duplicates": False, "webhook_out_of_order": False, "audited": True,
            "processing_seconds": 0.7, "complete_inbox_seconds": None, "daily_posts": None, "pending_shares": None,
        },
    )  # fmt: skip


def listen(stage: Stage, **more: Any) -> None:
    """Let the simulator send its webhooks to the daemon."""
    stage.simulator.post("settings", {"webhook_url": f"http://127.0.0.1:{stage.port}{PATH}"} | more)


def envelope(publish_id: str, **changes: Any) -> bytes:
    found = {
        "client_key": CLIENT_KEY, "event": "post.publish.complete", "create_time": 1_700_000_000,
        "user_openid": "open-demo", "content": json.dumps({"publish_id": publish_id, "publish_type": "DIRECT_PUBLISH"}),
    }  # fmt: skip
    return json.dumps(found | changes, separators=(",", ":")).encode()


def sign(body: bytes, stamp: int | None = None, secret: str = CLIENT_SECRET) -> str:
    stamp = int(time.time()) if stamp is None else stamp
    return f"t={stamp},s={hmac.new(secret.encode(), b'%d.' % stamp + body, hashlib.sha256).hexdigest()}"


class Sender:
    """One connection to the daemon."""

    def __init__(self, port: int) -> None:
        self.wire = http.client.HTTPConnection("127.0.0.1", port, timeout=15)

    def send(self, body: bytes, *signatures: str) -> tuple[int, bytes]:
        self.wire.putrequest("POST", PATH)
        self.wire.putheader("Content-Type", "application/json")
        self.wire.putheader("Content-Length", str(len(body)))
        for signature in signatures:
            self.wire.putheader("TikTok-Signature", signature)
        self.wire.endheaders(body)
        answer = self.wire.getresponse()
        return answer.status, answer.read()


@pytest.fixture
def sender(stage: Stage) -> Iterator[Sender]:
    found = Sender(stage.port)
    yield found
    found.wire.close()


def test_a_post_is_published_because_of_a_webhook_and_not_before(stage: Stage, sender: Sender) -> None:
    post = stage.processing()
    stage.wait_remote(post["publish_id"], "PUBLISH_COMPLETE")
    assert stage.daemon.post(post["post"])["state"] == "processing"  # the next read is an hour away
    body = envelope(post["publish_id"])

    answer = sender.send(body, sign(body))

    assert answer == (200, b"{}")
    stage.daemon.wait_state(post["post"], "published")


def test_the_simulators_own_webhooks_bring_a_post_to_its_public_address(stage: Stage) -> None:
    listen(stage, webhook_duplicates=True)

    post = stage.processing(privacy="PUBLIC_TO_EVERYONE")

    def look() -> Any:
        return stage.daemon.post(post["post"]).get("url")

    assert wait_until(look).startswith("https://www.tiktok.com/@")
    wait_until(lambda: len(sent(stage, post)) >= 4)
    assert {row["status"] for row in sent(stage, post)} == {200}
    assert Counter(event_types(stage, post))["post.published"] == 1


def sent(stage: Stage, post: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in stage.simulator.ledger()["webhooks"] if row["publish_id"] == post["publish_id"]]


def event_types(stage: Stage, post: dict[str, Any]) -> list[str]:
    found = [event for event in stage.daemon.events() if event["subject"] == f"post/{post['post']}"]
    return [event["type"].removeprefix("dev.tokd.") for event in found]


def test_a_draft_ends_published_though_its_webhooks_come_out_of_order(stage: Stage) -> None:
    listen(stage, webhook_out_of_order=True, complete_inbox_seconds=0)

    post = stage.processing(mode="inbox", privacy=None)

    stage.daemon.wait_state(post["post"], "published")
    wait_until(lambda: len(sent(stage, post)) >= 2)


def test_an_account_whose_consent_was_taken_back_needs_a_login(stage: Stage) -> None:
    listen(stage)
    token = stage.simulator.post("tokens", {"user": "gone"})["access_token"]
    form = f"client_key={CLIENT_KEY}&client_secret={CLIENT_SECRET}&token={token}"
    wire = http.client.HTTPConnection(stage.simulator.url.removeprefix("http://"), timeout=15)
    wire.request("POST", "/v2/oauth/revoke/", form, {"Content-Type": "application/x-www-form-urlencoded"})
    assert wire.getresponse().status == 200
    wire.close()

    def look() -> bool:
        accounts = stage.daemon.call("account/list")["result"]["accounts"]
        return any(found["account"] == "gone" and found["login"] == "needs_login" for found in accounts)

    wait_until(look)


@pytest.fixture
def waiting(stage: Stage) -> dict[str, Any]:
    """A post that TikTok works on for a long time."""
    stage.simulator.post("settings", {"processing_seconds": 3600})
    return stage.processing()


Forgery = Callable[[bytes, int], tuple[bytes, tuple[str, ...]]]
FORGERIES: dict[str, Forgery] = {
    "no signature": lambda body, _: (body, ()),
    "another secret": lambda body, n: (body, (sign(body, secret=f"guess-{n}"),)),
    "the client key as the secret": lambda body, _: (body, (sign(body, secret=CLIENT_KEY),)),
    "old": lambda body, n: (body, (sign(body, int(time.time()) - 400 - n),)),
    "of the future": lambda body, n: (body, (sign(body, int(time.time()) + 400 + n),)),
    "another time": lambda body, n: (body, (sign(body).replace("t=", f"t={n % 9 + 1}"),)),
    "a signature cut short": lambda body, n: (body, (sign(body)[: -1 - n % 60],)),
    "a body cut short": lambda body, n: (body[: -1 - n % 60], (sign(body),)),
    "written anew": lambda body, n: (json.dumps(json.loads(body), indent=n % 9).encode(), (sign(body),)),
    "two signatures in one": lambda body, n: (body, (f"{sign(body, secret=str(n))},{sign(body)[13:]}",)),
    "two headers": lambda body, n: (body, (sign(body, secret=str(n)), sign(body))),
    "of another body": lambda body, n: (body, (sign(body + b"%d" % n),)),
}  # fmt: skip


def test_a_thousand_forged_and_repeated_webhooks_change_nothing(
    stage: Stage, sender: Sender, waiting: dict[str, Any]
) -> None:
    body = envelope(waiting["publish_id"])
    before = stage.status_reads()
    assert sender.send(body, sign(body))[0] == 200  # the real one, which the repeats repeat
    wait_until(
        lambda: stage.daemon.rows("SELECT checks FROM post ORDER BY created_at DESC LIMIT 1") == [(1,)]
    )
    fresh = envelope(waiting["publish_id"], create_time=1_700_000_001)
    rows = stage.daemon.rows("SELECT * FROM post ORDER BY id"), stage.daemon.rows("SELECT * FROM account")
    events, counted = len(stage.daemon.events()), stage.metrics()
    answers: Counter[tuple[int, bytes]] = Counter()
    names = list(FORGERIES)

    for number in range(900):
        answers[sender.send(*_spread(FORGERIES[names[number % len(names)]](fresh, number)))] += 1
    for _ in range(100):
        answers[sender.send(body, sign(body))] += 1

    assert sorted((status, count) for (status, _), count in answers.items()) == [(200, 100), (401, 900)]
    found = stage.daemon.rows("SELECT * FROM post ORDER BY id"), stage.daemon.rows("SELECT * FROM account")
    assert found == rows
    assert len(stage.daemon.events()) == events
    told = {
        key: value - counted.get(key, 0)
        for key, value in stage.metrics().items()
        if key[0] == "tokd_webhooks_total"
    }
    assert {key[1]: value for key, value in told.items() if value} == {"unauthorized": 900, "repeat": 100}
    assert sender.send(fresh, sign(fresh))[0] == 200  # a barrier: whatever was asked before it is counted now
    wait_until(lambda: stage.status_reads() >= before + 2)
    assert stage.status_reads() == before + 2


def _spread(forged: tuple[bytes, tuple[str, ...]]) -> tuple[Any, ...]:
    return forged[0], *forged[1]


def test_a_webhook_about_nobody_we_know_is_taken_and_does_nothing(stage: Stage, sender: Sender) -> None:
    before = stage.status_reads()
    bodies = [envelope("v_pub_unknown"), envelope("v_pub_unknown", user_openid="open-nobody")]

    assert [sender.send(body, sign(body)) for body in bodies] == [(200, b"{}")] * 2
    assert stage.status_reads() == before
