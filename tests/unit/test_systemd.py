"""What systemd is told, over a real datagram socket: the words of sd_notify(3), at a path and at an abstract name."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.systemd import Systemd


class Listener:
    """systemd's end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(5)

    def hear(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")

    def is_silent(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@tokd-test-{os.urandom(6).hex()}"
    found = Listener(name)
    yield found
    found.socket.close()


def test_readiness_and_status_arrive_together(listener: Listener) -> None:
    Systemd(listener.name).ready("ready; posts: none")

    assert listener.hear() == ["READY=1", "STATUS=ready; posts: none"]


def test_every_word_is_one_that_systemd_knows(listener: Listener) -> None:
    manager = Systemd(listener.name)

    manager.starting("bus", 90)
    manager.alive()
    manager.stopping()

    assert listener.hear() == ["STATUS=starting: bus", "EXTEND_TIMEOUT_USEC=90000000"]
    assert listener.hear() == ["WATCHDOG=1"]
    assert listener.hear() == ["STOPPING=1", "STATUS=stopping"]


def test_a_reload_says_when_it_began(listener: Listener) -> None:
    before = time.monotonic()
    Systemd(listener.name).reloading()

    word, at = listener.hear()
    assert word == "RELOADING=1"
    assert before - 0.001 <= int(at.removeprefix("MONOTONIC_USEC=")) / 1e6 <= time.monotonic()


def test_a_status_cannot_smuggle_a_word_of_its_own(listener: Listener) -> None:
    Systemd(listener.name).status("account\nMAINPID=1\nx")

    assert listener.hear() == ["STATUS=account MAINPID=1 x"]


def test_the_variables_are_gone_from_the_environment(listener: Listener) -> None:
    environ = {
        "NOTIFY_SOCKET": listener.name,
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "A": "1",
    }

    manager = Systemd.from_environ(environ)

    assert environ == {"A": "1"}
    assert manager.watchdog_s == 3
    manager.alive()
    assert listener.hear() == ["WATCHDOG=1"]


def test_a_watchdog_of_another_process_is_not_ours(listener: Listener) -> None:
    environ = {"NOTIFY_SOCKET": listener.name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}

    assert Systemd.from_environ(environ).watchdog_s is None


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_nothing_is_said_where_nobody_listens(environ: dict[str, str]) -> None:
    manager = Systemd.from_environ(environ)

    manager.ready("ready")

    assert not manager.is_listening


@pytest.mark.parametrize("period", ["0", "soon", ""])
def test_a_watchdog_without_a_period_is_none(listener: Listener, period: str) -> None:
    assert Systemd.from_environ({"NOTIFY_SOCKET": listener.name, "WATCHDOG_USEC": period}).watchdog_s is None


def test_a_manager_that_has_gone_is_no_trouble(tmp_path: Path) -> None:
    Systemd(str(tmp_path / "nobody")).alive()


def test_a_manager_that_does_not_read_is_not_waited_for(listener: Listener) -> None:
    manager = Systemd(listener.name)

    for _ in range(5000):
        manager.alive()

    assert not listener.is_silent()
