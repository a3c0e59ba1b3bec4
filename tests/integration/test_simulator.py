"""The simulator as a process, driven over real HTTP; the other test_simulator files use this driver."""

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

ROOT = Path(__file__).parents[2]
PUBLISH = "/v2/post/publish"
INITS = {
    "direct": f"{PUBLISH}/video/init/",
    "inbox": f"{PUBLISH}/inbox/video/init/",
    "photo": f"{PUBLISH}/content/init/",
}
MB = 1_000_000


def wait_until(is_true: Callable[[], Any], seconds: float = 8.0) -> Any:
    deadline = time.monotonic() + seconds
    pause = Event()
    while not (found := is_true()):
        assert time.monotonic() < deadline, "waited in vain"
        pause.wait(0.02)
    return found


def chunks_of(content: bytes, chunk_size: int) -> list[tuple[int, bytes]]:
    count = max(len(content) // chunk_size, 1)
    starts = [index * chunk_size for index in range(count)]
    ends = [*starts[1:], len(content)]
    return [(start, content[start:end]) for start, end in zip(starts, ends, strict=True)]


class Driver:
    """A client without any cleverness: it sends what it is told."""

    def __init__(self, state_dir: Path, *arguments: str) -> None:
        self.state_dir = state_dir
        self.arguments = arguments
        self.start(0)

    def start(self, port: int) -> None:
        command = [sys.executable, "-m", "adapters.simulator", "--port", str(port)]
        self.process = subprocess.Popen(
            [*command, "--state-dir", str(self.state_dir), *self.arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        line = self.process.stdout.readline()
        assert line.startswith("simulator ready at http://127.0.0.1:"), line
        self.url = line.split()[-1]
        self.session = requests.Session()

    def stop(self) -> int:
        self.session.close()
        self.process.terminate()
        code = self.process.wait(10)
        self.process.stdout.close()
        return code

    def post(self, path: str, body: Any = None, token: str | None = None) -> requests.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.session.post(self.url + path, json=body, headers=headers, timeout=10)

    def form(self, path: str, **fields: str) -> requests.Response:
        client = {"client_key": "sim-client", "client_secret": "sim-secret"}
        return self.session.post(f"{self.url}/v2/oauth/{path}/", data=client | fields, timeout=10)

    def console(self, path: str, body: Any = None) -> Any:
        answer = self.post(f"/_simulator/{path}", {} if body is None else body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def settings(self, **changes: Any) -> None:
        self.console("settings", changes)

    def fault(self, endpoint: str, action: str, **details: Any) -> None:
        self.console("faults", {"endpoint": endpoint, "action": action, **details})

    def token(self, user: str = "demo", **more: Any) -> str:
        return self.console("tokens", {"user": user, **more})["access_token"]

    def ledger(self) -> dict[str, Any]:
        return self.session.get(self.url + "/_simulator/ledger", timeout=10).json()

    def init(self, token: str, size: int = 1000, mode: str = "direct", **changes: Any) -> requests.Response:
        source = {"source": "FILE_UPLOAD", "video_size": size, "chunk_size": size, "total_chunk_count": 1}
        body = {"post_info": {"privacy_level": "SELF_ONLY", "title": "a title"}, "source_info": source}
        if mode == "inbox":
            del body["post_info"]
        return self.post(INITS[mode], body | changes, token)

    def put(
        self, url: str, first: int, data: bytes, total: int, headers: dict[str, Any] | None = None
    ) -> requests.Response:
        usual = {
            "Content-Type": "video/mp4",
            "Content-Range": f"bytes {first}-{first + len(data) - 1}/{total}",
        }
        return self.session.put(url, data=data, headers=usual | (headers or {}), timeout=10)

    def upload(self, token: str, mode: str = "direct", content: bytes = b"v" * 1000, **changes: Any) -> str:
        data = self.init(token, len(content), mode, **changes).json()["data"]
        answer = self.put(data["upload_url"], 0, content, len(content))
        assert answer.status_code == 201
        return data["publish_id"]

    def status(self, token: str, publish_id: str) -> dict[str, Any]:
        return self.post(f"{PUBLISH}/status/fetch/", {"publish_id": publish_id}, token).json()["data"]

    def wait_for(self, token: str, publish_id: str, status: str) -> dict[str, Any]:
        wait_until(lambda: self.status(token, publish_id)["status"] == status)
        return self.status(token, publish_id)


@contextlib.contextmanager
def started(state_dir: Path, *arguments: str) -> Iterator[Driver]:
    driver = Driver(state_dir, *arguments)
    try:
        yield driver
    finally:
        driver.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with started(tmp_path_factory.mktemp("simulator")) as driver:
        yield driver


@pytest.fixture
def simulator(running):
    running.console("reset")
    return running


def authorise(simulator: Driver, **changes: str) -> dict[str, list[str]]:
    query = {
        "client_key": "sim-client",
        "response_type": "code",
        "scope": "user.info.basic,video.publish",
        "redirect_uri": "http://127.0.0.1:3455/callback/",
        "state": "st",
        "_simulator_user": "demo",
    }
    url = f"{simulator.url}/v2/auth/authorize/"
    answer = simulator.session.get(url, params=query | changes, allow_redirects=False, timeout=10)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("http://127.0.0.1:3455/callback/?")
    return parse_qs(urlsplit(answer.headers["Location"]).query)


def exchange(simulator: Driver, code: str, **changes: str) -> dict[str, Any]:
    usual = {"grant_type": "authorization_code", "redirect_uri": "http://127.0.0.1:3455/callback/"}
    return simulator.form("token", **usual | {"code": code} | changes).json()


def refresh(simulator: Driver, token: str) -> dict[str, Any]:
    return simulator.form("token", grant_type="refresh_token", refresh_token=token).json()


def test_code_is_exchanged_once_for_a_working_token(simulator):
    callback = authorise(simulator)
    assert callback["scopes"] == ["user.info.basic,video.publish"]
    assert callback["state"] == ["st"]

    pair = exchange(simulator, callback["code"][0])

    assert pair["open_id"] == "open-demo"
    assert (pair["expires_in"], pair["refresh_expires_in"]) == (86400, 31536000)
    assert simulator.post(f"{PUBLISH}/creator_info/query/", None, pair["access_token"]).status_code == 200
    assert exchange(simulator, callback["code"][0])["error"] == "invalid_grant"


def consent_url(simulator: Driver, **changes: str) -> str:
    query = {
        "client_key": "sim-client", "response_type": "code", "scope": "user.info.basic,video.publish",
        "redirect_uri": "http://127.0.0.1:3455/callback/", "state": "st",
    }  # fmt: skip
    return f"{simulator.url}/v2/auth/authorize/?{urlencode(query | changes)}"


def test_a_person_is_asked_on_a_page(simulator):
    page = simulator.session.get(consent_url(simulator), timeout=10)
    assert page.status_code == 200
    assert "Simulation. This is not TikTok" in page.text
    assert [scope in page.text for scope in ("user.info.basic", "video.publish", "video.upload")] == [
        True, True, False,
    ]  # fmt: skip


def decide(simulator: Driver, form: list[tuple[str, str]], **changes: str) -> dict[str, list[str]]:
    answer = simulator.session.post(
        consent_url(simulator, **changes), form, allow_redirects=False, timeout=10
    )
    assert answer.status_code == 302
    return parse_qs(urlsplit(answer.headers["Location"]).query)


def test_a_person_may_allow_a_part(simulator):
    back = decide(
        simulator,
        [("user", "demo"), ("scope", "video.publish"), ("scope", "video.list"), ("decision", "authorize")],
    )
    assert (back["scopes"], back["state"]) == (["video.publish"], ["st"])
    assert exchange(simulator, back["code"][0])["scope"] == "video.publish"


def test_a_person_may_say_no(simulator):
    assert decide(simulator, [("user", "demo"), ("decision", "cancel")])["error"] == ["access_denied"]


def test_consent_is_for_a_known_app_only(simulator):
    form = [("user", "demo"), ("decision", "authorize")]
    answer = simulator.session.post(consent_url(simulator, client_key="x"), form, timeout=10)
    assert answer.status_code == 400


def test_unknown_user_denies_access(simulator):
    assert authorise(simulator, _simulator_user="nobody")["error"] == ["access_denied"]


def test_wrong_client_or_redirect_is_not_redirected(simulator):
    url = f"{simulator.url}/v2/auth/authorize/"
    for query in ({"client_key": "x"}, {"client_key": "sim-client", "redirect_uri": "http://evil.example/"}):
        answer = simulator.session.get(url, params=query, allow_redirects=False, timeout=10)
        assert answer.status_code == 400


def test_pkce_wants_the_lower_case_hex_of_sha256(simulator):
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    challenge = "13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3"
    assert hashlib.sha256(verifier.encode()).hexdigest() == challenge

    good = authorise(simulator, code_challenge=challenge, code_challenge_method="S256")["code"][0]
    bad = authorise(simulator, code_challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")["code"][0]

    assert "access_token" in exchange(simulator, good, code_verifier=verifier)
    refusal = exchange(simulator, bad, code_verifier=verifier)
    assert refusal["error_description"] == "Code verifier or code challenge is invalid."


def test_exchange_wants_a_form_and_the_same_redirect_uri(simulator):
    code = authorise(simulator)["code"][0]
    assert simulator.post("/v2/oauth/token/", {"code": code}).json()["error"] == "invalid_request"
    refusal = exchange(simulator, code, redirect_uri="http://127.0.0.1:1/other/")
    assert "Redirect_uri is not matched" in refusal["error_description"]
    assert simulator.form("token", client_secret="x").json()["error"] == "invalid_client"


def test_refresh_rotation_kills_the_old_refresh_token(simulator):
    old = simulator.console("tokens", {"user": "demo"})

    new = refresh(simulator, old["refresh_token"])

    assert new["refresh_token"] != old["refresh_token"]
    assert refresh(simulator, old["refresh_token"])["error"] == "invalid_grant"
    assert "access_token" in refresh(simulator, new["refresh_token"])
    assert [row["ok"] for row in simulator.ledger()["refreshes"]] == [True, False, True]


def test_refresh_rotation_can_be_off_or_have_grace(simulator):
    simulator.settings(refresh_rotation="off")
    old = simulator.console("tokens", {"user": "demo"})["refresh_token"]
    assert refresh(simulator, old)["refresh_token"] == old

    simulator.settings(refresh_rotation="grace")
    assert refresh(simulator, old)["refresh_token"] != old
    assert "access_token" in refresh(simulator, old)
    simulator.console("clock", {"advance_seconds": 61})
    assert refresh(simulator, old)["error"] == "invalid_grant"


def test_oauth_errors_have_the_status_that_was_set(simulator):
    assert simulator.form("token", grant_type="x").status_code == 200
    simulator.settings(oauth_error_status=401)
    assert simulator.form("token", grant_type="x").status_code == 401


def test_revoke_kills_both_tokens(simulator):
    pair = simulator.console("tokens", {"user": "demo"})

    answer = simulator.form("revoke", token=pair["access_token"])

    assert (answer.status_code, answer.json()) == (200, {})
    refused = simulator.post(f"{PUBLISH}/creator_info/query/", None, pair["access_token"])
    assert refused.json()["error"]["code"] == "access_token_invalid"
    assert refresh(simulator, pair["refresh_token"])["error"] == "invalid_grant"


def test_rotated_or_expired_tokens_are_refused_until_refreshed(simulator):
    pair = simulator.console("tokens", {"user": "demo"})
    simulator.console("rotate_tokens", {"user": "demo"})
    assert simulator.post(f"{PUBLISH}/creator_info/query/", None, pair["access_token"]).status_code == 401

    new = refresh(simulator, pair["refresh_token"])

    assert simulator.post(f"{PUBLISH}/creator_info/query/", None, new["access_token"]).status_code == 200
    simulator.console("expire", {"user": "demo", "what": "refresh"})
    assert refresh(simulator, new["refresh_token"])["error"] == "invalid_grant"


def test_every_answer_is_marked_and_unknown_paths_are_janus(simulator):
    answer = simulator.session.get(f"{simulator.url}/v2/post/publish/video/init", timeout=10)
    assert answer.headers["X-Tokd-Simulator"] == "simulated"
    assert answer.status_code == 404
    assert "Unsupported path(Janus)" in answer.text


def test_ledger_holds_no_token(simulator):
    pair = simulator.console("tokens", {"user": "demo"})
    url = simulator.init(pair["access_token"]).json()["data"]["upload_url"]
    simulator.put(url, 0, b"v" * 1000, 1000)
    refresh(simulator, pair["refresh_token"])

    text = (simulator.state_dir / "ledger.jsonl").read_text()

    secrets = [pair["access_token"], pair["refresh_token"], parse_qs(urlsplit(url).query)["upload_token"][0]]
    assert not [secret for secret in secrets if secret in text]
    assert all(json.loads(line)["kind"] for line in text.splitlines())
