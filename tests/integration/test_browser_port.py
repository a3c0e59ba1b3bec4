"""A debugging port as seen from outside the process that listens at it: plain ones instead of browsers."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from selenium.webdriver.chromium.webdriver import ChromiumDriver

from adapters.browser import debug_port
from adapters.browser.backends import Driven, Leash
from adapters.browser.debug_port import DebugPort
from adapters.browser.devtools import HOST
from adapters.browser.running import NotOurs, RunningBrowser
from daemon.domain.ids import SessionId
from daemon.domain.session import Workplace
from tests.profiles import descriptors

LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
NO_PIDFD = -1  # by which nothing can be copied, as where the system forbids it


class Listener:
    """A process that listens at a port."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.pidfd)


@contextlib.contextmanager
def a_listener() -> Iterator[Listener]:
    listener = Listener()
    try:
        yield listener
    finally:
        listener.end()


def test_a_port_at_which_the_process_listens_is_its_own_and_can_be_shut() -> None:
    with a_listener() as one:
        found = DebugPort(one.pid, one.pidfd, one.port)

        assert (found.is_owned, found.can_be_shut) == (True, True)
        found.shut()


def test_a_port_that_is_shut_takes_no_connection() -> None:
    with a_listener() as one:
        DebugPort(one.pid, one.pidfd, one.port).shut()

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", one.port), 5)


def test_another_ones_port_is_neither_owned_nor_shut() -> None:
    with a_listener() as one, a_listener() as other:
        found = DebugPort(one.pid, one.pidfd, other.port)
        found.shut(own=0)

        assert (found.is_owned, found.can_be_shut) == (False, False)
        socket.create_connection(("127.0.0.1", other.port), 5).close()


def test_where_no_socket_can_be_copied_it_is_still_known_whose_a_port_is() -> None:
    with a_listener() as one, a_listener() as other:
        own, others = (DebugPort(one.pid, NO_PIDFD, each.port) for each in (one, other))

        assert (own.is_owned, own.can_be_shut) == (True, False)
        assert (others.is_owned, others.can_be_shut) == (False, False)


def test_a_socket_that_becomes_a_file_before_it_is_copied_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A browser opens and closes all the time, and uses the numbers again."""
    with a_listener() as one:
        real = list(debug_port._sockets(one.pid))
        standard_input = (0, "socket:[1]")  # a pipe
        monkeypatch.setattr(debug_port, "_sockets", lambda _pid: [standard_input, *real])
        before = descriptors()

        found = DebugPort(one.pid, one.pidfd, one.port)

        assert (found.is_owned, found.can_be_shut) == (True, True)
        found.shut(own=0)
        assert descriptors() == before


def test_a_browser_whose_debugging_port_is_another_process_s_is_not_used(tmp_path: Path) -> None:
    place = Workplace(
        session=SessionId("00000000000000a1"), folder=str(tmp_path), user_data_dir=str(tmp_path / "profile"),
        temp_dir=str(tmp_path / "t"),
    )  # fmt: skip
    with a_listener() as one, a_listener() as other:
        browser = RunningBrowser(one.pid, place, Leash())
        try:
            with pytest.raises(NotOurs, match="another process"):
                browser.connect(Driven(cast("ChromiumDriver", None), other.port), lambda: False)
        finally:
            os.close(browser.pidfd)


@contextlib.contextmanager
def ourselves() -> Iterator[int]:
    """Lend a descriptor of this process, which may listen as well as a browser."""
    pidfd = os.pidfd_open(os.getpid())
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def test_what_is_no_connection_is_not_cut_for_having_the_same_number() -> None:
    with (
        ourselves() as pidfd,
        socket.create_server((HOST, 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as calls,
    ):
        peer.bind((HOST, 0))
        calls.bind(server.getsockname())
        calls.connect(peer.getsockname())

        DebugPort(os.getpid(), pidfd, server.getsockname()[1]).shut(own=1)

        assert calls.send(b"x") == 1


def test_a_connection_from_another_address_is_cut_whatever_its_port() -> None:
    with ourselves() as pidfd, socket.create_server((HOST, 0)) as server, contextlib.ExitStack() as ends:
        ours = ends.enter_context(socket.create_connection(server.getsockname(), 5))
        own = ours.getsockname()[1]
        intruder = ends.enter_context(socket.create_connection(server.getsockname(), 5, ("127.0.0.2", own)))
        served = [ends.enter_context(server.accept()[0]) for _ in range(2)]

        DebugPort(os.getpid(), pidfd, server.getsockname()[1]).shut(own)

        assert intruder.recv(1) == b""
        served[0].sendall(b"x")
        assert ours.recv(1) == b"x"
