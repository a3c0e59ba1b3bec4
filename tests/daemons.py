"""A real daemon process, a real simulator and MQTT callers, for tests that start, kill and question them."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.simulator.child import CLIENT_KEY, CLIENT_SECRET, SimulatorChild
from daemon.domain.errors import TokdError
from tests.conformity import all_faults
from tests.notes import note
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
FAST = {
    "posts.status_delays_s": "[0.1, 0.2, 0.3]",
    "posts.retry_delays_s": "[0.2, 0.4, 0.6, 0.8, 1.0]",
    "posts.remote_retry_delays_s": "[0.3, 0.5]",
    "media.settle_s": "0",
    # a campaign sends more than a person's home does
    "access.rate_per_s": "100000",
    "access.burst": "1000000",
    "access.open_max": "100000",
    "log.format": "json",
    "daemon.safe_mode_starts": "0",  # who kills it on purpose does not want it to be careful
}


class Simulator:
    """The simulator in its own process, with its console."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.child = SimulatorChild(folder, options=options)
        self.child.start()
        self.url = self.child.url
        self._scripted = 0

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/_simulator/{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_simulator/{path}",
            json.dumps(body or {}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def faults(self, *faults: dict[str, Any]) -> None:
        self._scripted += _times(faults)
        self.post("faults", list(faults))

    def _note_faults(self) -> None:
        """Tell how many of the scripted faults were met; one that has no end is not counted."""
        if os.environ.get("SCORECARD_NOTES") and self._scripted:
            met, self._scripted = self._scripted - _times(self.get("faults")), 0
            note({"network or platform fault": met})

    def clear_faults(self) -> None:
        self._note_faults()
        request = urllib.request.Request(f"{self.url}/_simulator/faults", method="DELETE")
        with urllib.request.urlopen(request, timeout=10):
            pass

    def ledger(self) -> dict[str, Any]:
        return self.get("ledger")

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._note_faults()
        self.child.stop()


def _times(faults: Iterable[dict[str, Any]]) -> int:
    return sum(fault.get("times", 1) or 0 for fault in faults)


class Daemon:
    """A tokd process. `settings` are dotted keys with texts, as `--set` takes them; `root` holds its source."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None, root: Path = ROOT) -> None:
        self.folder = folder
        self.root = root
        self.state_dir = folder / "state"
        self.socket = self.state_dir / "control.sock"
        self.media = folder / "media"
        self.media.mkdir(parents=True, exist_ok=True)
        self.settings = {
            "daemon.state_dir": str(self.state_dir),
            "media.roots": json.dumps([str(self.media)]),
            **FAST,
            **(settings or {}),
        }
        self.options: tuple[str, ...] = ()  # of `tokd run`
        self.wrapper: tuple[str, ...] = ()  # a program that starts it, as strace does
        self.environ: dict[str, str] = {}  # over that of the tests
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "daemon.log"
        self.replies: deque[dict[str, Any]] = deque(
            maxlen=1000
        )  # the newest answers that came through its socket

    def use_simulator(self, simulator: Simulator) -> "Daemon":
        self.settings |= {
            "tiktok.api_base": simulator.url, "tiktok.client_key": CLIENT_KEY, "tiktok.client_secret": CLIENT_SECRET,
        }  # fmt: skip
        return self

    def use_broker(self, port: int, username: str | None = None, password: str | None = None) -> "Daemon":
        self.settings |= {"mqtt.host": "127.0.0.1", "mqtt.port": str(port)}
        if username and password:
            self.settings |= {"mqtt.username": username, "mqtt.password": password}
        return self

    def start(self, failpoint: str | None = None, *, wait: bool = True) -> "Daemon":
        settings = self.settings | ({"daemon.failpoint": failpoint} if failpoint else {})
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOKD_")} | {
            f"TOKD_{key.upper().replace('.', '__')}": value for key, value in settings.items()
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-m", "daemon", "run", *self.options],
                cwd=self.folder, env=environ | self.environ | {"PYTHONPATH": str(self.root)},
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, within_s: float = 15.0) -> None:
        def look() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.tail()}")
            return self.call_or_none("system/ping") is not None

        wait_until(look, within_s, what="daemon ready")
        port = int(self.settings.get("http.port", "0"))
        if port:  # HTTP listens a moment after the control socket
            wait_until(lambda: _listens(port), within_s, what="HTTP")

    def wait_settled(self) -> None:
        """Wait until every part has started: the control socket and HTTP answer before the last of them."""
        wait_until(
            lambda: "ready after" in self.log.read_text(errors="replace"), 15, what="the end of the start"
        )

    def call_or_none(
        self, verb: str, args: dict[str, Any] | None = None, **envelope: Any
    ) -> dict[str, Any] | None:
        try:
            return self.call(verb, args, **envelope)
        except (OSError, RuntimeError, TokdError):
            return None

    def call(self, verb: str, args: dict[str, Any] | None = None, **envelope: Any) -> dict[str, Any]:
        """Send a command through the control socket and return its final reply."""
        from adapters.control.client import ControlClient

        client = ControlClient(self.socket)
        reply = list(client.call(verb, {"args": args or {}, **envelope}, timeout_s=30))[-1]
        self.replies.append(reply)
        return reply

    def link(self, simulator: Simulator, name: str = "demo", user: str | None = None) -> dict[str, Any]:
        """Link an account with tokens minted by the simulator."""
        tokens = simulator.post("tokens", {"user": user or name})
        tokens.pop("token_type", None)
        return self.call("account/import", {"account": name, **tokens})

    def schedule(self, media: str = "clip.mp4", **args: Any) -> dict[str, Any]:
        """Schedule a private direct post and return the final reply."""
        command_id = args.pop("id", f"t-{os.urandom(6).hex()}")
        body = {"account": "demo", "media": media, "privacy": "SELF_ONLY", "at": "now"} | args
        return self.call("post/schedule", {k: v for k, v in body.items() if v is not None}, id=command_id)

    def post(self, post_id: str) -> dict[str, Any]:
        return self.call("post/status", {"post": post_id})["result"]

    def wait_state(self, post_id: str, *states: str, within_s: float = 20.0) -> dict[str, Any]:
        last: dict[str, Any] = {}

        def look() -> bool:
            reply = self.call_or_none("post/status", {"post": post_id})
            if reply is not None:
                last.clear()
                last.update(reply["result"])
            return last.get("state") in states

        wait_until(look, within_s, what=lambda: f"{post_id} in {states}: {last}")
        return last

    def events(self) -> list[dict[str, Any]]:
        """Return all events by replay."""
        found: list[dict[str, Any]] = []
        after, more = 0, True
        while more:
            result = self.call("events/replay", {"after": after, "limit": 200})["result"]
            found += result["events"]
            after, more = result["next_after"], result["more"]
        return found

    def kill(self) -> None:
        """kill -9, by pid."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Let it and its children do nothing more, as SIGSTOP does."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def kill_all(self) -> None:
        """kill -9 with its children, as when the power goes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self, within_s: float = 30.0) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def wait_dead(self, within_s: float = 30.0) -> int:
        assert self.process is not None
        return self.process.wait(within_s)

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read the ledger with an independent reader, the daemon being down or up."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.state_dir}/tokd.db?mode=ro", uri=True)
        ) as database:
            return database.execute(query).fetchall()

    def check_protocol(self) -> None:
        """Hold what it has said, as far as it stands in its outbox or came through its socket, to the document."""
        if not (self.state_dir / "tokd.db").exists():
            return
        rows = self.rows("SELECT kind, address, payload FROM outbox")
        replies = [json.loads(payload) for kind, _, payload in rows if kind == "reply"]
        events = [json.loads(payload) for kind, _, payload in rows if kind == "event"]
        states = [(address, payload) for kind, address, payload in rows if kind == "state"]
        faults = all_faults([*replies, *self.replies], events, states)
        assert not faults, "\n".join(faults[:20])

    def write(self, statement: str) -> None:
        """Change the ledger while the daemon is down, as if time had passed."""
        with contextlib.closing(sqlite3.connect(self.state_dir / "tokd.db")) as database, database:
            database.execute(statement)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Caller:
    """An MQTT client that sends commands and collects every reply and event."""

    def __init__(
        self, port: int, actor: str = "me", *, version: int = 5, prefix: str = "tokd/v1/main",
        username: str | None = None, password: str | None = None, session_s: int = 0,
    ) -> None:  # fmt: skip
        """With `session_s` the broker keeps what comes while the caller is away (MQTT 5)."""
        protocol = mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311
        self.actor, self.prefix = actor, prefix
        self.replies: list[dict[str, Any]] = []
        self.messages: list[tuple[str, bytes, bool]] = []
        self._lock = threading.Lock()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, protocol=protocol, client_id=f"caller-{os.urandom(4).hex()}"
        )
        if username:
            self.client.username_pw_set(username, password)
        self.client.on_connect = lambda client, *_: client.subscribe(
            [
                (f"{prefix}/reply/{actor}/#", 1),
                (f"{prefix}/event/#", 1),
                (f"{prefix}/state/#", 1),
                (f"{prefix}/availability", 1),
            ]
        )
        self.client.on_message = self._take
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.reconnect_delay_set(1, 1)
        if session_s:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = session_s
            self.client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        else:
            self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(10)

    def _take(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self.messages.append((message.topic, message.payload, message.retain))
            if "/reply/" in message.topic:
                self.replies.append(json.loads(message.payload))

    def send(self, verb: str, args: dict[str, Any] | None = None, *, qos: int = 1, **envelope: Any) -> None:
        body = json.dumps({"args": args or {}, **envelope})
        self.client.publish(f"{self.prefix}/cmd/{self.actor}/{verb}", body, qos=qos)

    def final(self, command_id: str) -> dict[str, Any] | None:
        with self._lock:
            return next(
                (reply for reply in self.replies if reply["id"] == command_id and reply["final"]), None
            )

    def call(
        self, verb: str, args: dict[str, Any] | None = None, *, within_s: float = 15.0, **envelope: Any
    ) -> dict[str, Any]:
        command_id = envelope.setdefault("id", f"c-{os.urandom(6).hex()}")
        self.send(verb, args, **envelope)
        return wait_until(
            lambda: self.final(command_id), within_s, what=f"a final reply to {verb} {command_id}"
        )

    def events(self) -> list[dict[str, Any]]:
        with self._lock:
            return [json.loads(payload) for topic, payload, _ in self.messages if "/event/" in topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def make_clip(
    path: Path, seconds: float = 1, size: str = "540x960", *, pad_to: int = 0, codec: str = "libx264"
) -> Path:
    """Make a real MP4; `pad_to` adds a `free` box so that the file has that many bytes."""
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30", "-t", str(seconds),
         "-c:v", codec, "-pix_fmt", "yuv420p", str(path)], check=True,
    )  # fmt: skip
    missing = pad_to - path.stat().st_size
    if missing >= 8:
        with path.open("ab") as file:
            file.write(missing.to_bytes(4, "big") + b"free" + os.urandom(missing - 8))
    return path
