"""S8: a hostile page in a session's own browser, while it is read and in a window that has been handed over."""

import contextlib
import http.client
import http.server
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.brokers import Broker, free_port
from tests.daemons import ROOT
from tests.e2e.session_stage import SessionStage, carriers, command_line
from tests.integration.browser_stage import STATE, arguments_of
from tests.scorecard.row import Task
from tests.scorecard.troubles import CLOSE_S, SLACK_S
from tests.scorecard.windows import PATIENCE_S, main_process, of_type, windows
from tests.waiting import wait_until

NAME = "evil.example"
_SCRIPT = ROOT / "tests" / "scorecard" / "hostile.js"
_RULES = f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
_ARGS = ("--disable-gpu", "--no-proxy-server", _RULES)
_ALERTS = "onmessage = () => { for (;;) alert('x'.repeat(100000)); }"
# Where the page is when it tries: in a frame of a page that is being read, alone in a window, in a frame of one.
_PLACES = {
    "while it is read": ("localhost", "read", "detecting", "uncertain"),
    "in an open window": (NAME, "evil", "open", "closed_by_command"),
    "in a frame of an open window": ("localhost", "open", "open", "closed_by_command"),
}
_CHANGES = ("task", "post", "account", "link", "token")


@dataclass
class Visit:
    """One session's page: what it is told to begin with, and what it has told."""

    begin: threading.Event = field(default_factory=threading.Event)
    given: dict[str, Any] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)


class Evil(http.server.ThreadingHTTPServer):
    """The attacker's server. What comes below /rebound is sent on as it is, as if the name led there by now."""

    daemon_threads = True

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.visits: dict[str, Visit] = defaultdict(Visit)
        self.asked: dict[str, int] = defaultdict(int)
        super().__init__(("127.0.0.1", 0), _Page)
        self.port = self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: browsers end in the middle of their requests."""


class _Page(http.server.BaseHTTPRequestHandler):
    server: Evil

    def do_GET(self) -> None:
        kind, _, key = self.path.strip("/").partition("/")
        self.server.asked[kind] += 1
        if kind == "rebound":
            self._rebound()
        elif kind == "begin":
            visit = self.server.visits[key]
            visit.begin.wait(PATIENCE_S)
            self._answer(json.dumps(visit.given), "application/json")
        elif kind == "file":
            name = key.rpartition("/")[2]
            self._answer(self.server.mark * 100, "application/octet-stream", f'attachment; filename="{name}"')
        elif kind == "evil":
            script = (
                _SCRIPT.read_text()
                .replace("KEY", json.dumps(key))
                .replace("MARK", json.dumps(self.server.mark))
            )
            self._answer(f"<!doctype html><title>Prizes</title><body><script>{script}</script>")
        elif kind in {"read", "open"}:
            frame = f"<iframe src='http://{NAME}:{self.server.port}/evil/{key}'></iframe>"
            self._answer(
                f"<!doctype html><body>{STATE if kind == 'open' else ''}{frame}<script>{_ALERTS}</script>"
            )
        else:
            self._answer("<title>A window</title>")

    def do_OPTIONS(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        kind, _, key = self.path.strip("/").partition("/")
        if kind == "rebound":
            self._rebound()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if kind == "told":
            name, text = json.loads(body)
            self.server.visits[key].told[name] = text
        self._answer("")

    def do_PUT(self) -> None:
        self.do_POST()

    def _rebound(self) -> None:
        """Send the request on with the very headers that the browser has sent."""
        what, _, path = self.path.removeprefix("/rebound/").partition("/")
        ports = {
            what: port
            for visit in list(self.server.visits.values())
            for what, port in visit.given["ports"].items()
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        wire = http.client.HTTPConnection("127.0.0.1", ports[what], timeout=2)
        try:
            wire.putrequest(self.command, f"/{path}", skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                wire.putheader(name, value)
            wire.endheaders(body)
            answer = wire.getresponse()
            self._answer(answer.read().decode(errors="replace"), "text/plain", status=answer.status)
        except (OSError, http.client.HTTPException):
            self._answer("nobody there", "text/plain", status=502)
        finally:
            wire.close()

    def _answer(
        self, text: str, kind: str = "text/html", disposition: str = "", *, status: int = 200
    ) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if self.path == "/door":  # open to all pages: what a page cannot read there, it could read nowhere
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "*, Authorization")
        if disposition:
            self.send_header("Content-Disposition", disposition)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def _evil(mark: str) -> Iterator[Evil]:
    server = Evil(mark)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        for visit in server.visits.values():
            visit.begin.set()
        server.shutdown()
        server.server_close()


# -- S8 ------------------------------------------------------------------------------------------------------


def hostile_page(task: Task) -> None:
    """S8. The page tries all that it can, by turns while it is read and after the window was handed over."""
    broker = Broker(task.folder / "broker")
    broker.start()
    http_port = free_port()

    def prepare(stage: SessionStage) -> None:
        stage.daemon.use_broker(broker.port)
        site = f"http://localhost:{evil.port}/"  # its pages are read, and show the attacker's in a frame
        stage.daemon.settings |= {"http.port": str(http_port), "session.tiktok_url": site}

    settings = {
        "browser_args": json.dumps(_ARGS),
        "login_detection_timeout": "12",
        "login_detection_retries": "0",
        "creation_timeout": "60",
    }
    mark = f"mark{task.seed}"
    try:
        with _evil(mark) as evil, _evil(mark) as door, windows(task, prepare, **settings) as stage:
            stage.close(
                stage.opened("logged_in")
            )  # what a tame session leaves behind, a hostile one may, too
            ports = {"tokd": http_port, "broker": broker.port, "control": door.port}
            row = _Row(task, stage, evil, ports, _issue(stage), _listing(stage))
            number = 0
            while task.tally.faults.total() < task.count and not task.is_over():
                row.visit(list(_PLACES)[number % len(_PLACES)], number)
                number += 1
                task.say(f"{task.tally.faults.total()} of {task.count} tries")
            task.tally.figures["windows that 100 calls have opened"] = str(evil.asked["popup"])
            task.tally.figures["downloads that were asked for and refused"] = str(evil.asked["file"])
    finally:
        broker.close()


def _issue(stage: SessionStage) -> str:
    return str(stage.daemon.call("token/issue", {"user": "ann"})["result"]["text"])


def _listing(stage: SessionStage) -> set[str]:
    """Return what lies where a session might write: home, temporary files, the daemon's folder without its ledger."""
    found = set()
    for top in (stage.folder / "home", stage.temp, stage.daemon.folder):
        for path in top.rglob("*"):
            if stage.daemon.state_dir not in path.parents:
                found.add(str(path.relative_to(stage.folder)))
    return found


