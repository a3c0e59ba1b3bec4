"""Canary secrets go through a full run with failures, at log level debug, and must turn up nowhere.

The canaries: access and refresh tokens, the client secret, the upload addresses' tokens, the broker's password.
"""

import base64
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
import requests

from tests.brokers import Broker, Listener, free_port
from tests.daemons import Daemon, Simulator, make_clip
from tests.e2e.stage import BUSY, LIMITLESS, SMALL_CHUNKS, Stage
from tests.waiting import wait_until

BASE = "tokd/v1/main"
CLIENT_SECRET = "canary-client-secret-T9zRw1"
MQTT_PASSWORD = "canary-mqtt-password-Xk27Qp"
USERS = {"tokd-main": MQTT_PASSWORD, "observer": "observer-password"}
PLANTED = "planted-canary-7Hh2kLw9"


class Secrets:
    """Every secret that has been in use, gathered from the simulator's own database."""

    def __init__(self, simulator: Path) -> None:
        self._database = simulator / "state.sqlite3"
        self.found = {CLIENT_SECRET, MQTT_PASSWORD}

    def gather(self) -> None:
        with sqlite3.connect(f"file:{self._database}?mode=ro", uri=True) as rows:
            for kind, body in rows.execute("SELECT kind, body FROM record WHERE kind IN ('token', 'post')"):
                record = json.loads(body)
                value = record["value"] if kind == "token" else record["upload_token"]
                if value:
                    self.found.add(value)


def search(haystack: bytes, secrets: Iterable[str]) -> list[str]:
    """Return the secrets that occur, plain, percent-encoded, in hex or in base64."""
    found = []
    for secret in secrets:
        raw = secret.encode()
        forms = {
            raw,
            quote(secret, safe="").encode(),
            raw.hex().encode(),
            base64.b64encode(raw).rstrip(b"=")[:-1],
        }
        if any(form in haystack for form in forms):
            found.append(secret)
    return found


