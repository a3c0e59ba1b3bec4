"""A daemon whose ledger was cut short answers every way there is, does nothing, and leaves the file as it is."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.storage.mark import mark_of
from daemon.domain.commands import VERBS
from tests.brokers import Broker, Listener, free_port
from tests.conformity import state_faults
from tests.daemons import Caller, Daemon, make_clip
from tests.integration.test_backup import tokd
from tests.integration.test_service_manager import Manager
from tests.waiting import wait_until


@dataclass
class Blind:
    """The daemon on a ledger that was cut short, and what was seen of it."""

    daemon: Daemon
    manager: Manager
    broker: Broker
    port: int
    post: str = ""
    token: str = ""
    before: dict[str, bytes] = field(default_factory=dict)
    began: float = 0.0
    listener: Listener | None = None  # from before its start

    def blind(self) -> None:
        """Kill it, take the end of its log away, let the post be due, and start it again."""
        for number in range(6):
            self.daemon.call("system/pause", {"reason": "what comes now is lost"}, id=f"pause-{number}")
        self.daemon.kill()
        log = self.daemon.state_dir / "tokd.db-wal"
        with log.open("r+b") as file:
            # Several commits, ten to fifteen pages each: the last of them may not have been told yet.
            file.truncate(log.stat().st_size - 40 * 4120)
        past = f"due_at = due_at - {3660 * 10**6}, wake_at = wake_at - {3660 * 10**6}"
        self.daemon.write(f"UPDATE post SET {past}")
        self.before, self.began = self.ledger(), time.monotonic()
        self.listener = Listener(self.broker, "tokd/v1/main/event/#", "tokd/v1/main/state/daemon")
        self.daemon.start()

    def get(self, path: str, token: str | None = None) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def ledger(self) -> dict[str, bytes]:
        path = self.daemon.state_dir / "tokd.db"
        files = (path, path.with_name("tokd.db-wal"), mark_of(path))
        found = {file.name: file.read_bytes() for file in files if file.exists()}
        return {
            name: content for name, content in found.items() if content
        }  # a reader may leave an empty log

    def retained(self, *names: str) -> list[Any]:
        """Return what stands on the broker for whoever comes now; None where nothing does."""
        root = "tokd/v1/main"
        with Listener(self.broker, *(f"{root}/{name}" for name in names), f"{root}/availability") as listener:
            listener.wait(lambda: dict(listener.heard()).get(f"{root}/availability"))  # the last one
            heard = dict(listener.heard())
            return [json.loads(heard.get(f"{root}/{name}") or "null") for name in names]


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blind]:
    folder = tmp_path_factory.mktemp("blind")
    broker, manager, port = Broker(folder / "broker"), Manager(folder), free_port()
    broker.start()
    daemon = Daemon(
        folder,
        {
            "tiktok.api_base": "http://127.0.0.1:9", "tiktok.client_key": "k", "tiktok.client_secret": "s" * 20,
            "http.port": str(port),
        },
    ).use_broker(broker.port)  # fmt: skip
    daemon.environ = {"NOTIFY_SOCKET": manager.name}
    found = Blind(daemon, manager, broker, port)
    try:
        make_clip(daemon.media / "clip.mp4")
        daemon.start()
        daemon.call(
            "account/import", {"account": "demo", "access_token": "a", "refresh_token": "r", "open_id": "o"}
        )
        found.token = daemon.call("token/issue", {"user": "ann"})["result"]["text"]
        later = datetime.now(UTC) + timedelta(hours=1)
        found.post = daemon.schedule(at=later.isoformat())["result"]["post"]
        wait_until(
            lambda: found.retained(f"state/post/{found.post}") != [None], what="the post on the broker"
        )
        found.blind()
        yield found
    finally:
        daemon.stop()
        if found.listener is not None:
            found.listener.close()
        manager.close()
        broker.close()


def test_it_says_why_and_what_to_do(blind: Blind) -> None:
    health = blind.daemon.call("system/health")["result"]

    assert health["phase"] == "safe_mode"
    assert "that tokd had acknowledged" in health["safe_mode"]
    assert "tokd db accept" in health["safe_mode"]


def test_every_verb_but_those_about_itself_is_refused_with_what_to_do(blind: Blind) -> None:
    about_itself = {"system/ping", "system/health", "system/describe"}
    for verb in sorted(VERBS):
        reply = blind.daemon.call(verb, _least_args(verb), id=f"try-{verb.replace('/', '-')}")

        if verb in about_itself:
            assert reply["status"] == "done", reply
        else:
            assert reply["error"]["code"] == "safe_mode", reply
            assert "tokd restore FILE" in reply["error"]["message"]


def _least_args(verb: str) -> dict[str, Any]:
    """Return the least that a verb takes, so that it is refused for the ledger's sake and for no other."""
    ours = {
        "account": "demo", "post": "p_1", "task": "t_1", "session": "0" * 16, "profile": "me", "token": f"k_{0:016}",
        "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "now", "outcome": "published", "user": "ann",
        "access_token": "a", "refresh_token": "r", "open_id": "o", "state": "s" * 43, "code": "c", "level": "info",
        "seconds": 60, "instance_id": "i-1", "title": "t", "status": "completed",
        "taken_at": "2026-12-01T12:00:00Z", "bytes": 1, "sha256": "0" * 64, "url": "https://a.example/",
    }  # fmt: skip
    schema = VERBS[verb].model.model_json_schema(by_alias=False)
    wanted = {"post/schedule": ("account", "media", "privacy", "at")}.get(
        verb, tuple(schema.get("required", ()))
    )
    return {name: ours[name] for name in wanted if name in ours}


