"""D3: browsers that run out of memory, are killed, are stopped, and pages that never come to an end."""

import contextlib
import http.server
import os
import queue
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.session_stage import SessionStage, carriers
from tests.integration.browser_stage import STATE
from tests.scorecard.row import Task
from tests.scorecard.windows import main_process, of_type, windows
from tests.waiting import wait_until

LANES = 4
CREATION_S = 8.0
CLOSE_S = 8.0  # asked, interrupted, killed: what adapters/browser/settings.py allows
START_S = CREATION_S + CLOSE_S  # until a session that does not come to be open has closed its browser
SLACK_S = 5.0
PATIENCE_S = 60.0
_CGROUP = Path("/sys/fs/cgroup/memory")
_CAP = 64 << 20
_ATTEMPTS = 5
_EAT = (
    "const kept = []; const eat = () => { kept.push(new Uint8Array(4 << 20).fill(7)); setTimeout(eat, 0); };"
)


class Site(http.server.ThreadingHTTPServer):
    """Pages that never answer, never end, or eat memory as soon as `let_eat` is called for their session."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: dict[str, threading.Event] = defaultdict(threading.Event)
        self.told: dict[str, threading.Event] = defaultdict(threading.Event)
        self.is_over = threading.Event()
        super().__init__(("127.0.0.1", 0), _Page)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: browsers are killed in the middle of their requests."""


class _Page(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        name, _, key = self.path.strip("/").partition("/")
        if name == "never":
            self.server.is_over.wait(PATIENCE_S)
            return
        if name == "go":
            self.server.asked[key].set()
            self.server.told[key].wait(PATIENCE_S)
        pages = {
            "eat": f"<body>{STATE}<script>{_EAT} fetch('/go/{key}').then(eat)</script>",
            "eat_early": f"<body><script>{_EAT} fetch('/go/{key}').then(eat)</script>",
            "endless": "<body><script>for (;;) {}</script>",
        }
        body = pages.get(name, "").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def _site() -> Iterator[Site]:
    server = Site()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        server.server_close()


class NotHit(Exception):
    """The session was over before anything could be done to it: on a loaded machine it has run out of time."""


@dataclass
class Case:
    """One session, what is done to it, and by when it must be over."""

    stage: SessionStage
    site: Site
    name: str
    can_cap: bool
    kind: str = ""  # what was done, once it was
    session: str = ""
    reply: Any = None
    ordered_at: float = 0.0
    until: float = 0.0
    reasons: tuple[str, ...] = ()
    wrong: list[str] = field(default_factory=list)

    def order(self, url: str | None = None, timeout_s: int = 120) -> None:
        args: dict[str, Any] = {"timeout_seconds": timeout_s} | ({"url": url} if url else {})
        self.ordered_at = time.monotonic()
        self.reply = self.stage.later("session/open", args, id=self.name)
        self.session = str(wait_until(lambda: self.stage.newest(self.name), PATIENCE_S, 0.01))

    def wait(self, look: Callable[[], Any]) -> Any:
        """Wait for the moment; raise NotHit where the session is over before."""

        def found() -> Any:
            if (seen := look()) is not None and seen is not False and seen != []:
                return (seen,)
            if self.stage.ends(self.session):
                raise NotHit
            return None

        return wait_until(found, PATIENCE_S, 0.01)[0]

    def wait_state(self, *states: str) -> None:
        self.wait(lambda: self.stage.state(self.session) in states)

    def browser(self) -> int:
        return int(self.wait(lambda: main_process(self.stage, self.session)))

    def hit(self, kind: str, pids: list[int], number: signal.Signals, within_s: float, *reasons: str) -> None:
        done = 0
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                done += 1
        if not done:
            raise NotHit
        self.expect(kind, time.monotonic() + within_s, *reasons)

    def expect(self, kind: str, at: float, *reasons: str) -> None:
        self.kind, self.until, self.reasons = kind, at + SLACK_S, reasons

    def eat(self, path: str) -> None:
        """Let the page's renderers run out of memory, by the kernel's hand where there is a cgroup for it."""
        self.order(f"{self.site.url}/{path}/{self.name}")
        self.wait(self.site.asked[self.name].is_set)
        if path == "eat":
            self.wait_state("open")
        pids = self.wait(lambda: of_type(self.stage, self.session, "--type=renderer"))
        if self.can_cap:
            with _cap(self.name) as cap:
                for pid in pids:
                    with contextlib.suppress(OSError):
                        (cap / "cgroup.procs").write_text(str(pid))
                self.site.told[self.name].set()
                self.wait(lambda: _kills(cap) > 0)
        else:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.site.told[self.name].set()


@contextlib.contextmanager
def _cap(name: str) -> Iterator[Path]:
    folder = _CGROUP / f"tokd-{os.getpid()}-{name}"
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(_CAP))
        yield folder
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (_CGROUP / "cgroup.procs").write_text(pid)
        wait_until(lambda: _removed(folder), 10)


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _kills(folder: Path) -> int:
    words = (folder / "memory.oom_control").read_text().split()
    return int(words[words.index("oom_kill") + 1])


