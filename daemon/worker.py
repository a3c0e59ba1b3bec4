"""Threads: the one helper that starts them, and the pool that does long work."""

import queue
import threading
import time
from collections.abc import Callable

from daemon.domain.work import (
    Browse,
    Deliver,
    FetchMedia,
    InspectMedia,
    SurveyProfiles,
    SweepMedia,
    SweepSessions,
    Work,
)
from daemon.ports import Supervisor


def supervised_thread(name: str, run: Callable[[], None], supervisor: Supervisor) -> threading.Thread:
    """Return a thread, not started yet, whose death by an exception ends the daemon with exit code 70."""

    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - whatever it was, limping on is worse
            supervisor.died(name, error)

    return threading.Thread(target=guarded, name=name, daemon=False)


class WorkerPool:
    """A fixed number of workers for deliveries, and others apart for media checks and for short work.

    So that no upload delays a status read, and a hundred files that are being scheduled delay no post that is due.
    Fetches have workers of their own, too: a slow host holds up neither. A browser session has a worker for as long
    as it lives; `sessions` is how many there may be.
    """

    def __init__(
        self, size: int, run: Callable[[Work], None], ended: Callable[[Work], None], supervisor: Supervisor,
        sessions: int = 1,
    ) -> None:  # fmt: skip
        self._size = size
        self._session_count = sessions
        self._run = run
        self._ended = ended
        self._supervisor = supervisor
        self._long: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._checks: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._fetches: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._short: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._sessions: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the workers."""
        for number in range(self._size):
            self._add(f"deliver-{number + 1}", self._long)
        for number in range(self._session_count):
            self._add(f"session-{number + 1}", self._sessions)
        for number in range(2):
            self._add(f"check-{number + 1}", self._checks)
            self._add(f"fetch-{number + 1}", self._fetches)
            self._add(f"worker-{number + 1}", self._short)

    def put(self, work: Work) -> None:
        """Queue work. Never blocks; the bus bounds what it claims."""
        match work:
            case Deliver():
                self._long.put(work)
            case FetchMedia():
                self._fetches.put(work)
            case InspectMedia() | SweepMedia() | SurveyProfiles() | SweepSessions():
                self._checks.put(work)
            case Browse():
                self._sessions.put(work)
            case _:
                self._short.put(work)

    def stop(self, deadline_s: float) -> bool:
        """Let every worker finish its step; return whether all did. Safe twice, and before start."""
        self._stopping.set()
        for _ in self._threads:
            for line in (self._long, self._checks, self._fetches, self._short, self._sessions):
                line.put(None)
        end = time.monotonic() + deadline_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def is_whole(self) -> bool:
        """Tell whether all its threads are there. How long one may be at its work is that work's own affair."""
        return all(thread.is_alive() for thread in self._threads)

    def _add(self, name: str, source: "queue.SimpleQueue[Work | None]") -> None:
        thread = supervised_thread(name, lambda: self._loop(source), self._supervisor)
        self._threads.append(thread)
        thread.start()

    def _loop(self, source: "queue.SimpleQueue[Work | None]") -> None:
        while not self._stopping.is_set():
            work = source.get()
            if work is None:
                return
            try:
                self._run(work)
            finally:
                self._ended(work)
