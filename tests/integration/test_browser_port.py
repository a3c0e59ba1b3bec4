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

from adapters.browser.backends import Driven, Leash
from adapters.browser.debug_port import DebugPort
from adapters.browser.running import NotOurs, RunningBrowser
from daemon.domain.ids import SessionId
from daemon.domain.session import Workplace

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