def _can_cap() -> bool:
    try:
        with _cap("try") as folder:
            return _kills(folder) == 0
    except (OSError, ValueError):
        return False


# -- what is done to them ------------------------------------------------------------------------------------


def _killed_at_start(case: Case) -> None:
    case.order()
    case.hit("browser killed at its start", [case.browser()], signal.SIGKILL, 0, "failed", "crashed")


def _killed_while_read(case: Case) -> None:
    case.order(f"{case.site.url}/never")
    case.wait_state("detecting")
    case.hit("browser killed while it is read", [case.browser()], signal.SIGKILL, 0, "crashed", "failed")


def _killed_while_open(case: Case) -> None:
    case.order()
    case.wait_state("open")
    case.hit("browser killed in an open window", [case.browser()], signal.SIGKILL, 0, "crashed")


def _driver_stopped(case: Case) -> None:
    case.order()
    drivers = case.wait(lambda: of_type(case.stage, case.session, "chromedriver"))
    case.hit("chromedriver stopped at the start", drivers, signal.SIGSTOP, 0, "failed", "uncertain")
    case.until = case.ordered_at + START_S + SLACK_S


def _never_answers(case: Case) -> None:
    case.order(f"{case.site.url}/never")
    case.expect("page that never answers", case.ordered_at + START_S, "uncertain", "failed")


def _never_ends(case: Case) -> None:
    case.order(f"{case.site.url}/endless")
    case.expect("page whose script never ends", case.ordered_at + START_S, "uncertain", "failed")


def _starved_while_read(case: Case) -> None:
    case.eat("eat_early")
    how = "renderer out of memory" if case.can_cap else "renderer killed (no cgroup to starve it)"
    case.expect(f"{how} while it is read", case.ordered_at + START_S, "uncertain", "failed", "crashed")


def _starved_while_open(case: Case) -> None:
    """A page that has crashed is no end: the person reloads it. The session must still close when told."""
    case.eat("eat")
    how = "renderer out of memory" if case.can_cap else "renderer killed (no cgroup to starve it)"
    case.stage.daemon.call("session/close", {"session": case.session})
    case.expect(f"{how} in an open window", time.monotonic() + CLOSE_S, "closed_by_command")


def _stopped_while_open(case: Case) -> None:
    case.order()
    case.wait_state("open")
    case.hit(
        "browser stopped in an open window", [case.browser()], signal.SIGSTOP, CLOSE_S, "closed_by_command"
    )
    case.stage.daemon.call("session/close", {"session": case.session})


TROUBLES: tuple[Callable[[Case], None], ...] = (
    _killed_at_start, _starved_while_read, _driver_stopped, _killed_while_open, _never_answers, _starved_while_open,
    _killed_while_read, _never_ends, _stopped_while_open,
)  # fmt: skip


# -- D3 ------------------------------------------------------------------------------------------------------


