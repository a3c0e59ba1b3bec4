"""D4: a daemon with few descriptors, few processes, little memory, while posts fall due and a session is ordered."""

import contextlib
import os
import resource
import shutil
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from tests.brokers import free_port
from tests.crash.campaign import SMALL
from tests.crash.ledgers import FINAL, Books, Ordered
from tests.crash.stage import Stage, wait_online
from tests.daemons import Daemon
from tests.e2e.session_stage import BARE, QUICK, carriers, make_profile
from tests.scorecard.row import CannotRun, Task
from tests.waiting import wait_until

RESUMES_WITHIN_S = 30.0
ANSWERS_WITHIN_S = 20.0
UNDER_S = 2.5
MEMORY = 300 << 20
_CGROUP = Path("/sys/fs/cgroup")
_CONNECTIONS = 200


class Limited:
    """One daemon, its callers, and what was ordered of it."""

    def __init__(self, task: Task, stage: Stage, profile: Path) -> None:
        self.task, self.stage = task, stage
        folder = task.folder / "d"
        self.profiles = folder / "profiles"
        self.http_port = free_port()
        own = {
            "http.port": str(self.http_port), "session.user_data_master_dir": str(self.profiles),
            "session.tiktok_url": f"{stage.simulator.url}/", "session.creation_timeout": "15",
            "posts.retry_delays_s": str([0.3] * 50), "posts.remote_retry_delays_s": str([0.3] * 50),
        }  # fmt: skip
        self.daemon = stage.daemon(folder, QUICK | own)
        self.profiles.mkdir(mode=0o700)
        shutil.copytree(profile, self.profiles / "master", symlinks=True)
        for name in ("tmp", "home"):
            (folder / name).mkdir(mode=0o700)
        self.daemon.environ = BARE | {"TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home")}
        self.daemon.start()
        assert self.daemon.process is not None
        self.pid = self.daemon.process.pid
        self.caller = stage.caller(self.daemon)
        wait_online(self.caller, self.daemon)
        self.orders: list[Ordered] = []
        self.posts: list[str] = []
        self.named: Counter[str] = Counter()
        self.number = 0

    @property
    def family(self) -> list[int]:
        process = psutil.Process(self.pid)
        return [self.pid, *(child.pid for child in process.children(recursive=True))]

    def ask(self, verb: str, args: dict[str, Any], name: str) -> dict[str, Any] | None:
        """Send an order over the connection that is there, and return its answer, if one comes."""
        with contextlib.suppress(AssertionError):
            return self.caller.call(verb, args, id=name, within_s=ANSWERS_WITHIN_S)
        return None

    def new_order(self) -> tuple[str, Ordered]:
        name, order = self.stage.clip(self.daemon, SMALL)
        self.orders.append(order)
        return name, order

    def post(self, media: str, order: Ordered, at: str) -> bool:
        """Order a post; tell whether it was taken. What refuses it must have a name."""
        args = {"account": "demo", "media": media, "privacy": "SELF_ONLY", "at": at}
        reply = self.ask("post/schedule", args, order.command)
        if reply is None or reply["status"] != "done":
            self.note("post/schedule", reply)
            return False
        self.posts.append(reply["result"]["post"])
        return True

    def note(self, verb: str, reply: dict[str, Any] | None) -> None:
        error = {"code": "no answer"} if reply is None else reply.get("error", {})
        code = str(error.get("code"))
        problem = next((f" ({each['code']})" for each in error.get("problems", ())), "")
        self.named[f"{verb}: {code}{problem}"] += 1
        if code in {"internal", "None"}:
            self.task.tally.wrong.append(f"{verb} was refused without a name: {reply}")

    def open_session(self, name: str) -> bool:
        """Open a session on a page and close it; tell whether it was open."""
        args = {"url": f"{self.stage.simulator.url}/?page=logged_in", "timeout_seconds": 30}
        reply = self.ask("session/open", args, name)
        if reply is None or reply["status"] != "done":
            self.note("session/open", reply)
            return False
        self.ask("session/close", {"session": reply["result"]["session"]}, f"{name}-close")
        return True

    def round(self, kind: str, limit: "Limit") -> float:
        """Order before and under a limit, lift it, and see that all goes on. Return how long that took."""
        self.number += 1
        tally, key = self.task.tally, f"d4-{self.task.seed}-{self.number}"
        due = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        assert self.post(*self.new_order(), due), "no order was taken before the limit"
        late = self.new_order()
        with limit(self):
            tally.faults[kind] += 1
            began = time.monotonic()
            is_taken = self.post(*late, "now")
            opened = threading.Thread(target=self.open_session, args=(f"{key}-under",))
            opened.start()
            with contextlib.suppress(AssertionError):
                wait_until(lambda: time.monotonic() - began > UNDER_S, UNDER_S + 1, 0.1)
            opened.join(ANSWERS_WITHIN_S * 2)
            listed = self.ask("post/list", {}, f"{key}-list")
            if listed is None or listed["status"] != "done":
                tally.wrong.append(f"{kind}: it does not answer questions: {listed}")
        lifted = time.monotonic()
        if not is_taken:
            late = (late[0], Ordered(f"{late[1].command}-again", late[1].size, late[1].sha256))
            self.orders[-1] = late[1]
            wait_until(
                lambda: self.post(*late, "now"), RESUMES_WITHIN_S, 0.2, what=f"{kind}: an order taken again"
            )
        wait_until(
            lambda: self.open_session(f"{key}-after-{time.monotonic()}"),
            RESUMES_WITHIN_S,
            what=f"{kind}: a session",
        )
        for post in self.posts[-2:]:
            self.daemon.wait_state(post, *FINAL, within_s=RESUMES_WITHIN_S)
        return time.monotonic() - lifted

    def check(self) -> None:
        """Everything that was ordered is out once; nothing of a session is left."""
        tally = self.task.tally
        assert self.daemon.process is not None
        if (code := self.daemon.process.poll()) is not None:
            tally.wrong.append(f"the daemon has ended with {code}:\n{self.daemon.tail(8)}")
        clones = self.profiles / "clones"
        wait_until(lambda: not carriers(clones), 30, what="no process of a session left")
        # A folder that could not be removed for lack of descriptors is cleared by the next sweep: here, by a start.
        tally.figures["folders of sessions left for the next sweep"] = str(len(list(clones.iterdir())))
        if self.daemon.stop() != 0:
            tally.wrong.append("it did not stop cleanly")
        self.daemon.start()
        wait_until(lambda: not list(clones.iterdir()), 30, what="no folder of a session left")
        self.caller.close()
        self.daemon.stop()
        books = Books(self.stage.simulator.ledger(), self.daemon.state_dir / "tokd.db")
        tally.take(books.check(self.orders))
        tally.orders += len(self.orders)
        tally.inits += sum(len(books.inits_of(order)) for order in self.orders)


