"""The doors of tokd as their users have them: MQTT 5 and 3.1.1, HTTP with a token, and the command line.

Each says its answers in the words of the verbs, so that they can be compared; what the REST contract names or shapes
otherwise is translated here, and only that.
"""

import contextlib
import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any, Protocol

from tests.daemons import Caller, Daemon
from tests.waiting import wait_until

WITHIN_S = 30
Json = dict[str, Any]
_NAMES_OVER_HTTP = {"Idempotency-Key": "id", "account_id": "account"}


@dataclass(frozen=True)
class Told:
    """What a door answered: a result, or an error with its code, message and field."""

    result: Json | None = None
    error: Json | None = None

    @property
    def done(self) -> Json:
        assert self.result is not None, self.error
        return self.result

    @property
    def refusal(self) -> Json:
        assert self.error is not None, self.result
        return self.error


class Door(Protocol):
    """What a user can do. `key` is the order's id, in whatever way the door takes it."""

    user: str
    transport: str

    def schedule(self, key: str, order: Json) -> Told: ...
    def cancel(self, key: str, post: str) -> Told: ...
    def post(self, post: str) -> Told: ...
    def open_session(self, key: str) -> Told: ...
    def browse(self, key: str, url: str) -> Told: ...
    def session(self, session: str) -> Told: ...
    def extend_session(self, key: str, session: str, seconds: int) -> Told: ...
    def close_session(self, key: str, session: str) -> Told: ...
    def submit(self, key: str, task: Json) -> Told: ...
    def task(self, task: str) -> Told: ...
    def post_task(self, key: str, task: str, how: Json) -> Told: ...
    def events(self) -> list[Json]:
        """Return what this door's own stream of events has brought until now."""
        ...

    def close(self) -> None: ...


def until(door: Door, subject: str, last: str) -> list[Json]:
    """Return a subject's events once the door's stream has brought the last one."""

    def look() -> list[Json] | None:
        found = [event for event in door.events() if event["subject"] == subject]
        return found if any(event["type"] == f"dev.tokd.{last}" for event in found) else None

    found = wait_until(look, WITHIN_S, what=lambda: f"{last} of {subject} in {door.events()[-10:]}")
    assert found is not None
    return found


def _told(reply: Json) -> Told:
    if reply["status"] == "done":
        return Told(result=reply["result"])
    error = reply["error"]
    return Told(error=_error(error["code"], error["message"], error.get("field")))


def _error(code: str, message: str, field: str | None) -> Json:
    name = (field or "").removeprefix("args.")
    return {"code": code, "message": message.replace("args.", ""), "field": _NAMES_OVER_HTTP.get(name, name)}


def _ordered(told: Told) -> Told:
    """Return of a task's post what every door has to say: the contract's answer."""
    if told.result is None:
        return told
    return Told(result={name: told.result[name] for name in ("task", "post", "status", "publish_id")})


# -- MQTT ----------------------------------------------------------------------------------------------------


class MqttDoor:
    """A client of the broker."""

    transport = "mqtt"

    def __init__(self, port: int, version: int) -> None:
        self.user = f"mqtt{version}"
        self._caller = Caller(port, self.user, version=version)

    def _call(self, verb: str, args: Json, key: str | None = None) -> Told:
        key = key or f"read-{secrets.token_hex(6)}"
        before = len(self._caller.replies)  # a key that is used twice has an answer already
        self._caller.send(verb, args, id=key)

        def look() -> Json | None:
            new = self._caller.replies[before:]
            return next((reply for reply in new if reply["id"] == key and reply["final"]), None)

        reply = wait_until(look, WITHIN_S, what=f"the answer to {verb}")
        assert reply is not None
        return _told(reply)

    def schedule(self, key: str, order: Json) -> Told:
        return self._call("post/schedule", order, key)

    def cancel(self, key: str, post: str) -> Told:
        return self._call("post/cancel", {"post": post}, key)

    def post(self, post: str) -> Told:
        return self._call("post/status", {"post": post})

    def open_session(self, key: str) -> Told:
        return self._call("session/open", {}, key)

    def browse(self, key: str, url: str) -> Told:
        return self._call("session/open", {"url": url, "require_login": False}, key)

    def session(self, session: str) -> Told:
        return self._call("session/show", {"session": session})

    def extend_session(self, key: str, session: str, seconds: int) -> Told:
        return self._call("session/extend", {"session": session, "seconds": seconds}, key)

    def close_session(self, key: str, session: str) -> Told:
        return self._call("session/close", {"session": session}, key)

    def submit(self, key: str, task: Json) -> Told:
        return self._call("task/submit", task, key)

    def task(self, task: str) -> Told:
        return self._call("task/status", {"task": task})

    def post_task(self, key: str, task: str, how: Json) -> Told:
        return _ordered(self._call("task/post", {"task": task} | how, key))

    def events(self) -> list[Json]:
        return self._caller.events()

    def close(self) -> None:
        self._caller.close()


