"""The process that worker processes are forked from: it has imported Selenium once, and has no threads.

multiprocessing's forkserver would do, but for three things: it imports the daemon's `__main__` anew in each child,
it waits at exit for children that ignore SIGTERM, and there is one for the whole process.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from adapters.browser.letters import Session, Warm
from daemon.domain.errors import Code, Rejected

log = logging.getLogger("tokd.browser")

MOST_FDS = 16
_REPLY = 200
_STOP_WITHIN_S = 5.0
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from adapters.browser.nursery import serve; serve(int(sys.argv[1]))"
)


class Nursery:
    """The daemon's side. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def start(self) -> None:
        """Start it if it does not run. Returns at once; it is busy importing then. Raises OSError."""
        with self._lock:
            self._ensure()

    def employ(self, job: Session | Warm, locks: tuple[int, ...], within_s: float) -> tuple[Connection, int]:
        """Fork a worker for the job; return the line to it and its process id. Raises Rejected(browser_failed)."""
        ours, theirs = socket.socketpair()
        try:
            pid = self._fork((theirs.fileno(), *locks), within_s)
            line = Connection(ours.detach())
            line.send(job)
        except (OSError, ValueError) as error:
            raise Rejected(
                Code.BROWSER_FAILED,
                f"the session's worker process could not be started: {error}",
                retryable=True,
            ) from error
        finally:
            ours.close()
            theirs.close()
        return line, pid

    def stop(self) -> None:
        """End it; the workers go on. Safe twice."""
        with self._lock:
            process, self._process = self._process, None
            if self._line is not None:
                self._line.close()  # it ends when nobody can ask any more
                self._line = None
        if process is None:
            return
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _fork(self, fds: tuple[int, ...], within_s: float) -> int:
        with self._lock:
            reply = self._order(fds, within_s) or self._order(
                fds, within_s
            )  # it may have died since it was used
        if not reply.isdigit():
            raise OSError(reply.decode(errors="replace") or "its nursery ends at once")
        return int(reply)

    def _order(self, fds: tuple[int, ...], within_s: float) -> bytes:
        """Return the nursery's answer, nothing where it has ended. Raises TimeoutError, OSError."""
        line = self._ensure()
        line.settimeout(within_s)
        try:
            socket.send_fds(line, [b"fork"], fds)
            reply = line.recv(_REPLY)
        except ConnectionError:
            reply = b""
        except OSError:
            self._forget()
            raise
        if not reply:
            self._forget()
        return reply

    def _ensure(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self._forget()
        if self._line is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                path = [each or str(Path.cwd()) for each in sys.path]
                argv = [sys.executable, "-I", "-c", _START, str(theirs.fileno()), json.dumps(path)]
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),), cwd="/",
                    start_new_session=True,  # Ctrl-C is for the daemon, which closes the sessions in its way
                )  # fmt: skip
            self._line = ours
        return self._line

    def _forget(self) -> None:
        """Give up a nursery that does not answer; the next order starts another."""
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            log.warning("nursery ended", extra={"action": "nursery_ended", "code": self._process.returncode})
        self._line = self._process = None


def serve(descriptor: int) -> None:
    """Run the nursery: fork a worker for each request, until the daemon is gone."""
    reply = b""
    try:
        from adapters.browser.worker import work  # noqa: PLC0415 - the heavy import, made here once for all workers
    except ImportError as error:  # there is nobody here to print for: it is the answer to each request
        reply = f"{error}"[:_REPLY].encode()
    line = socket.socket(fileno=descriptor)
    line.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ignore)  # a handler, because SIG_IGN would be inherited by the browser
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the workers
    while True:
        request, fds, _, _ = socket.recv_fds(line, _REPLY, MOST_FDS)
        if not request:
            os._exit(0)  # all that a longer farewell could do is to keep the daemon waiting
        for fd in fds:
            os.set_inheritable(fd, False)
        pid = -1
        if not reply:
            pid = os.fork()
        if pid == 0:
            line.close()
            work(Connection(fds[0]), fds[1:])  # never returns
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(OSError):
            line.send(str(pid).encode() if pid > 0 else reply)


def _ignore(number: int, frame: object) -> None:
    del number, frame