class Watcher:
    """Reads the command lines of a process and all below it, again and again, while something runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.seen: set[bytes] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            self.look()

    def look(self) -> None:
        waiting = [self._pid]
        while waiting:
            pid = waiting.pop()
            try:
                self.seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue

    def stop(self) -> bytes:
        self._ended.set()
        self._thread.join()
        return b"\n".join(self.seen)


class Run:
    """What the full run has left behind."""

    def __init__(self, stage: Stage, secrets: Secrets) -> None:
        self.stage = stage
        self.secrets = secrets
        self.replies: list[dict[str, Any]] = []
        self.messages: list[tuple[str, bytes]] = []
        self.command_lines = b""

    def call(self, verb: str, args: dict[str, Any] | None = None, **envelope: Any) -> dict[str, Any]:
        reply = self.stage.daemon.call(verb, args, **envelope)
        self.replies.append(reply)
        return reply


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("secrets")
    simulator = Simulator(folder / "simulator", "--client-secret", CLIENT_SECRET)
    simulator.post("settings", LIMITLESS)
    broker = Broker(folder / "broker", users=USERS)
    settings = BUSY | SMALL_CHUNKS | {"log.level": "debug", "posts.retry_delays_s": str([0.3] * 20)}
    daemon = Daemon(folder / "tokd", settings).use_simulator(simulator)
    daemon.settings["tiktok.client_secret"] = CLIENT_SECRET
    daemon.settings["tiktok.authorize_url"] = f"{simulator.url}/v2/auth/authorize/"
    daemon.settings["tiktok.redirect_uri"] = "http://127.0.0.1:1/tiktok/callback"
    broker.start()
    daemon.use_broker(broker.port, "tokd-main", MQTT_PASSWORD)
    stage = Stage(folder, simulator, daemon, broker)
    found = Run(stage, Secrets(folder / "simulator"))
    try:
        with Listener(broker, "#", username="observer", password=USERS["observer"]) as observer:
            daemon.start()
            make_clip(daemon.media / "clip.mp4")
            make_clip(daemon.media / "three.mp4", pad_to=16_000_000)
            assert daemon.process is not None
            watcher = Watcher(daemon.process.pid)
            try:
                _run_everything(found)
                _ask_everything(found)
                observer.wait(lambda: observer.on(f"{BASE}/reply/observer/system/describe"), 20)
            finally:
                found.command_lines = watcher.stop()
            found.messages = observer.heard()
        found.secrets.gather()
        yield found
    finally:
        daemon.kill()
        broker.close()
        simulator.stop()


def _run_everything(run: Run) -> None:
    stage = run.stage
    stage.account("plain")
    run.secrets.gather()
    stage.assert_published_once(stage.schedule("plain", media="three.mp4"), "plain")
    _fail_at_each_call(run)
    _echo_secrets(run)
    _renew_and_lose(run)
    _refuse_connections(run)
    _link_badly(run)
    _link_in_a_browser(run)
    stage.daemon.kill()
    stage.daemon.start()


FAILURES = {
    "creator.503": ("creator_info", "status", {"status": 503}),
    "creator.cut": ("creator_info", "cut_answer", {"bytes": 70}),
    "init.lost": ("init", "lose_answer", {}),
    "init.cut": ("init", "cut_answer", {"bytes": 60}),
    "init.cut-later": ("init", "cut_answer", {"bytes": 260}),
    "init.garbage": ("init", "garbage", {}),
    "upload.500": ("upload", "status", {"status": 500, "body": "x"}),
    "upload.cut": ("upload", "cut_answer", {"bytes": 55}),  # within a header: urllib3 warns, with the address
    "upload.cut-later": ("upload", "cut_answer", {"bytes": 75, "after": 2}),
    "upload.drop": ("upload", "drop", {}),
    "upload.cut-body": ("upload", "cut_body", {"bytes": 1000}),
    "status.502": ("status", "status", {"status": 502}),
    "status.garbage": ("status", "garbage", {}),
}


def _fail_at_each_call(run: Run) -> None:
    stage = run.stage
    stage.link_all(FAILURES)
    for name, (endpoint, action, more) in FAILURES.items():
        stage.fault(name, endpoint, action, **more)
    for post in [stage.schedule(name, media="three.mp4") for name in FAILURES]:
        stage.daemon.wait_state(post, "published", within_s=60)
    run.secrets.gather()


def _echo_secrets(run: Run) -> None:
    """A server that repeats in its errors what it was sent, or what it had sent."""
    stage = run.stage
    stage.account("echo")
    for line in _lines_with_secrets(run):
        for endpoint in ("creator_info", "init", "status"):
            stage.fault("echo", endpoint, "error", code="internal_error", message=line)
    stage.fault("echo", "upload", "status", status=503, body=_lines_with_secrets(run)[0])
    stage.daemon.wait_state(stage.schedule("echo", media="three.mp4"), "published", within_s=60)
    for line in _lines_with_secrets(run):
        stage.fault("echo", "init", "error", code="invalid_params", message=line)
        stage.daemon.wait_state(stage.schedule("echo"), "failed")
    for line in _lines_with_secrets(run):
        # First, and for every refresh: the link before may still be reading the creator, and would renew the tokens.
        stage.fault("echo", "refresh", "error", code="invalid_grant", message=line, times=None)
        stage.simulator.post("rotate_tokens", {"user": "echo"})
        post = stage.schedule("echo")
        stage.daemon.wait_state(post, "held")
        stage.daemon.call("post/cancel", {"post": post})
        stage.simulator.clear_faults()
        stage.daemon.link(stage.simulator, "echo")


def _lines_with_secrets(run: Run) -> list[str]:
    """Return one line for each kind of secret, as an error of the API might have it."""
    run.secrets.gather()
    found = sorted(run.secrets.found)
    upload = next(secret for secret in found if not secret.startswith(("act.", "rft.", "canary")))
    address = f"{run.stage.simulator.url}/upload/video/7?upload_id=7&upload_token={upload}"
    return [
        "unknown access tokens: " + ", ".join([secret for secret in found if secret.startswith("act.")][-3:]),
        "unknown refresh tokens: "
        + ", ".join([secret for secret in found if secret.startswith("rft.")][-3:]),
        f"cannot store at {address} now",
        f"no task with upload_token={upload} is known",
    ]


def _renew_and_lose(run: Run) -> None:
    stage = run.stage
    stage.account("renewed")
    run.secrets.gather()
    stage.simulator.post("rotate_tokens", {"user": "renewed"})
    stage.fault("renewed", "refresh", "status", status=503)
    stage.assert_published_once(stage.schedule("renewed"), "renewed")
    run.secrets.gather()
    stage.simulator.post("rotate_tokens", {"user": "renewed"})
    stage.fault("renewed", "refresh", "lose_answer")
    stage.daemon.wait_state(stage.schedule("renewed"), "held")
    run.secrets.gather()
    stage.account("moved")
    stage.fault("moved", "upload", "redirect", location=f"https://evil.example/?upload_token={PLANTED[:5]}")
    stage.daemon.wait_state(stage.schedule("moved"), "published", "failed")


def _refuse_connections(run: Run) -> None:
    """The upload host is gone in the middle of an upload: connection refused, with the address in the driver's hands."""
    stage = run.stage
    stage.account("refused")
    stage.fault("refused", "upload", "slow", seconds=0.7)
    post = stage.schedule("refused", media="three.mp4")
    wait_until(lambda: "publish_id" in stage.daemon.post(post), 10)
    run.secrets.gather()
    stage.simulator.stop()
    _stay_refused(post, stage)
    stage.simulator.child.start()
    stage.daemon.wait_state(post, "published", within_s=60)


