"""Many sessions in a row, some killed at random, and a count of all that a daemon holds."""

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.session_stage import SessionStage, command_line
from tests.waiting import wait_until

AT_ONCE = 3
KILLED = 0.1
_SETTLE_S = 10.0
_IN_HAND = ("starting", "detecting", "open")


@dataclass(frozen=True)
class Counts:
    """What a daemon holds while no session is open."""

    processes: int
    zombies: int
    daemon_fds: int
    nursery_fds: int
    threads: int
    clone_files: int
    temp_files: int


def count(stage: SessionStage) -> Counts:
    assert stage.daemon.process is not None
    daemon = psutil.Process(stage.daemon.process.pid)
    family = daemon.children(recursive=True)
    zombies = [process for process in family if status_of(process) == psutil.STATUS_ZOMBIE]
    nursery = [
        process.pid
        for process in daemon.children()
        if "adapters.browser.nursery" in command_line(process.pid)
    ]
    return Counts(
        processes=len({*stage.left(), *(process.pid for process in family)} - {process.pid for process in zombies}),
        zombies=len(zombies), daemon_fds=fds_of(daemon.pid), nursery_fds=sum(map(fds_of, nursery)),
        threads=daemon.num_threads(), clone_files=len(stage.clone_files()),
        temp_files=len(stage.temp_files()),
    )  # fmt: skip


def settled(stage: SessionStage, wanted: Counts | None = None) -> Counts:
    """Count until it is as wanted, or else until it has been the same for a while; return the last count."""
    last, times = count(stage), 0

    def look() -> bool:
        nonlocal last, times
        found = count(stage)
        times, last = (times + 1 if found == last else 0), found
        return found == wanted if wanted is not None else times >= 10

    with contextlib.suppress(AssertionError):
        wait_until(look, _SETTLE_S)
    return last


def status_of(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.status())
    return "gone"


def fds_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@dataclass
class Soak:
    """Runs sessions, some at once. `ends` holds why each has ended."""

    stage: SessionStage
    seed: int
    ends: dict[str, list[str]] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def run(self, sessions: int) -> None:
        chance = random.Random(self.seed)
        doomed = set(chance.sample(range(sessions), round(sessions * KILLED)))
        seeds = [chance.randrange(10**9) for _ in range(sessions)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(
                pool.map(
                    lambda n: self._one(n, random.Random(seeds[n]), is_doomed=n in doomed), range(sessions)
                )
            )

    def _one(self, number: int, chance: random.Random, *, is_doomed: bool) -> None:
        name = f"soak-{self.seed}-{number}"
        args: dict[str, Any] = {"timeout_seconds": 60}
        how = chance.choice(["close", "close", "timeout", "logged_out"]) if not is_doomed else "kill"
        if how == "logged_out":
            args["url"] = self.stage.page("logged_out")
        elif how == "timeout":
            args["timeout_seconds"] = 1
        answer = self.stage.later("session/open", args, id=name)
        session = wait_until(lambda: self.stage.newest(name), 20, 0.05)
        if is_doomed:
            self._kill_some(session, chance)
        reply = answer.result(40)
        if how in {"close", "kill"} and reply["status"] == "done":
            self.stage.daemon.call("session/close", {"session": session})
        self.stage.end_of(session, 20)
        with self._guard:
            self.ends[session] = [end["reason"] for end in self.stage.ends(session)]

    def _kill_some(self, session: str, chance: random.Random) -> None:
        """Kill one process of the session, any, in a state that chance has chosen."""
        state = chance.choice(_IN_HAND)
        wait_until(lambda: self.stage.state(session) in {state, "open"}, 20, 0.005, what=state)
        found = wait_until(lambda: sorted(self._members(session)), 20, 0.005, what="a process of the session")
        role = chance.choice(sorted({role for role, _ in found}))
        victim = chance.choice([pid for each, pid in found if each == role])
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        with self._guard:
            self.killed[f"{role} while {state}"] += 1

    def _members(self, session: str) -> Iterator[tuple[str, int]]:
        """Yield what the session's processes are, and their ids; its worker among them."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                environ = Path(f"/proc/{process.pid}/environ").read_bytes()
                line = command_line(process.pid)
                if session.encode() in environ or session in line:
                    yield ("child" if " --type=" in line else process.name()), process.pid
                    parent = process.parent()
                    if parent is not None and "adapters.browser.nursery" in command_line(parent.pid):
                        yield "worker", parent.pid
