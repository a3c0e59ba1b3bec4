"""Scorecard S2: 500 forged, retained, expired, replayed and wrong-actor commands at a broker with the printed rules."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from daemon.domain.audit import first_break
from tests.brokers import Broker, Listener
from tests.daemons import ROOT, Daemon
from tests.waiting import wait_until

BASE = "tokd/v1/main"
EACH = 100
PASSWORD = "x"
LAST = f"{BASE}/cmd/ha/system/resume"


@dataclass
class Attack:
    """What was sent, and what the daemon says it did."""

    sent: int
    trail: list[dict[str, Any]]
    replies: Counter[str]
    left: list[tuple[str, bytes]]

    def done(self, actor: str) -> list[str]:
        """Return the commands that were carried out for an actor."""
        return [
            entry["command"] for entry in self.trail if entry["status"] == "done" and entry["actor"] == actor
        ]


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attack]:
    folder = tmp_path_factory.mktemp("forged")
    daemon = Daemon(folder, {"access.grants": json.dumps(["panel: session.list"])})
    # a user whom the broker lets through though tokd does not: rules were printed for another configuration
    acl = (
        f"{printed(daemon, 'ha')}\nuser late\ntopic write {BASE}/cmd/late/#\ntopic write {BASE}/cmd/panel/#\n"
    )
    users = dict.fromkeys(("tokd-main", "ha", "panel", "late"), PASSWORD)
    broker = Broker(folder / "broker", users=users, acl=acl)
    broker.start()
    try:
        daemon.use_broker(broker.port, "tokd-main", PASSWORD).start()
        yield attacked(broker, daemon)
    finally:
        daemon.stop()
        broker.close()


def printed(daemon: Daemon, *actors: str) -> str:
    """Return what `tokd acl` prints for this daemon's settings."""
    options = [part for key, value in daemon.settings.items() for part in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *options, "acl", *actors], cwd=ROOT, check=True, capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    return done.stdout


def attacked(broker: Broker, daemon: Daemon) -> Attack:
    clients = {
        user: Listener(broker, f"{BASE}/#", username=user, password=PASSWORD)
        for user in ("ha", "panel", "late")
    }
    ha, panel, late = clients.values()
    pause = "system/pause"
    try:
        for number in range(EACH):
            body = json.dumps({"id": f"f-{number}"})
            panel.publish(f"{BASE}/cmd/ha/{pause}", body)  # in another's name
            ha.publish(f"{BASE}/cmd/ha/{pause}", body, retain=True)
            ha.publish(
                f"{BASE}/cmd/ha/{pause}",
                json.dumps({"id": f"e-{number}", "expires_at": "2020-01-01T00:00:00Z"}),
            )
            ha.publish(f"{BASE}/cmd/ha/system/resume", json.dumps({"id": "once"}))
            late.publish(f"{BASE}/cmd/panel/{pause}", json.dumps({"id": f"w-{number}"}))
        ha.publish(LAST, json.dumps({"id": "last"}))
        replies = f"{BASE}/reply/ha/system/resume"
        ha.wait(lambda: any(json.loads(payload)["id"] == "last" for payload in ha.on(replies)), 30)
        # Refusals have a line of their own, which the last order's answer may overtake.
        ha.wait(lambda: sum("/reply/" in topic for topic, _ in ha.heard()) > 3 * EACH, 30)
        trail = whole_trail(daemon)
        codes = Counter(
            (reply.get("error") or {}).get("code", "replayed" if reply["replayed"] else reply["status"])
            for topic, payload in ha.heard()
            if "/reply/" in topic
            for reply in [json.loads(payload)]
        )
    finally:
        for client in clients.values():
            client.close()
    with contextlib.suppress(AssertionError):  # what is left, a test tells
        wait_until(lambda: not retained(broker), 15, 0.2)
    return Attack(5 * EACH, trail, codes, retained(broker))


def retained(broker: Broker) -> list[tuple[str, bytes]]:
    """Return the orders that the broker keeps for whoever comes."""
    with Listener(
        broker, f"{BASE}/availability", f"{BASE}/cmd/#", username="tokd-main", password=PASSWORD
    ) as late_comer:
        late_comer.wait_for(f"{BASE}/availability")
        return [(topic, payload) for topic, payload in late_comer.heard() if "/cmd/" in topic]


def whole_trail(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after, more = 0, True
    while more:
        page = daemon.call("system/audit", {"after": after, "limit": 200})["result"]
        found += page["entries"]
        after, more = page["next_after"], page["more"]
    return found


def test_five_hundred_were_sent(attack: Attack) -> None:
    assert attack.sent == 500


def test_nothing_was_paused(attack: Attack) -> None:
    assert "system.pause" not in [entry["command"] for entry in attack.trail if entry["status"] == "done"]


def test_an_order_sent_a_hundred_times_was_done_once(attack: Attack) -> None:
    assert attack.done("ha") == ["system.resume", "system.resume"]  # `once` and `last`
    assert attack.replies["replayed"] == EACH - 1


def test_a_forged_order_did_not_even_arrive(attack: Attack) -> None:
    refused = Counter(entry["code"] for entry in attack.trail if entry["actor"] == "ha" and entry["code"])

    assert refused == {"retained_command": EACH, "expired": EACH}


def test_every_retained_order_was_refused_and_removed(attack: Attack) -> None:
    assert attack.replies["retained_command"] == EACH
    assert attack.left == []


def test_every_expired_order_was_answered(attack: Attack) -> None:
    assert attack.replies["expired"] == EACH


def test_what_the_broker_let_through_the_gates_refused(attack: Attack) -> None:
    codes = Counter(entry["code"] for entry in attack.trail if entry["actor"] == "panel")

    assert codes == {"forbidden": EACH}


def test_the_record_of_it_holds(attack: Attack) -> None:
    assert len(attack.trail) > 3 * EACH
    assert first_break(attack.trail, "main") is None