def _stay_refused(post: str, stage: Stage) -> None:
    """Let the daemon knock in vain for a second: the next try of a chunk comes after half of one."""
    pause = threading.Event()
    for _ in range(4):
        assert stage.daemon.post(post)["state"] != "published"
        pause.wait(0.25)


def _link_badly(run: Run) -> None:
    stage = run.stage
    stage.add_user("typo")
    tokens = stage.simulator.post("tokens", {"user": "typo"})
    run.secrets.gather()
    tokens.pop("token_type", None)
    good = {"account": "typo", **tokens}
    access = tokens["access_token"]
    for args in (
        good | {"acess_token": access},
        good | {"access_token": [access]},
        good | {"access_token": f"{access}\n{access}"},
        good | {"expires_in": access},
        {"account": "typo", "token": access},
    ):
        run.call("account/import", args)
    with Listener(
        stage.broker, f"{BASE}/reply/observer/#", username="observer", password=USERS["observer"]
    ) as caller:
        for args in (good, good | {"acess_token": access}):
            before = len(caller.messages)
            caller.publish(f"{BASE}/cmd/observer/account/import", json.dumps({"args": args}))
            caller.wait(lambda before=before: len(caller.messages) > before)
            run.replies += [json.loads(payload) for _, payload in caller.heard()[before:]]
    assert run.call("account/import", good)["status"] == "done"


def _link_in_a_browser(run: Run) -> None:
    """The OAuth round, with states and codes that are found out here, and a server that repeats them."""
    stage = run.stage
    stage.add_user("linked")
    faults: tuple[dict[str, Any], ...] = (
        {},
        {"action": "lose_answer"},
        {"action": "error", "code": "invalid_grant"},
    )
    for fault in (*faults, {"action": "error", "code": "server_error"}):
        begun = stage.daemon.call("account/link", {"account": "linked"})["result"]
        answer = requests.get(
            f"{begun['auth_url']}&_simulator_user=linked", allow_redirects=False, timeout=30
        )
        query = dict(parse_qsl(urlsplit(answer.headers["Location"]).query))
        run.secrets.found |= {query["state"], query["code"]}
        if fault:
            echo = f"code {query['code']} is unknown"
            stage.simulator.faults({"endpoint": "exchange", "message": echo} | fault)
        run.call("account/finish_link", query)
        run.call("account/finish_link", query)
        run.call("account/finish_link", query | {"codes": query["code"]})
        stage.simulator.clear_faults()
    run.secrets.gather()
    assert run.call("account/unlink", {"account": "linked"}, id="unlink")["status"] == "done"


def _ask_everything(run: Run) -> None:
    for verb in ("system/describe", "system/health", "system/ping", "account/list", "post/list"):
        run.call(verb)
    for post in run.call("post/list")["result"]["posts"]:
        run.call("post/status", {"post": post["post"]})
    run.replies += run.stage.daemon.events()
    stage = run.stage
    with Listener(
        stage.broker, f"{BASE}/reply/observer/#", username="observer", password=USERS["observer"]
    ) as caller:
        caller.publish(f"{BASE}/cmd/observer/system/describe", b"")
        caller.wait_for(f"{BASE}/reply/observer/system/describe")


# -- nowhere -------------------------------------------------------------------------------------------------


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def test_run_has_used_secrets_of_every_kind(run: Run) -> None:
    kinds = {secret[:4] for secret in run.secrets.found}
    assert {"act.", "rft.", "cana"} <= kinds
    assert sum(not secret.startswith(("act.", "rft.", "canary")) for secret in run.secrets.found) >= 6
    assert len(run.secrets.found) > 20


def test_log_at_debug_level_has_no_secret(run: Run) -> None:
    log = run.stage.daemon.log.read_bytes()
    assert b'"level": "debug"' in log or b'"level": "info"' in log
    assert search(log, run.secrets.found) == []


def test_no_message_on_any_topic_has_a_secret(run: Run) -> None:
    # What the observer itself has sent, account/import over the broker, is not tokd's doing.
    ours = [(topic, payload) for topic, payload in run.messages if "/cmd/" not in topic]
    assert {f"{BASE}/event/post", f"{BASE}/event/account", f"{BASE}/state/daemon", f"{BASE}/info"} <= {
        topic for topic, _ in ours
    }
    everything = b"\n".join(topic.encode() + b" " + payload for topic, payload in ours)
    assert search(everything, run.secrets.found) == []


