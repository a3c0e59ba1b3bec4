"""HTTP of a real daemon: the port, a token from the command line, a post from order to publication, a clean stop."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.brokers import free_port
from tests.daemons import ROOT, Daemon, Simulator, make_clip
from tests.integration.test_http_metrics import NAMES, families
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("http")
    simulator = Simulator(folder / "simulator")
    port = free_port()
    found = Daemon(folder / "daemon", {"http.port": str(port), "tiktok.upload_hosts": '["127.0.0.1"]'})
    found.use_simulator(simulator).start()
    found.link(simulator)
    make_clip(found.media / "clip.mp4")
    yield found
    assert found.stop() == 0
    simulator.stop()


def tokd(daemon: Daemon, *words: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOKD_")}
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "--set", f"daemon.state_dir={daemon.state_dir}", *words],
        cwd=daemon.folder, env=environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture(scope="module")
def token(daemon: Daemon) -> str:
    return tokd(daemon, "token", "issue", "--user", "ann")


def call(
    daemon: Daemon, token: str, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Any]:
    wire = http.client.HTTPConnection("127.0.0.1", int(daemon.settings["http.port"]), timeout=30)
    found = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"} | headers
    wire.request(method, path, json.dumps(body) if body is not None else None, found)
    answer = wire.getresponse()
    raw = answer.read()
    wire.close()
    return answer.status, json.loads(raw) if raw.startswith(b"{") else raw.decode()


def test_the_port_is_open_when_the_daemon_is_ready(daemon: Daemon, token: str) -> None:
    status, body = call(daemon, token, "GET", "/readyz")

    assert (status, body["parts"]["http"]["ok"]) == (200, True)


def test_a_post_goes_out_that_was_ordered_over_http(daemon: Daemon, token: str) -> None:
    order = {"account": "demo", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "now"}

    status, body = call(daemon, token, "POST", "/api/v1/posts", order)

    assert status == 201
    path = f"/api/v1/posts/{body['post']}"
    wait_until(
        lambda: call(daemon, token, "GET", path)[1]["state"] in {"published", "public"}, 20, what="published"
    )


def test_the_numbers_of_a_real_daemon_have_every_name_and_are_plausible(daemon: Daemon, token: str) -> None:
    daemon.wait_state(daemon.schedule()["result"]["post"], "published")

    _, text = call(daemon, token, "GET", "/metrics")

    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    # this daemon has no broker, and was never backed up
    assert families(text) >= NAMES - {"tokd_broker_connected", "tokd_backup_last_success_timestamp_seconds"}
    assert found["tokd_upload_bytes_total",] % (daemon.media / "clip.mp4").stat().st_size == 0
    assert found["tokd_init_calls_total", "ok"] == found["tokd_posts", "published"]
    assert found["tokd_db_wal_bytes",] > 0
    assert 0 < found["tokd_db_commit_seconds_sum",] < 60
    assert found["tokd_last_success_timestamp_seconds", "demo"] == pytest.approx(time.time(), abs=60)


def test_the_numbers_tell_the_daemons_own_process(daemon: Daemon, token: str) -> None:
    assert daemon.process is not None

    status, text = call(daemon, token, "GET", "/metrics")

    assert status == 200
    assert "tokd_outbox_pending 0.0" in text
    assert "process_resident_memory_bytes" in text


def test_a_token_that_was_taken_back_on_the_command_line_is_refused_at_once(daemon: Daemon) -> None:
    token = tokd(daemon, "token", "issue", "--user", "bob", "--days", "1")
    assert call(daemon, token, "GET", "/api/v1/posts")[0] == 200
    (name,) = (
        line.split("\t")[0] for line in tokd(daemon, "token", "list").splitlines() if "\tbob\t" in line
    )

    tokd(daemon, "token", "revoke", name)

    assert call(daemon, token, "GET", "/api/v1/posts")[0] == 401


def test_no_token_is_in_the_log_or_the_database(daemon: Daemon, token: str) -> None:
    call(daemon, token, "GET", "/api/v1/posts")
    signature = token.rpartition(".")[2].encode()

    files = [path for path in daemon.folder.rglob("*") if path.is_file()]

    assert not [path for path in files if signature in path.read_bytes()]


def test_a_taken_port_refuses_the_start_with_its_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = Daemon(tmp_path, {"http.port": str(port)}).start(wait=False)

        assert daemon.wait_dead() == 78
    assert f"127.0.0.1:{port}" in daemon.tail()
    assert "http.port" in daemon.tail()


def test_a_key_that_others_may_read_refuses_the_start(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, {"http.port": "0"}).start()
    daemon.stop()
    (daemon.state_dir / "secrets" / "jwt.key").chmod(0o644)

    assert daemon.start(wait=False).wait_dead() == 78
    assert "chmod 600" in daemon.tail()


def test_a_stream_ends_when_the_daemon_stops(tmp_path: Path) -> None:
    port = free_port()
    daemon = Daemon(tmp_path, {"http.port": str(port)}).start()
    token = tokd(daemon, "token", "issue", "--user", "ann")
    with socket.create_connection(("127.0.0.1", port), 30) as wire:
        wire.sendall(
            f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        assert wire.recv(4096).startswith(b"HTTP/1.1 200 ")

        assert daemon.stop() == 0

        while wire.recv(65536):
            pass
