"""The simulator's scripted faults, each by its effect on the client and on the ledger."""

import socket
import time
from urllib.parse import urlsplit

import pytest
import requests

from tests.integration.test_simulator import MB, PUBLISH, refresh, started


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with started(tmp_path_factory.mktemp("simulator")) as driver:
        yield driver


@pytest.fixture
def simulator(running):
    running.console("reset")
    running.settings(processing_seconds=0)
    return running


BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


def test_lost_answer_leaves_the_work_done(simulator):
    simulator.fault("init", "lose_answer")
    token = simulator.token()
    with pytest.raises(BROKEN):
        simulator.init(token)
    assert len(simulator.ledger()["inits"]) == 1
    assert simulator.init(token).status_code == 200


def test_lost_refresh_answer_costs_the_refresh_token(simulator):
    simulator.fault("refresh", "lose_answer")
    old = simulator.console("tokens", {"user": "demo"})["refresh_token"]
    with pytest.raises(BROKEN):
        refresh(simulator, old)
    assert refresh(simulator, old)["error"] == "invalid_grant"


def test_dropped_call_does_nothing(simulator):
    simulator.fault("video_init", "drop")
    with pytest.raises(BROKEN):
        simulator.init(simulator.token())
    assert simulator.ledger()["inits"] == []


def test_cut_body_stores_nothing_of_the_chunk(simulator):
    content = b"v" * (4 * MB)
    token = simulator.token()
    data = simulator.init(token, len(content)).json()["data"]
    simulator.fault("upload", "cut_body", bytes=MB)
    with pytest.raises(BROKEN):
        simulator.put(data["upload_url"], 0, content, len(content))
    assert simulator.status(token, data["publish_id"])["uploaded_bytes"] == 0

    assert simulator.put(data["upload_url"], 0, content, len(content)).status_code == 201

    assert [row["status"] for row in simulator.ledger()["ranges"]] == [None, 201]


def test_lost_upload_answer_leaves_the_bytes_stored(simulator):
    token = simulator.token()
    data = simulator.init(token).json()["data"]
    simulator.fault("upload", "lose_answer")
    with pytest.raises(BROKEN):
        simulator.put(data["upload_url"], 0, b"v" * 1000, 1000)
    simulator.wait_for(token, data["publish_id"], "PUBLISH_COMPLETE")
    assert len(simulator.ledger()["publishes"]) == 1


@pytest.mark.parametrize("length", [0, 20, 60])
def test_cut_answer_breaks_off_after_the_bytes(simulator, length):
    simulator.fault("refresh", "cut_answer", bytes=length)
    head = "POST /v2/oauth/token/ HTTP/1.1\r\nHost: x\r\nContent-Length: 24\r\n"
    body = "grant_type=refresh_token"
    kind = "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    address = urlsplit(simulator.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as client:
        client.sendall((head + kind + body).encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert len(answer) == length
    assert b"HTTP/1.1 200 OK\r\n".startswith(answer[:17])
    assert simulator.ledger()["calls"] == {"refresh": 1}


def test_answer_cut_in_its_body_leaves_the_work_done(simulator):
    simulator.fault("init", "cut_answer", bytes=300)
    with pytest.raises(BROKEN):
        simulator.init(simulator.token())
    assert len(simulator.ledger()["inits"]) == 1


def test_any_status_with_headers_and_body(simulator):
    simulator.fault("status", "status", status=503, headers={"Retry-After": "7"}, body={"oops": True})
    answer = simulator.post(f"{PUBLISH}/status/fetch/", {"publish_id": "x"}, simulator.token())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert answer.json() == {"oops": True}


def test_error_has_the_shape_of_its_endpoint(simulator):
    token = simulator.token()
    simulator.fault("*", "error", code="spam_risk_text", times=2)
    answer = simulator.init(token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "spam_risk_text")
    assert refresh(simulator, "x")["error"] == "spam_risk_text"
    simulator.fault("creator_info", "error", code="spam_risk_too_many_posts")
    assert simulator.post(f"{PUBLISH}/creator_info/query/", None, token).status_code == 200
    simulator.fault("creator_info", "error", code="rate_limit_exceeded")
    assert simulator.post(f"{PUBLISH}/creator_info/query/", None, token).status_code == 429


def test_work_done_at_once_may_be_answered_late(simulator):
    simulator.fault("init", "slow_after", seconds=0.4)
    assert simulator.init(simulator.token()).status_code == 200
    assert time.time() - simulator.ledger()["inits"][0]["time"] >= 0.4


def test_slow_answer_comes_late(simulator):
    simulator.fault("init", "slow", seconds=0.4)
    answer = simulator.init(simulator.token())
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.4


@pytest.mark.parametrize(("action", "inits"), [("garbage", 0), ("garbage_after", 1)])
def test_garbage_is_no_json(simulator, action, inits):
    simulator.fault("init", action)
    answer = simulator.init(simulator.token())
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert len(simulator.ledger()["inits"]) == inits


def test_stuck_post_never_leaves_processing_and_is_not_published(simulator):
    simulator.fault("init", "stuck")
    token = simulator.token()
    publish_id = simulator.upload(token)
    simulator.console("clock", {"advance_seconds": 3000})
    assert simulator.status(token, publish_id)["status"] == "PROCESSING_UPLOAD"
    assert simulator.ledger()["publishes"] == []
    simulator.console(f"posts/{publish_id}", {"status": "PUBLISH_COMPLETE"})
    assert len(simulator.ledger()["publishes"]) == 1


def test_post_fails_with_the_scripted_reason(simulator):
    simulator.fault("init", "fail", reason="frame_rate_check_failed")
    token = simulator.token()
    publish_id = simulator.upload(token)
    assert simulator.wait_for(token, publish_id, "FAILED")["fail_reason"] == "frame_rate_check_failed"
    assert simulator.ledger()["publishes"] == []


def test_redirect_points_elsewhere(simulator):
    data = simulator.init(simulator.token()).json()["data"]
    simulator.fault("upload", "redirect", location="http://127.0.0.1:9/x")
    answer = simulator.session.put(data["upload_url"], data=b"v", allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (307, "http://127.0.0.1:9/x")


def test_upload_status_fault_is_in_the_ledger(simulator):
    data = simulator.init(simulator.token()).json()["data"]
    simulator.fault("upload", "status", status=502)
    assert simulator.put(data["upload_url"], 0, b"v" * 1000, 1000).status_code == 502
    assert simulator.put(data["upload_url"], 0, b"v" * 1000, 1000).status_code == 201
    assert [row["status"] for row in simulator.ledger()["ranges"]] == [502, 201]


def test_faults_count_users_skips_and_times(simulator):
    simulator.console("users", {"name": "other", "private": True})
    token, other = simulator.token(), simulator.token("other")
    simulator.fault("init", "status", status=500, user="demo", after=1, times=2)

    assert [simulator.init(token).status_code for _ in range(2)] == [200, 500]
    assert simulator.init(other).status_code == 200
    assert [simulator.init(token).status_code for _ in range(2)] == [500, 200]

    simulator.console("faults", [{"endpoint": "init", "action": "drop", "times": None}])
    url = f"{simulator.url}/_simulator/faults"
    assert simulator.session.get(url, timeout=5).json()[0]["action"] == "drop"
    assert simulator.session.delete(url, timeout=5).json() == []
    assert simulator.init(token).status_code == 200


def test_misspelt_fault_is_refused(simulator):
    assert simulator.post("/_simulator/faults", {"endpoint": "init", "action": "burn"}).status_code == 422