def troubled_browsers(task: Task) -> None:
    """D3. Each fault ends its session with a reason and in time; the daemon lives on; nothing is left."""
    can_cap = _can_cap()
    chance = random.Random(task.seed)
    left: queue.SimpleQueue[tuple[int, Callable[[Case], None]]] = queue.SimpleQueue()
    for number in range(task.count):
        left.put((number, TROUBLES[number % len(TROUBLES)]))
    late: dict[str, float] = defaultdict(float)
    settings = {"creation_timeout": f"{CREATION_S:g}", "login_detection_timeout": "5", "max_concurrent": "8"}
    with _site() as site, windows(task, **settings) as stage:
        assert stage.daemon.process is not None
        pid = stage.daemon.process.pid
        prefix = f"d3-{chance.randrange(10**6)}"
        with ThreadPoolExecutor(LANES) as pool:
            lanes = [
                pool.submit(_lane, task, left, late, lambda name: Case(stage, site, name, can_cap), prefix)
                for _ in range(LANES)
            ]
            for lane in lanes:
                lane.result()
        if stage.daemon.process.poll() is not None or stage.daemon.process.pid != pid:
            task.tally.wrong.append("the daemon has ended")
        for what, look in (("clones", stage.clone_files), ("the temp folder", stage.temp_files)):
            if look():
                task.tally.wrong.append(f"left in {what}: {look()[:5]}")
        stage.close(stage.opened())  # and it opens another
    slowest = sorted(late.items(), key=lambda each: -each[1])
    told = "; ".join(f"{seconds:.1f} {kind}" for kind, seconds in slowest)
    task.tally.figures["seconds until the end (max of each)"] = told


def _lane(
    task: Task,
    left: "queue.SimpleQueue[Any]",
    late: dict[str, float],
    make: Callable[[str], Case],
    prefix: str,
) -> None:
    """Do one after the other."""
    while not task.is_over():
        try:
            number, trouble = left.get_nowait()
        except queue.Empty:
            return
        for attempt in range(_ATTEMPTS):
            case = make(f"{prefix}-{number}-{attempt}")
            try:
                trouble(case)
            except NotHit:
                _see_off(case)
                continue
            except AssertionError as error:
                task.tally.wrong.append(f"{trouble.__name__}: {error}")
                break
            begun = time.monotonic()
            _judge(case)
            late[case.kind] = max(late[case.kind], time.monotonic() - begun)
            task.tally.faults[case.kind] += 1
            task.tally.orders += 1
            task.tally.wrong += [f"{case.kind}: {text}" for text in case.wrong]
            task.say(f"{task.tally.faults.total()} of {task.count} faults")
            break
        else:
            task.tally.wrong.append(f"{trouble.__name__}: each of its sessions was over before it")


def _see_off(case: Case) -> None:
    with contextlib.suppress(AssertionError):
        wait_until(lambda: case.stage.ends(case.session), PATIENCE_S, 0.05)


def _judge(case: Case) -> None:
    """Wait for the end and hold it to what was expected."""
    stage, session = case.stage, case.session
    try:
        wait_until(lambda: stage.ends(session), max(case.until - time.monotonic(), 0.01), 0.02)
    except AssertionError:
        case.wrong.append(f"not over {SLACK_S:g} s after its deadline; it is {stage.state(session)}")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: stage.ends(session), PATIENCE_S)
    reasons = [end["reason"] for end in stage.ends(session)]
    if len(reasons) != 1 or reasons[0] not in case.reasons:
        case.wrong.append(f"it has ended as {reasons}, not as one of {case.reasons}")
    reply = case.reply.result(PATIENCE_S)
    if reply["status"] not in {"done", "failed", "rejected"} or (reply["status"] != "done") != (
        "error" in reply
    ):
        case.wrong.append(f"the order was answered {reply}")
    folder = stage.clones / session
    try:
        wait_until(lambda: not carriers(folder) and not folder.exists(), SLACK_S, 0.05)
    except AssertionError:
        case.wrong.append(f"left: {list(carriers(folder).values())[:3]}, its folder: {folder.exists()}")
