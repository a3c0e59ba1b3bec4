"""The shell's side of the control socket."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from adapters.control.place import connect
from daemon.domain.commands import VERBS
from daemon.domain.errors import TokdError
from daemon.domain.events import as_json
from daemon.domain.ids import LOCAL_ACTOR

CONNECT_S = 5.0
RECONNECT_S = 10.0  # how long a daemon may take to come back in the middle of a call
PAUSES_S = (0.05, 0.1, 0.2, 0.5)


class ControlError(TokdError):
    """The daemon could not be asked, or did not answer."""


class DaemonNotRunning(ControlError):
    """Nobody answers on the socket."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"tokd is not running: nobody answers on {path} ({reason}); start it with `tokd run`"
        )
        self.path = path


class NotAllowed(ControlError):
    """The socket is there, and not for this user."""


class NoFinalAnswer(ControlError):
    """The command reached the daemon, and what became of it was not said in time."""


class ControlRefused(ControlError):
    """The daemon took the line for no command at all; `error` is what it said."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.error = error


class _Broken(Exception):
    """The connection ended."""


class ControlClient:
    """Connects for each call; holds nothing in between."""

    def __init__(self, path: Path, actor: str = LOCAL_ACTOR) -> None:
        self._path = path.absolute()
        self._actor = actor

    def call(self, verb: str, envelope: dict[str, Any], timeout_s: float = 60.0) -> Iterator[dict[str, Any]]:
        """Yield the replies until the final one.

        Where the connection breaks before that, the same envelope is sent again to the daemon that comes
        back: its id makes one order of the two. Raises DaemonNotRunning, NoFinalAnswer, ControlRefused.
        """
        line = {"call": verb, "envelope": envelope, "actor": self._actor}
        deadline = monotonic() + timeout_s
        sock = self._connect()
        while True:
            try:
                yield from self._converse(sock, line, deadline)
            except _Broken as error:
                self._check_repeatable(verb, envelope)
                sock = self._connect_again(min(deadline, monotonic() + RECONNECT_S), error)
            else:
                return

    def watch(self, after: int | None = None, *, until: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield events for ever: those after the number, then each as it happens, none twice, none left out.

        Raises DaemonNotRunning when the daemon ends, TimeoutError at `until` (monotonic seconds).
        """
        sock = self._connect()
        while True:
            try:
                for message in self._lines(sock, {"watch": {"after": after}}, until):
                    if "watching" in message:
                        after = int(message["watching"]["after"])
                    elif "event" in message:
                        after = int(message["event"]["sequence"])
                        yield message["event"]
            except _Broken as error:
                sock = self._connect_again(monotonic() + RECONNECT_S, error)

    def _converse(
        self, sock: socket.socket, line: dict[str, Any], deadline: float
    ) -> Iterator[dict[str, Any]]:
        try:
            for message in self._lines(sock, line, deadline):
                reply = message["reply"]
                yield reply
                if reply["final"]:
                    return
        except TimeoutError as error:
            name = line["envelope"].get("id")
            again = f"; send it again with the same id ({name}) to ask" if name else ""
            raise NoFinalAnswer(f"{line['call']} got no final answer in time{again}") from error

    def _lines(
        self, sock: socket.socket, line: dict[str, Any], deadline: float | None
    ) -> Iterator[dict[str, Any]]:
        """Send a line, and yield what comes back. Raises _Broken, TimeoutError, ControlRefused."""
        with sock, sock.makefile("rb") as stream:
            try:
                sock.sendall(as_json(line).encode("utf-8", "surrogatepass") + b"\n")
                while True:
                    sock.settimeout(None if deadline is None else max(0.001, deadline - monotonic()))
                    found = stream.readline()
                    if not found.endswith(b"\n"):
                        raise _Broken("the connection was cut")
                    message: dict[str, Any] = json.loads(found)
                    if "error" in message:
                        raise ControlRefused(message["error"])
                    yield message
            except TimeoutError:
                raise
            except OSError as error:
                raise _Broken(error.strerror or str(error)) from error

    def _connect(self) -> socket.socket:
        try:
            return connect(self._path, CONNECT_S)
        except PermissionError as error:
            raise NotAllowed(
                f"{self._path} is not for you: use the user that tokd runs as, or root (sudo -u tokd tokd …)"
            ) from error
        except FileNotFoundError as error:
            raise DaemonNotRunning(self._path, "there is no such socket") from error
        except OSError as error:
            raise DaemonNotRunning(self._path, (error.strerror or str(error)).lower()) from error

    def _connect_again(self, deadline: float, cause: Exception) -> socket.socket:
        pause = threading.Event()  # nobody sets it: it only waits
        for number in range(1_000_000):
            with contextlib.suppress(DaemonNotRunning):
                return self._connect()
            left = deadline - monotonic()
            if left <= 0:
                break
            pause.wait(min(left, PAUSES_S[min(number, len(PAUSES_S) - 1)]))
        raise DaemonNotRunning(self._path, f"it ended meanwhile: {cause}") from cause

    def _check_repeatable(self, verb: str, envelope: dict[str, Any]) -> None:
        found = VERBS.get(verb)
        if found is not None and found.is_durable and not envelope.get("id"):
            raise NoFinalAnswer(
                f"the connection broke, and {verb} was sent without an id: whether it was carried out is not "
                "known; look before you send it again"
            )