@dataclass
class _Row:
    task: Task
    stage: SessionStage
    evil: Evil
    ports: dict[str, int]
    token: str
    before: set[str]

    def visit(self, when: str, number: int) -> None:
        """One session on the page, from the order to its end."""
        stage, key = self.stage, f"s8-{self.task.seed}-{number}"
        host, kind, state, end = _PLACES[when]
        rows = self._rows()
        url = f"http://{host}:{self.evil.port}/{kind}/{key}"
        reply = stage.later("session/open", {"url": url, "timeout_seconds": 120}, id=key)
        session = str(wait_until(lambda: stage.newest(key), PATIENCE_S, 0.02))
        visit = self.evil.visits[key]
        wait_until(lambda: stage.state(session) == state, PATIENCE_S, 0.01, what=f"{when}: {state}")
        visit.given = {"token": self.token, "ports": self.ports | self._driven(session)}
        visit.begin.set()
        is_over = lambda: stage.ends(session) or "the end" in visit.told  # noqa: E731 - short, and only here
        wait_until(is_over, PATIENCE_S, what=lambda: f"the page's end: {visit.told}")
        began = time.monotonic()
        if state == "open":
            stage.daemon.call("session/close", {"session": session})
        wait_until(lambda: stage.ends(session), PATIENCE_S)
        took = time.monotonic() - began
        reply.result(PATIENCE_S)
        self._judge(session, when, end, visit, took)
        extra = {name: new - rows[name] for name, new in self._rows().items()}
        if any(extra.values()):
            self.task.tally.wrong.append(f"the page has changed something: {extra}")

    def _driven(self, session: str) -> dict[str, int]:
        """Return the ports of the browser's debugger and of its driver, while there are any."""
        found = {}
        browser = main_process(self.stage, session)
        assert browser is not None, "no browser"
        for word in arguments_of(browser):
            if word.startswith("--remote-debugging-port="):
                found["debugger"] = int(word.partition("=")[2])
        for pid in of_type(self.stage, session, "chromedriver"):
            for word in arguments_of(pid):
                if word.startswith("--port="):
                    found["driver"] = int(word.partition("=")[2])
        return found

    def _rows(self) -> dict[str, int]:
        rows = self.stage.daemon.rows
        return {name: rows(f"SELECT count(*) FROM {name}")[0][0] for name in _CHANGES} | {
            "orders over HTTP": rows("SELECT count(*) FROM command WHERE transport = 'http'")[0][0]
        }

    def _judge(self, session: str, when: str, end: str, visit: Visit, took: float) -> None:
        tally, stage = self.task.tally, self.stage
        tally.orders += 1
        tally.faults[f"hostile try {when}"] += len(visit.told)
        read = {name: text for name, text in visit.told.items() if not text.startswith("blocked")}
        control = {name: read.pop(name) for name in list(read) if " control" in name}
        if any(name.startswith("an order in JSON of") for name in control):
            tally.controls += 1
        else:
            tally.wrong.append(
                f"negative control: the page could not use a door that is open to it: {control}"
            )
        tally.wrong += [f"{when}, {name}: {text}" for name, text in read.items()]
        if took > CLOSE_S + SLACK_S:
            tally.wrong.append(f"{when}: closed only after {took:.1f} s")
        ends = [end["reason"] for end in stage.ends(session)]
        if ends != [end]:
            tally.wrong.append(f"{when}: it has ended as {ends}")
        folder = stage.clones / session
        try:
            wait_until(lambda: not carriers(folder) and not folder.exists(), SLACK_S, 0.05)
        except AssertionError:
            tally.wrong.append(f"{when}: left: {[command_line(pid)[:100] for pid in carriers(folder)][:3]}")
        outside = sorted(_listing(stage) - self.before) + self._marked()
        tally.wrong += [f"{when}: written outside of the clone: {name}" for name in outside]

    def _marked(self) -> list[str]:
        """Return what carries the page's mark in its name where any program of this machine may write."""
        tops = (Path("/tmp"), Path.home(), Path.home() / "Downloads", Path.cwd(), Path("/var/tmp"))
        return [str(path) for top in tops if top.is_dir() for path in top.glob(f"*{self.evil.mark}*")]
