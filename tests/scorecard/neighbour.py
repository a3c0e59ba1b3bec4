"""S6: another user of the machine, while a session is read, while its window is open, and when all is quiet."""

import contextlib
import http.client
import secrets
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from adapters.simulator.child import CLIENT_KEY
from tests import another_user
from tests.another_user import Wanted
from tests.brokers import Broker, free_port
from tests.daemons import make_clip
from tests.e2e.session_stage import SessionStage
from tests.integration import browser_stage
from tests.integration.browser_stage import arguments_of
from tests.scorecard.row import CannotRun, Task
from tests.scorecard.windows import PATIENCE_S, everybody, main_process, of_type, windows
from tests.waiting import wait_until

_PATHS = (
    ("GET", "/api/v1/posts"), ("GET", "/api/v1/accounts"), ("GET", "/api/v1/tasks"), ("GET", "/api/v1/events"),
    ("GET", "/metrics"), ("POST", "/api/v1/tasks"), ("POST", "/api/v1/posts"), ("POST", "/tiktok/session"),
    ("POST", "/browse"), ("POST", "/profiles/master/login"), ("POST", "/api/v1/media"), ("POST", "/tiktok/webhook"),
)  # fmt: skip
_REFUSED = {401, 403}


@dataclass
class Canaries:
    """Secrets that are in use, each in a file or an order, never in an environment."""

    values: dict[str, str] = field(default_factory=dict)

    def make(self, what: str) -> str:
        return self.values.setdefault(what, f"canary-{what.replace(' ', '-')}-{secrets.token_urlsafe(12)}")

    def in_file(self, folder: Path, what: str) -> str:
        path = folder / what.replace(" ", "-")
        path.touch(mode=0o600)
        path.write_text(self.make(what) + "\n")
        return str(path)


def other_user(task: Task) -> None:
    """S6. All that tokd has on disk, listens on and runs as is tried by a user without a name."""
    if not another_user.can_be_one():
        raise CannotRun("only root can become another user, and only where there is a /usr/bin/python3")
    canaries, http_port = Canaries(), free_port()
    broker = Broker(task.folder / "broker", users={"tokd-main": canaries.make("broker password")})
    broker.start()

    def prepare(stage: SessionStage) -> None:
        for folder in (task.folder, stage.folder):
            folder.chmod(0o755)  # what protects tokd must be tokd's own
        stage.daemon.use_broker(broker.port)
        stage.daemon.settings |= {
            "mqtt.username": "tokd-main", "mqtt.password_file": canaries.in_file(stage.folder, "broker password"),
            "tiktok.api_base": stage.site, "tiktok.client_key": CLIENT_KEY, "http.port": str(http_port),
            "tiktok.client_secret_file": canaries.in_file(stage.folder, "client secret"),
        }  # fmt: skip

    try:
        times = {"creation_timeout": "60", "login_detection_timeout": "20"}
        with browser_stage.screen() as screen, windows(task, prepare, screen, **times) as stage:
            _Row(task, stage, canaries, http_port).run()
    finally:
        broker.close()