def test_http_lives_and_is_not_ready_and_says_why(blind: Blind) -> None:
    status, body = blind.get("/readyz")

    assert (status, body["phase"]) == (503, "safe_mode")
    assert "that tokd had acknowledged" in body["safe_mode"]
    assert blind.get("/livez")[0] == 200


def test_http_lets_nobody_in_on_a_token_that_may_have_been_taken_back(blind: Blind) -> None:
    known, stranger = blind.get("/api/v1/posts", blind.token), blind.get("/api/v1/posts", "x.y.z")

    assert (known[0], known[1]["error"]["code"]) == (503, "safe_mode")
    assert stranger[0] == 401


def test_the_broker_keeps_the_alert_and_the_state_for_whoever_comes(blind: Blind) -> None:
    alert, daemon, post = blind.retained("alert/safe_mode", "state/daemon", f"state/post/{blind.post}")

    assert alert["alert"] == "safe_mode"
    assert "that tokd had acknowledged" in alert["message"]
    assert "tokd restore FILE" in alert["todo"]
    assert state_faults("alert/safe_mode", json.dumps(alert)) == []
    assert daemon["phase"] == "safe_mode"
    assert post["post"] == blind.post, "what stood there stays"


def test_an_order_over_the_broker_is_answered_and_no_event_takes_a_number_again(blind: Blind) -> None:
    caller = Caller(blind.broker.port)
    try:
        error = caller.call("post/publish_now", {"account": "demo"}, id="over-mqtt")["error"]
    finally:
        caller.close()

    assert error["code"] == "safe_mode"
    assert blind.listener is not None
    heard = blind.listener.heard()
    assert any(b"safe_mode" in payload for _, payload in heard), "its state, which comes after such an event"
    assert [topic for topic, _ in heard if "/event/" in topic] == []


def test_the_service_manager_sees_it_run_and_hears_why_it_does_nothing(blind: Blind) -> None:
    wait_until(lambda: blind.manager.said("STATUS=safe mode: the ledger"), 15, what="the status")

    assert any(at > blind.began for at in blind.manager.said("READY=1"))
    assert blind.daemon.process is not None
    assert blind.daemon.process.poll() is None


def test_a_person_accepts_it_and_nothing_that_may_be_out_is_sent_again(blind: Blind) -> None:
    left = tokd(blind.daemon, "safe-mode", "leave")
    assert blind.daemon.stop() == 0
    assert blind.ledger() == blind.before, "not one byte of it was touched"

    accepted = tokd(blind.daemon, "db", "accept")
    blind.daemon.start()
    post = blind.daemon.post(blind.post)
    assert left.returncode == 1
    assert accepted.returncode == 0, accepted.stderr
    assert "tokd resume" in accepted.stdout
    assert (post["state"], post["reason"]) == ("uncertain", "restored")
    assert blind.daemon.call("system/health")["result"]["paused"]
    wait_until(lambda: blind.retained("alert/safe_mode") == [None], 10, 0.2, what="the alert cleared")