Limit = Callable[[Limited], AbstractContextManager[object]]


# -- the limits ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _descriptors(limited: Limited, most: int) -> Iterator[None]:
    before = resource.prlimit(limited.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(limited.pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(limited.pid, resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def _crowd(limited: Limited) -> Iterator[None]:
    """256 descriptors, and more callers on both doors than that."""
    with _descriptors(limited, 256), contextlib.ExitStack() as stack:
        for number in range(2 * _CONNECTIONS):
            with contextlib.suppress(OSError):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX if number % 2 else socket.AF_INET))
                sock.settimeout(0.05)
                address: Any = str(limited.daemon.state_dir / "control.sock")
                sock.connect(address if number % 2 else ("127.0.0.1", limited.http_port))
        yield


@contextlib.contextmanager
def _no_descriptor(limited: Limited) -> Iterator[None]:
    """Not one descriptor more than it has."""
    with _descriptors(limited, len(os.listdir(f"/proc/{limited.pid}/fd"))):  # noqa: PTH208 - only their number
        yield


@contextlib.contextmanager
def _group(controller: str, limited: Limited) -> Iterator[Path]:
    """Put the daemon and all that it has started into a cgroup of their own for a while."""
    folder = _CGROUP / controller / f"tokd-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise CannotRun(
            f"no cgroup of version 1 for {controller} can be made here: {error.strerror}"
        ) from None
    try:
        for pid in limited.family:
            with contextlib.suppress(OSError):
                (folder / "cgroup.procs").write_text(str(pid))
        yield folder
    finally:
        wait_until(lambda: _emptied(controller, folder), 20, what=f"{folder} empty")


def _emptied(controller: str, folder: Path) -> bool:
    for pid in (folder / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (_CGROUP / controller / "cgroup.procs").write_text(pid)
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


@contextlib.contextmanager
def _no_process(limited: Limited) -> Iterator[None]:
    """Not one thread or process more than it has."""
    with _group("pids", limited) as folder:
        (folder / "pids.max").write_text((folder / "pids.current").read_text())
        yield


@contextlib.contextmanager
def _little_memory(limited: Limited) -> Iterator[None]:
    """300 MiB for it and all that it starts, browsers among them: the kernel ends what takes more."""
    has = sum(_memory_of(pid) for pid in limited.family)  # stays on the account of before
    with _group("memory", limited) as folder:
        (folder / "memory.limit_in_bytes").write_text(str(max(MEMORY - has, 16 << 20)))
        yield
        words = (folder / "memory.oom_control").read_text().split()
        killed = int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
        limited.named["processes that the kernel has ended"] += killed


def _memory_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.NoSuchProcess:  # a worker that has ended since it was listed
        return 0


LIMITS: dict[str, Limit] = {
    "256 descriptors, 400 callers": _crowd,
    "no descriptor left": _no_descriptor,
    "no process or thread left": _no_process,
    "300 MiB of memory": _little_memory,
}


# -- D4 ------------------------------------------------------------------------------------------------------


def tight_limits(task: Task) -> None:
    """D4. Each limit in turn, on one daemon: what cannot be done is told by name, and is done once it can be."""
    stage = Stage(task.folder / "stage")
    slowest: dict[str, float] = defaultdict(float)
    limited = None
    try:
        (task.folder / "made").mkdir()
        profile = make_profile(task.folder / "made" / "p", f"{stage.simulator.url}/", {})
        limited = Limited(task, stage, profile)
        for number in range(task.count):
            if task.is_over():
                break
            kind = list(LIMITS)[number % len(LIMITS)]
            slowest[kind] = max(slowest[kind], limited.round(kind, LIMITS[kind]))
            task.say(f"{number + 1} of {task.count}: {dict(limited.named)}")
        limited.check()
    except AssertionError as error:
        task.tally.wrong.append(f"{error}\n{_tail(limited.daemon) if limited else ''}")
    finally:
        if limited is not None:
            told = "; ".join(f"{name} {count} times" for name, count in sorted(limited.named.items()))
            task.tally.figures["what was told"] = told
            limited.daemon.kill()
        if slowest:
            task.tally.figures["seconds until all went on again (max)"] = f"{max(slowest.values()):.1f}"
        stage.close()


def _tail(daemon: Daemon) -> str:
    return daemon.tail(8)
