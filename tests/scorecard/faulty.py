"""A TCP proxy that breaks what passes through it, and a network of its own for the daemon to meet it in."""

import contextlib
import ctypes
import os
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from tests.daemons import Daemon
from tests.scorecard.row import CannotRun
from tests.waiting import wait_until

CLONE_NEWNET = 0x40000000
SLOW_BYTES_S = 125  # 1 kbit/s
DELAY_S = 0.5
PIECE = 64 * 1024
NO_PROXY = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
)


class Netns:
    """The daemon's own network and its own /etc/hosts: nothing in it but a loopback, where only the proxy listens."""

    def __init__(self, daemon: Daemon) -> None:
        self.hosts, self.servers = daemon.folder / "hosts", daemon.folder / "resolv.conf"
        self.heal_names()
        self.servers.write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
        script = f"ip link set lo up && mount --bind {self.hosts} /etc/hosts && mount --bind {self.servers} "
        script += '/etc/resolv.conf && exec "$@"'
        daemon.wrapper = ("unshare", "--net", "--mount", "sh", "-c", script, "sh")
        self._daemon = daemon
        if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
            raise CannotRun(
                "a network of its own needs root, unshare and ip (apt install util-linux iproute2)"
            )
        told = subprocess.run([*daemon.wrapper, "true"], capture_output=True, text=True, check=False)
        if told.returncode:
            raise CannotRun(f"no network of its own can be made here: {told.stderr.strip()}")

    def heal_names(self) -> None:
        self.hosts.write_text("127.0.0.1 localhost\n")

    def lose_names(self) -> None:
        self.hosts.write_text("# nobody\n")

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Return a socket that lives in that network."""
        process = self._daemon.process
        assert process is not None
        own = Path("/proc/self/ns/net").readlink()
        there = Path(f"/proc/{process.pid}/ns/net")
        wait_until(lambda: there.readlink() != own, 20, what="a network of its own")
        made: list[socket.socket] = []

        def make() -> None:  # only this thread goes there, and it ends at once
            libc = ctypes.CDLL(None, use_errno=True)
            with there.open() as target:
                assert libc.setns(target.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            made.append(socket.socket(socket.AF_INET, kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]


class FaultProxy:
    """Listens in the daemon's network at the port that the true server has in ours. `mode` says what is broken.

    pass, slow (1 kbit/s), delay (500 ms each way), swallow (taken, never answered), half_open (the answer's end is
    there, the connection stays), reset (after the first bytes), blackhole (not even a SYN is answered), refuse_407.
    """

    def __init__(self, make: Callable[[], socket.socket], port: int) -> None:
        self._make, self._port = make, port
        self.mode = "pass"
        self._over = threading.Event()
        self._plugs: list[socket.socket] = []
        self._listener = self._listen()
        self._threads = [threading.Thread(target=self._accept, name="proxy")]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.set("pass")
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def set(self, mode: str) -> None:
        """Break it so, or mend it for new connections: what has lost a byte stays silent until somebody gives it up."""
        self.mode = mode
        if mode == "blackhole":
            for _ in range(4):  # the queue of those who wait is full: the kernel drops every SYN
                plug = self._make()
                plug.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    plug.connect(("127.0.0.1", self._port))
                self._plugs.append(plug)
        else:
            for plug in self._plugs:
                plug.close()
            self._plugs.clear()

    def _listen(self) -> socket.socket:
        listener = self._make()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(1)
        listener.settimeout(0.2)
        return listener

    def _accept(self) -> None:
        while not self._over.is_set():
            if self.mode == "blackhole":
                self._over.wait(0.1)
                continue
            try:
                client = self._listener.accept()[0]
            except OSError:
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name="proxy")
            self._threads = [found for found in self._threads if found.is_alive()] + [thread]
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self._port), 5) as server,
        ):
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.settimeout(5)
            if self.mode == "refuse_407":
                client.recv(PIECE)
                client.sendall(NO_PROXY)
                return
            self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        broken = ""
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while not self._over.is_set():
                for key, _ in ready.select(0.1):
                    mode = self.mode
                    broken = broken or (mode if mode in {"swallow", "blackhole", "half_open"} else "")
                    data = key.fileobj.recv(PIECE if mode != "slow" else SLOW_BYTES_S // 5)
                    if mode == "reset":
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    if not data and mode != "half_open":
                        return
                    if not data:
                        ready.unregister(key.fileobj)  # it has gone, and the other side is not told
                    elif not broken:
                        self._hold_up(mode)
                        key.data.sendall(data)

    def _hold_up(self, mode: str) -> None:
        wait = {"slow": 0.2, "delay": DELAY_S}.get(mode, 0.0)
        end = time.monotonic() + wait
        while self.mode == mode and time.monotonic() < end and not self._over.wait(0.02):
            pass


@contextlib.contextmanager
def silent_names(netns: Netns) -> Iterator[None]:
    """A name server that takes every question and answers none."""
    with netns.socket(socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 53))
        yield