def test_no_retained_topic_has_a_secret(run: Run) -> None:
    password = USERS["observer"]
    with Listener(run.stage.broker, "#", username="observer", password=password) as newcomer:
        newcomer.wait_for(f"{BASE}/availability")
        newcomer.wait(lambda: len(newcomer.messages) > 10)
        everything = b"\n".join(payload for _, payload in newcomer.heard())
    assert search(everything, run.secrets.found) == []


def test_no_reply_and_no_replayed_event_has_a_secret(run: Run) -> None:
    assert len(run.replies) > 50
    assert search(json.dumps(run.replies).encode(), run.secrets.found) == []


def test_no_file_of_the_state_folder_has_a_secret(run: Run) -> None:
    state = run.stage.daemon.state_dir
    names = {path.name for path in _files(state)}
    assert {"tokd.db", "tokd.db-wal"} <= names
    for path in _files(state):
        assert search(path.read_bytes(), run.secrets.found) == [], path.name


def test_no_command_line_of_ours_has_a_secret(run: Run) -> None:
    assert b"daemon\0run" in run.command_lines
    assert search(run.command_lines, run.secrets.found) == []


def test_state_folder_is_closed_to_others(run: Run) -> None:
    state = run.stage.daemon.state_dir
    for path in (state, *state.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        allowed = 0o700 if path.is_dir() else 0o600
        assert mode & ~allowed == 0, f"{path.name} has {mode:o}"


def test_crash_of_the_daemon_leaves_no_secret_on_standard_output(run: Run) -> None:
    """Standard output and error go to the same file as the log: tracebacks count, too."""
    assert b"Traceback (most recent call last):\n" not in run.stage.daemon.log.read_bytes()


# -- the search finds what is there --------------------------------------------------------------------------


def test_search_finds_a_canary_planted_in_a_post(run: Run) -> None:
    """The negative control: by the same searches, in a reply, a topic and the database."""
    stage = run.stage
    with Listener(stage.broker, "#", username="observer", password=USERS["observer"]) as observer:
        reply = stage.daemon.schedule(account="plain", title=PLANTED, at="2040-01-01T00:00:00Z")
        topic = f"{BASE}/state/post/{reply['result']['post']}"
        assert search(b"\n".join(observer.wait_for(topic)), [PLANTED]) == [PLANTED]
    assert search(json.dumps(stage.daemon.call("post/list")).encode(), [PLANTED]) == [PLANTED]
    state = stage.daemon.state_dir
    assert any(search(path.read_bytes(), [PLANTED]) for path in _files(state))


def test_search_finds_a_canary_planted_in_the_log(run: Run) -> None:
    copy = run.stage.folder / "copy.log"
    copy.write_bytes(run.stage.daemon.log.read_bytes() + f'{{"event": "GET /?token={PLANTED}"}}\n'.encode())
    assert search(copy.read_bytes(), [PLANTED]) == [PLANTED]


@pytest.mark.parametrize(
    "form", [PLANTED, PLANTED.encode().hex(), base64.b64encode(PLANTED.encode()).decode()]
)
def test_search_finds_other_spellings(form: str) -> None:
    assert search(f"x{form}x".encode(), [PLANTED]) == [PLANTED]


def test_watcher_finds_a_canary_on_a_command_line() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", PLANTED], stdin=subprocess.PIPE
    )
    try:
        watcher = Watcher(os.getpid())
        wait_until(lambda: search(b"\n".join(set(watcher.seen)), [PLANTED]), 10)
        watcher.stop()
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


# -- the broker child's passwords ----------------------------------------------------------------------------


def test_passwords_of_the_broker_child_are_on_no_command_line_and_in_no_log(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, {"broker.port": str(free_port()), "log.level": "debug"})
    daemon.options = ("--with-broker", "--simulate")
    try:
        daemon.start(wait=False)
        assert daemon.process is not None
        watcher = Watcher(daemon.process.pid)
        try:
            daemon.wait_ready()
        finally:
            lines = watcher.stop()
        passwords = _passwords(daemon.state_dir)
        assert len(passwords) >= 2
        assert b"mosquitto" in lines
        assert search(lines, passwords) == []
        assert search(daemon.log.read_bytes(), passwords) == []
        for path in daemon.state_dir.rglob("*"):
            mode = stat.S_IMODE(path.lstat().st_mode)
            # mosquitto gives its socket a mode of its own; the folder around it is closed
            assert mode & 0o077 == 0 or path.is_socket(), f"{path} has {mode:o}"
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def _passwords(state: Path) -> set[str]:
    """Return the passwords that tokd has made for its own broker."""
    return {path.read_text().strip() for path in (state / "broker" / "passwords").iterdir()}
