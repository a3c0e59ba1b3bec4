"""The process that worker processes are forked from: it has imported Selenium once, and has no threads.

multiprocessing's forkserver would do, but for three things: it imports the daemon's `__main__` anew in each child,
it waits at exit for children that ignore SIGTERM, and there is one for the whole process.
"""

import contextlib
import gc
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
from typing import BinaryIO

from adapters.browser.launching import PRIVATE
from adapters.browser.letters import Session, Warm
from adapters.browser.processes import parent_of, pids
from daemon.domain.errors import Code, Rejected

log = logging.getLogger("tokd.browser")

MOST_FDS = 16
_REPLY = 200
_LOG_NAME = "nursery.log"
_STOP_WITHIN_S = 5.0
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from adapters.browser.nursery import serve; serve(int(sys.argv[1]))"
)


class Nursery:
    """The daemon's side. From any thread."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def start(self) -> None:
        """Start it if it does not run. Returns at once; it is busy importing then. Raises OSError."""
        with self._lock:
            self._ensure()

    def employ(self, job: Session | Warm, locks: tuple[int, ...], within_s: float) -> tuple[Connection, int]:
        """Fork a worker for the job; return the line to it and its process id.

        Raises Rejected: session_timeout where it takes longer than `within_s`, browser_failed.
        """
        ours, theirs = socket.socketpair()
        try:
            pid = self._fork((theirs.fileno(), *locks), within_s)
            line = Connection(ours.detach())
            line.send(job)
        except TimeoutError as error:
            raise Rejected(
                Code.SESSION_TIMEOUT,
                f"the session's worker process did not start within {within_s:g} s; see session.creation_timeout",
                retryable=True,
            ) from error
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
            raise OSError(reply.decode(errors="replace") or self._last_words() or "its nursery ends at once")
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
            with theirs, self._open_log() as log_file:
                path = [each or str(Path.cwd()) for each in sys.path]
                argv = [sys.executable, "-I", "-c", _START, str(theirs.fileno()), json.dumps(path)]
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log_file,
                    pass_fds=(theirs.fileno(),), cwd="/",
                    env={name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)},
                    start_new_session=True,  # Ctrl-C is for the daemon, which closes the sessions in its way
                )  # fmt: skip
            self._line = ours
        return self._line

    def _open_log(self) -> BinaryIO:
        """Open the file for what it says when it breaks. Empty at each start; it holds tracebacks of ours alone."""
        if self._folder is None:
            return Path(os.devnull).open("wb")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        handle = os.open(self._folder / _LOG_NAME, flags, 0o600)
        os.fchmod(handle, 0o600)
        os.truncate(handle, 0)
        return os.fdopen(handle, "ab")

    def _last_words(self) -> str:
        """Return the last line of what it has said."""
        if self._folder is None:
            return ""
        try:
            lines = (self._folder / _LOG_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return next((each.strip()[:_REPLY] for each in reversed(lines) if each.strip()), "")

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
    gc.disable()  # there is no garbage among modules, and looking for it costs a fifth of the import
    try:
        from adapters.browser.worker import work  # noqa: PLC0415 - the heavy import, made here once for all workers
    except ImportError as error:  # there is nobody here to print for: it is the answer to each request
        reply = f"{error}"[:_REPLY].encode()
    gc.freeze()  # no collection of a worker's touches, and so copies, the memory that it shares with the others
    gc.enable()
    line = socket.socket(fileno=descriptor)
    line.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ignore)  # a handler, because SIG_IGN would be inherited by the browser
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the workers
    while True:
        request, fds, _, _ = socket.recv_fds(line, _REPLY, MOST_FDS)
        if not request:
            _wake_workers()
            os._exit(0)  # all that a longer farewell could do is to keep the daemon waiting
        for fd in fds:
            os.set_inheritable(fd, False)
        pid, answer = -1, reply
        if not reply:
            try:
                pid = os.fork()
            except (
                OSError
            ) as error:  # none can be had just now: this session has failed, the next one may not
                answer = f"{error.strerror}"[:_REPLY].encode()
        if pid == 0:
            line.close()
            work(Connection(fds[0]), fds[1:])  # never returns
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(OSError):
            line.send(str(pid).encode() if pid > 0 else answer)


def _wake_workers() -> None:
    """Let a worker go on that somebody has stopped: it finds that the daemon is gone, and ends its browser."""
    for pid in pids():
        if parent_of(pid) == os.getpid():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)


def _ignore(number: int, frame: object) -> None:
    del number, frame
