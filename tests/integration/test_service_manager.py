"""A daemon whose service manager listens: ready when it answers, alive while its bus turns, stopping when told to."""

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon
from tests.waiting import wait_until

PERIOD_S = 2.0


class Manager:
    """systemd's end of NOTIFY_SOCKET: every line with its time, and what `on_ready` found when READY=1 came."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder / "notify")
        self.lines: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.name)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            now = time.monotonic()
            self.lines += [(now, line) for line in data.decode().split("\n")]

    def said(self, start: str) -> list[float]:
        return [at for at, line in self.lines if line.startswith(start)]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.name)
        self._thread.join(5)
        self._socket.close()


class Stage:
    def __init__(self, folder: Path) -> None:
        self.manager = Manager(folder)
        self.daemon = Daemon(folder)
        self.file = folder / "tokd.toml"
        self.file.write_text('[log]\nlevel = "info"\n')
        self.daemon.environ = {
            "NOTIFY_SOCKET": self.manager.name,
            "WATCHDOG_USEC": str(int(PERIOD_S * 1e6)),
        }


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    yield found
    found.daemon.kill()
    found.manager.close()


def test_a_daemon_tells_its_manager_its_whole_life(stage: Stage) -> None:
    manager, daemon = stage.manager, stage.daemon
    daemon.start(wait=False)
    wait_until(lambda: manager.said("READY=1"), 15, what="READY=1")

    assert daemon.call("system/ping")["status"] == "done", "it answers as soon as it is ready"
    assert daemon.process is not None
    wait_until(lambda: len(manager.said("WATCHDOG=1")) >= 4, 15, what="four signs of life")
    wait_until(lambda: manager.said("STATUS=ready; posts: none"), 15, what="a status")

    fed = manager.said("WATCHDOG=1")
    assert max(later - sooner for sooner, later in itertools.pairwise(fed)) < PERIOD_S

    stage.file.write_text('[log]\nlevel = "loud"\n')
    os.kill(daemon.process.pid, signal.SIGHUP)
    wait_until(lambda: len(manager.said("READY=1")) == 2, 15, what="the end of the reload")
    assert len(manager.said("RELOADING=1")) == 1
    assert daemon.call("system/ping")["status"] == "done"
    assert "the old settings stay in use" in daemon.log.read_text()

    stage.file.write_text('[log]\nlevel = "debug"\n')
    os.kill(daemon.process.pid, signal.SIGHUP)
    wait_until(lambda: len(manager.said("READY=1")) == 3, 15, what="the end of the second reload")
    assert "reloaded; log.level is debug" in daemon.log.read_text()

    assert daemon.stop() == 0
    wait_until(lambda: manager.said("STOPPING=1"), 5, what="STOPPING=1")
    assert "starting: recovery" in " ".join(line for _, line in manager.lines)


def test_a_bus_that_hangs_gets_no_more_food(stage: Stage) -> None:
    manager, daemon = stage.manager, stage.daemon
    daemon.start(failpoint="inbox.before_commit:hang", wait=False)
    wait_until(lambda: manager.said("READY=1"), 15, what="READY=1")
    wait_until(lambda: len(manager.said("WATCHDOG=1")) >= 2, 15, what="two signs of life")

    hanging = threading.Thread(target=daemon.call_or_none, args=("system/pause",), kwargs={"id": "p-1"})
    hanging.daemon = True
    hanging.start()

    wait_until(lambda: manager.said("STATUS=hanging: bus"), 15, what="the bus is named")
    named_at, fed = manager.said("STATUS=hanging: bus")[0], len(manager.said("WATCHDOG=1"))
    wait_until(lambda: time.monotonic() > named_at + 2 * PERIOD_S, 15, what="two more periods")
    assert len(manager.said("WATCHDOG=1")) == fed
    assert "hanging: bus" in daemon.log.read_text()


def test_a_refused_start_is_never_ready(stage: Stage) -> None:
    stage.daemon.start(failpoint="no.such.place", wait=False)

    assert stage.daemon.wait_dead() == 78
    assert stage.manager.said("READY=1") == []
