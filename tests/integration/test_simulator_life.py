"""The simulator's own life: ports, restarts, and the webhooks it sends."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from adapters.simulator.webhooks import signature
from tests.integration.test_simulator import (
    MB,
    PUBLISH,
    ROOT,
    Driver,
    authorise,
    exchange,
    refresh,
    started,
    wait_until,
)


@pytest.fixture
def simulator(tmp_path):
    with started(tmp_path, "--set", "processing_seconds=0") as driver:
        yield driver


def restart(simulator: Driver, *, kill: bool) -> None:
    port = int(simulator.url.rsplit(":", 1)[1])
    if kill:
        simulator.process.kill()
    simulator.stop()
    simulator.start(port)


@pytest.mark.parametrize("kill", [False, True])
def test_upload_tokens_codes_and_settings_survive_a_restart(simulator, kill):
    size = 12 * MB
    source = {"source": "FILE_UPLOAD", "video_size": size, "chunk_size": 5 * MB, "total_chunk_count": 2}
    simulator.settings(daily_posts=1)
    simulator.console("users", {"name": "other", "private": True})
    pair = simulator.console("tokens", {"user": "demo"})
    code = authorise(simulator)["code"][0]
    data = simulator.init(pair["access_token"], source_info=source).json()["data"]
    simulator.put(data["upload_url"], 0, b"a" * (5 * MB), size)

    restart(simulator, kill=kill)

    answer = simulator.put(data["upload_url"], 5 * MB, b"b" * (7 * MB), size)
    assert answer.status_code == 201
    simulator.wait_for(pair["access_token"], data["publish_id"], "PUBLISH_COMPLETE")
    ledger = simulator.ledger()
    assert len(ledger["inits"]) == len(ledger["publishes"]) == 1
    assert [row["status"] for row in ledger["ranges"]] == [206, 201]
    stored = next((simulator.state_dir / "uploads").iterdir()).read_bytes()
    assert stored == b"a" * (5 * MB) + b"b" * (7 * MB)
    whole = subprocess.run(["sha256sum"], input=stored, stdout=subprocess.PIPE, check=True).stdout
    assert whole.decode().split()[0] == ledger["files"][0]["sha256"]
    assert simulator.init(pair["access_token"]).json()["error"]["code"] == "spam_risk_too_many_posts"
    assert "access_token" in exchange(simulator, code)
    assert "access_token" in refresh(simulator, pair["refresh_token"])
    assert simulator.init(simulator.token("other")).status_code == 200


def test_sigterm_ends_it_cleanly(tmp_path):
    driver = Driver(tmp_path)
    assert driver.stop() == 0


def test_taken_port_is_a_clear_error(simulator, tmp_path):
    port = simulator.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "adapters.simulator", "--port", port, "--state-dir", str(tmp_path / "b")]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert f"127.0.0.1:{port}" in second.stderr
    assert "ready" not in second.stdout


def test_discarded_uploads_leave_a_hash_and_no_bytes(tmp_path):
    with started(tmp_path, "--discard-uploads") as simulator:
        simulator.upload(simulator.token())
        assert list((tmp_path / "uploads").iterdir()) == []
        assert len(simulator.ledger()["files"][0]["sha256"]) == 64


class Receiver:
    """A webhook receiver that refuses the first `refusals` deliveries."""

    def __init__(self, refusals: int = 0) -> None:
        self.got: list[tuple[str, bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers["TikTok-Signature"], body))
                self.send_response(500 if len(receiver.got) <= refusals else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def events(self) -> list[str]:
        return [json.loads(body)["event"] for _, body in self.got]


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_signature_matches_the_known_vector():
    body = (
        rb'{"client_key":"ck_test","event":"post.publish.complete","create_time":1700000000,'
        rb'"user_openid":"open-1","content":"{\"publish_id\":\"v_pub_file~v2-1.1\",'
        rb'\"publish_type\":\"DIRECT_PUBLISH\"}"}'
    )
    expected = "7d78b8fdbab5bc7a6eab47ec6b6428f5e5f977fd099d19f3e5a4ccc1ad9fef60"
    assert signature("test_secret", 1700000001, body) == f"t=1700000001,s={expected}"


def test_webhooks_are_signed_and_tell_the_post_id_as_a_string(simulator, receiver):
    simulator.settings(webhook_url=receiver.url, audited=True)
    simulator.console("users", {"name": "demo", "private": False})
    token = simulator.token()
    publish_id = simulator.upload(token, post_info={"privacy_level": "PUBLIC_TO_EVERYONE"})

    wait_until(lambda: len(receiver.got) >= 2)

    assert receiver.events == ["post.publish.complete", "post.publish.publicly_available"]
    (post_id,) = simulator.status(token, publish_id)["publicaly_available_post_id"]
    stamp, body = receiver.got[1]
    envelope = json.loads(body)
    assert envelope["user_openid"] == "open-demo"
    assert json.loads(envelope["content"]) == {
        "publish_id": publish_id,
        "publish_type": "DIRECT_PUBLISH",
        "post_id": str(post_id),
    }
    moment = int(stamp.split(",")[0].removeprefix("t="))
    assert stamp == signature("sim-secret", moment, body)


def test_webhooks_are_sent_again_until_200(tmp_path):
    receiver = Receiver(refusals=2)
    with started(tmp_path, "--set", "webhook_retry_seconds=0.05") as simulator:
        simulator.settings(webhook_url=receiver.url)
        simulator.form("revoke", token=simulator.token())
        rows = wait_until(lambda: [row for row in simulator.ledger()["webhooks"] if row["status"] == 200])
        assert receiver.events == ["authorization.removed"] * 3
        assert rows[0]["attempt"] == 3
    receiver.server.shutdown()
    receiver.server.server_close()


def test_webhooks_may_come_twice(simulator, receiver):
    simulator.settings(webhook_url=receiver.url, webhook_duplicates=True)
    simulator.upload(simulator.token(), "inbox")
    wait_until(lambda: len(receiver.got) == 2)
    assert receiver.events == ["post.publish.inbox_delivered"] * 2


def test_webhooks_may_come_out_of_order(simulator, receiver):
    simulator.settings(webhook_url=receiver.url, webhook_out_of_order=True, complete_inbox_seconds=0)
    simulator.upload(simulator.token(), "inbox")
    wait_until(lambda: len(receiver.got) == 2)
    assert receiver.events == ["post.publish.complete", "post.publish.inbox_delivered"]


def test_webhooks_stay_on_this_machine(simulator):
    refusal = simulator.post("/_simulator/settings", {"webhook_url": "http://example.com/"})
    assert refusal.status_code == 422
    assert simulator.post("/_simulator/settings", {"procesing_seconds": 1}).status_code == 422


def test_revoked_user_fails_the_unfinished_upload(simulator):
    token = simulator.token()
    publish_id = simulator.init(token).json()["data"]["publish_id"]
    simulator.form("revoke", token=token)
    new = simulator.token()
    status = simulator.post(f"{PUBLISH}/status/fetch/", {"publish_id": publish_id}, new).json()["data"]
    assert (status["status"], status["fail_reason"]) == ("FAILED", "auth_removed")