# -- HTTP ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        """Return the error's code in either family."""
        found: str = self.body["error_details" if "error_details" in self.body else "error"]["code"]
        return found


def ask(port: int, token: str, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """Send one request. Underscores in the names of headers are hyphens."""
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = {"Authorization": f"Bearer {token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    if body is not None:
        found |= {"Content-Type": "application/json"}
    try:
        wire.request(method, path, None if body is None else json.dumps(body), found)
        answer = wire.getresponse()
        raw = answer.read()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(raw or b"{}"))
    finally:
        wire.close()


def await_port(port: int) -> None:
    """Wait until HTTP listens: the control socket, by which the tests see a daemon start, comes first."""

    def look() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return True
        return False

    wait_until(look, WITHIN_S, what=f"port {port}")


class HttpDoor:
    """A user with a bearer token; the stream of events is that of server-sent events."""

    transport = "http"

    def __init__(self, port: int, token: str, user: str) -> None:
        self.user = f"http:{user}"
        self._port, self._token = port, token
        self._events: list[Json] = []
        await_port(port)
        self._wire = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self._wire.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {token}"})
        self._socket = self._wire.sock
        self._stream = self._wire.getresponse()
        assert self._stream.status == 200
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(http.client.HTTPException, OSError):  # it is cut off at the end
            while line := self._stream.readline():
                if line.startswith(b"data:"):
                    self._events.append(json.loads(line[5:]))

    def _call(self, method: str, path: str, body: object = None, key: str | None = None) -> Told:
        headers = {"Idempotency_Key": key} if key else {}
        answer = ask(self._port, self._token, method, path, body, **headers)
        if answer.status < 300:
            return Told(result=answer.body)
        if "error_details" in answer.body:
            error = answer.body["error_details"]
            assert answer.body["message"] == error["details"]
            return Told(error=_error(error["code"].lower(), error["details"], error.get("field")))
        error = answer.body["error"]
        return Told(error=_error(error["code"], error["message"], error.get("field")))

    def schedule(self, key: str, order: Json) -> Told:
        return self._call("POST", "/api/v1/posts", order, key)

    def cancel(self, key: str, post: str) -> Told:
        return self._call("DELETE", f"/api/v1/posts/{post}", None, key)

    def post(self, post: str) -> Told:
        return self._call("GET", f"/api/v1/posts/{post}")

    def _opened(self, told: Told) -> Told:
        return told if told.result is None else self.session(told.result["session_id"])

    def open_session(self, key: str) -> Told:
        return self._opened(self._call("POST", "/tiktok/session", None, key))

    def browse(self, key: str, url: str) -> Told:
        return self._opened(self._call("POST", "/browse", {"url": url}, key))

    def session(self, session: str) -> Told:
        told = self._call("GET", f"/tiktok/session/{session}")
        return told if told.result is None else Told(result=told.result["session"])

    def extend_session(self, key: str, session: str, seconds: int) -> Told:
        told = self._call("POST", f"/tiktok/session/{session}/extend", {"seconds": seconds}, key)
        if told.result is None:
            return told
        return Told(result={"session": told.result["session_id"], "ends_at": told.result["ends_at"]})

    def close_session(self, key: str, session: str) -> Told:
        told = self._call("DELETE", f"/tiktok/session/{session}", None, key)
        if told.result is None:
            return told
        state = {"the browser is being closed": "closing", "the session was over already": "ended"}
        return Told(result={"session": told.result["session_id"], "state": state[told.result["message"]]})

    @staticmethod
    def _task(told: Told) -> Told:
        if told.result is None:
            return told
        assert told.result["task_id"] == told.result["task"]
        return Told(result={name: value for name, value in told.result.items() if name != "task_id"})

    def submit(self, key: str, task: Json) -> Told:
        return self._task(self._call("POST", "/api/v1/tasks", task, key))

    def task(self, task: str) -> Told:
        return self._task(self._call("GET", f"/api/v1/tasks/{task}/detail"))

    def post_task(self, key: str, task: str, how: Json) -> Told:
        body = {"account_id" if name == "account" else name: value for name, value in how.items()}
        told = self._call("POST", f"/api/v1/tasks/{task}/post-to-tiktok", body, key)
        if told.result is None:
            return told
        assert told.result["success"] is True
        return _ordered(Told(result=told.result | {"task": task, "post": told.result["post_id"]}))

    def events(self) -> list[Json]:
        return list(self._events)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(WITHIN_S)
        self._wire.close()


# -- the command line ----------------------------------------------------------------------------------------


class CliDoor:
    """The real command in a process of its own, with --json; the stream of events is `tokd watch`."""

    transport = "control"
    user = "local"

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._events: list[Json] = []
        self._watch = subprocess.Popen(
            self._words("watch", "--after", "0", "--json"), cwd=daemon.folder, env=self._environ(),
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._watch.stdout is not None
        for line in self._watch.stdout:
            self._events.append(json.loads(line))

    def _words(self, *words: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "daemon",
            *words,
            "--set",
            f"daemon.state_dir={self._daemon.state_dir}",
        ]

    def _environ(self) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOKD_")}
        return environ | {"PYTHONPATH": str(self._daemon.root)}

    def tokd(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end."""
        return subprocess.run(
            self._words(*words), cwd=self._daemon.folder, env=self._environ(), capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    def _call(self, *words: str, key: str | None = None) -> Told:
        done = self.tokd(*words, "--json", *(("--id", key) if key else ()))
        assert done.stdout, done.stderr
        told = _told(json.loads(done.stdout.splitlines()[0]))
        assert done.returncode == (0 if told.error is None else 1)
        return told

    @staticmethod
    def _options(given: Json, **names: str) -> list[str]:
        return [word for name, value in given.items() for word in (f"--{names.get(name, name)}", str(value))]

    def schedule(self, key: str, order: Json) -> Told:
        rest = {name: value for name, value in order.items() if name != "media"}
        return self._call("post", "schedule", order["media"], *self._options(rest), key=key)

    def cancel(self, key: str, post: str) -> Told:
        return self._call("post", "cancel", post, key=key)

    def post(self, post: str) -> Told:
        return self._call("post", "show", post)

    def open_session(self, key: str) -> Told:
        return self._call("session", "open", key=key)

    def browse(self, key: str, url: str) -> Told:
        return self._call("session", "open", "--no-require-login", "--url", url, key=key)

    def session(self, session: str) -> Told:
        return self._call("session", "show", session)

    def extend_session(self, key: str, session: str, seconds: int) -> Told:
        return self._call("session", "extend", session, str(seconds), key=key)

    def close_session(self, key: str, session: str) -> Told:
        return self._call("session", "close", session, "--no-wait", key=key)

    def submit(self, key: str, task: Json) -> Told:
        output = task["output_data"]
        rest = {"instance": task["instance_id"], "status": task["status"]} | output
        words = self._options(rest, video_path="video")
        return self._call("task", "submit", task["description"], *words, key=key)

    def task(self, task: str) -> Told:
        return self._call("task", "show", task)

    def post_task(self, key: str, task: str, how: Json) -> Told:
        names = {"privacy_level": "privacy", "schedule_time": "at"}
        return _ordered(self._call("task", "post", task, *self._options(how, **names), key=key))

    def events(self) -> list[Json]:
        return list(self._events)

    def close(self) -> None:
        self._watch.kill()
        self._watch.wait()


# -- what no two orders have in common -----------------------------------------------------------------------

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_ID = re.compile(
    r"\b(p_[A-Za-z0-9]+|t_[A-Za-z0-9]+|[0-9a-f]{16}|key-[0-9a-f]+|v_(pub|inbox)_[A-Za-z0-9~_.-]+|\d{19})\b"
)
# How much was seen until it was enough, and how often TikTok was asked, is the machine's matter.
_MEASURED = frozenset({"ms", "seconds", "evidence", "rev"})
_CALLER = frozenset({"actor", "who", "user", "through"})
_OWN = frozenset({"id", "sequence", "time"})


def plain(value: Any, name: str = "") -> Any:
    """Return a value without ids, times, measurements and who the caller was."""
    if name in _MEASURED:
        return f"<{name}>"
    if name in _CALLER:
        return "<caller>"
    if isinstance(value, dict):
        return {key: plain(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str):
        return _ID.sub("<id>", _TIME.sub("<time>", value))
    return value


def plain_events(events: list[Json]) -> list[Json]:
    """Return events without what is each one's own; how often progress is told is the network's matter."""
    return [
        {name: plain(value, name) for name, value in event.items() if name not in _OWN}
        for event in events
        if not event["type"].endswith(".progress")
    ]