@dataclass
class _Row:
    task: Task
    stage: SessionStage
    canaries: Canaries
    http_port: int

    def run(self) -> None:
        self._fill()
        self._control()
        self._ask_without_token()
        self._look("when all is quiet", set())
        with _never() as url:
            self._look_while_read(url)
        session = self.stage.opened()
        self._look("in an open window", set())
        self.stage.close(session)
        login = self.stage.log_in("fresh")
        self._look("during a login", set())
        self.stage.close(login)

    def _fill(self) -> None:
        """Let there be something of everything: tokens, a user of HTTP, an uploaded file, a backup."""
        daemon, make = self.stage.daemon, self.canaries.make
        tokens = {
            "access_token": make("access token"),
            "refresh_token": make("refresh token"),
            "open_id": "open-1",
        }
        reply = daemon.call("account/import", {"account": "demo", **tokens})
        assert reply["status"] == "done", reply
        self.canaries.values["token of HTTP"] = str(
            daemon.call("token/issue", {"user": "ann"})["result"]["text"]
        )
        clip = make_clip(self.task.folder / "clip.mp4")
        head = {
            "Authorization": f"Bearer {self.canaries.values['token of HTTP']}",
            "Content-Type": "video/mp4",
        }
        assert self._ask("POST", "/api/v1/media", clip.read_bytes(), head) in {200, 201}, (
            "no upload was taken"
        )
        done = self.stage.tokd("backup", str(self.stage.folder / "backup.tar"))
        assert done.returncode == 0, done.stdout

    def _ask(self, method: str, path: str, body: bytes, head: dict[str, str]) -> int:
        wire = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        try:
            wire.request(method, path, body or None, head)
            return wire.getresponse().status
        finally:
            wire.close()

    def _control(self) -> None:
        """What is open to everybody must be found; a probe that finds nothing proves nothing."""
        with contextlib.ExitStack() as stack:
            planted, port = (
                self.stage.folder / "planted",
                stack.enter_context(socket.create_server(("127.0.0.1", 0))),
            )
            planted.write_text("for all")
            planted.chmod(0o644)
            door = stack.enter_context(socket.socket(socket.AF_UNIX))
            door.bind(f"{planted}.sock")
            Path(f"{planted}.sock").chmod(0o666)
            door.listen()
            number = port.getsockname()[1]
            threading.Thread(target=lambda: port.accept()[0].close(), daemon=True).start()
            found = another_user.tried(
                Wanted(files=[str(planted)], sockets=[f"{planted}.sock"], ports=[number])
            )
        wanted = {f"read {planted}", f"connect to {planted}.sock", f"connect to port {number}"}
        if found.keys() == wanted:
            self.task.tally.controls += 1
        else:
            self.task.tally.wrong.append(f"negative control: found {sorted(found)} of {sorted(wanted)}")
        planted.unlink()
        Path(f"{planted}.sock").unlink()

    def _ask_without_token(self) -> None:
        for method, path in _PATHS:
            status = self._ask(
                method, path, b"{}" if method == "POST" else b"", {"Content-Type": "application/json"}
            )
            self.task.tally.faults["request without a token"] += 1
            if status not in _REFUSED:
                self.task.tally.wrong.append(f"{method} {path} without a token is answered {status}")

    def _look(self, when: str, may_be_open: set[int]) -> dict[str, str]:
        """Try everything; return what was found, of which only these ports may be open for the time being."""
        stage, tally = self.stage, self.task.tally
        family = everybody(stage)
        ports, names = another_user.listening(family)
        tops = [
            stage.daemon.state_dir,
            stage.profiles,
            stage.temp,
            *self._media(),
            stage.folder / "backup.tar",
        ]
        wanted = another_user.below(*tops)
        wanted.files += [str(path) for path in stage.folder.glob("*-*") if path.is_file()]
        wanted.sockets = sorted({*wanted.sockets, *names})
        wanted.ports = sorted(ports - {self.http_port})
        wanted.pids = [process.pid for process in family]
        found = another_user.tried(wanted)
        for what, number in wanted.counts().items():
            tally.faults[f"{what} tried by another user"] += number
        allowed = {f"connect to port {port}" for port in may_be_open}
        wrong = {what: text for what, text in found.items() if what not in allowed}
        tally.wrong += [f"{when}: {line}" for line in another_user.describe(wrong)]
        tally.wrong += [f"{when}: {line}" for line in another_user.told_by(wanted.pids, self.canaries.values)]
        return found

    def _media(self) -> list[Path]:
        """Return the folder of what was uploaded; the rest of the media is the person's."""
        found = [path for path in self.stage.daemon.media.iterdir() if path.is_dir()]
        assert found, "nothing was uploaded"
        return found

    def _look_while_read(self, url: str) -> None:
        """Until the window is handed over the debugger's port and the driver's are open: say so, and for how long."""
        stage, figures = self.stage, self.task.tally.figures
        reply = stage.later("session/open", {"url": url}, id=f"s6-{self.task.seed}")
        session = str(wait_until(lambda: stage.newest(f"s6-{self.task.seed}"), PATIENCE_S))
        wait_until(lambda: stage.state(session) == "detecting", PATIENCE_S)
        browser = main_process(stage, session)
        assert browser is not None, "no browser"
        debugger = _number(arguments_of(browser), "--remote-debugging-port=")
        ports = another_user.listening(everybody(stage))[0] - {self.http_port}
        drivers = {_number(arguments_of(pid), "--port=") for pid in of_type(stage, session, "chromedriver")}
        if extra := ports - {debugger} - drivers:
            self.task.tally.wrong.append(f"while it is read, there are other ports: {sorted(extra)}")
        found = self._look("while it is read", ports)
        is_open = sorted(
            "the debugger's" if int(what.rpartition(" ")[2]) == debugger else "the driver's"
            for what in found if what.startswith("connect to port")
        )  # fmt: skip
        figures["ports open to all users of the machine while a session is read"] = (
            ", ".join(is_open) or "none"
        )
        stage.daemon.call("session/close", {"session": session})
        reply.result(PATIENCE_S)
        stage.end_of(session, PATIENCE_S)
        figures["seconds for which they are open where the page answers at once"] = (
            f"{self._seconds_open():.1f}"
        )

    def _seconds_open(self) -> float:
        """Return for how long the debugger of a session listens that is read and handed over as usual."""
        stage, seen = self.stage, defaultdict[str, float](float)
        name = f"s6-{self.task.seed}-timed"
        stage.later("session/open", {}, id=name)
        session = str(wait_until(lambda: stage.newest(name), PATIENCE_S, 0.01))

        def look() -> bool:
            state = stage.state(session)
            browser = main_process(stage, session)
            port = _number(arguments_of(browser), "--remote-debugging-port=") if browser else 0
            if port and _answers(port):
                seen["last"] = time.monotonic()
                seen["first"] = seen["first"] or seen["last"]
            return state == "open" and not (port and _answers(port))

        with contextlib.suppress(AssertionError):
            wait_until(look, PATIENCE_S, 0.01)
        stage.close(session)
        return seen["last"] - seen["first"]


def _number(words: list[str], switch: str) -> int:
    found = [int(word.removeprefix(switch)) for word in words if word.startswith(switch)]
    return found[-1] if found else 0


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def _never() -> Iterator[str]:
    """Give an address that takes a request and never answers it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        for each in kept:
            each.close()
