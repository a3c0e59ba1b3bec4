"""Connections of the fetcher: one resolution, every address checked, and the checked address is what is dialled."""

import contextlib
import errno
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self, TypeVar, cast

from adapters.media.hosts import Target, refused
from adapters.media.networks import is_public

Resolve = Callable[[str, int], Sequence[str]]  # host, port: addresses. Raises OSError
Guard = Callable[[socket.socket], None]  # hears of a socket before it connects, so that it can be cut
Dial = Callable[[str, int, float, Guard], socket.socket]  # address, port, seconds. Raises OSError
Answer = TypeVar("Answer")
_TICK_S = 0.2


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the host's addresses, as the system's resolver knows them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def dial(address: str, port: int, timeout_s: float, guard: Guard) -> socket.socket:
    """Connect to an address, which must not be a name. Raises OSError."""
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        guard(connection)
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def checked_addresses(target: Target, resolver: Resolve, field: str, watch: "Watchdog") -> Sequence[str]:
    """Return the addresses to dial. Raises Rejected where one of them is not public, OSError where there are none.

    All must be fit: a name that has a private address beside a public one is nobody's honest mistake.
    """
    found = watch.wait_for(lambda: resolver(target.host, target.port))
    if not found:
        raise OSError("the name has no address")
    if not target.is_private and not all(is_public(address) for address in found):
        raise refused(
            field,
            "url_private",
            f"on host {target.host} leads to a network that is not public",
            "media.private_hosts takes hosts of your own network",
        )
    return found


class Pinned(http.client.HTTPSConnection):
    """An HTTPS connection to exactly these addresses; name and certificate are the host's. No proxy is asked."""

    def __init__(
        self, target: Target, addresses: Sequence[str], context: ssl.SSLContext, timeout_s: float, dialer: Dial,
        watch: "Watchdog",
    ) -> None:  # fmt: skip
        super().__init__(target.host, target.port, timeout=timeout_s, context=context)
        self._addresses = addresses
        self._tls = context
        self._dialer = dialer
        self._watch = watch
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect to the first address that answers. Raises OSError, ssl.SSLError."""
        failure: OSError = OSError("there is no address")
        for address in self._addresses:
            try:
                self._watch.stop_if_cut()
                raw = self._dialer(address, self.port, self._watch.cap(self._timeout_s), self._watch.guard)
                break
            except OSError as error:
                failure = error
        else:
            raise failure
        try:
            # Wrapping takes the connection away from `raw`: only what comes of it can be cut during the handshake.
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
        except BaseException:
            raw.close()
            raise
        self._watch.guard(self.sock)
        self.sock.do_handshake()


class Watchdog:
    """Cuts a connection at the deadline, or when the daemon stops: no read can outlive either. A context manager."""

    def __init__(self, seconds: float, stopping: threading.Event) -> None:
        self._end = time.monotonic() + seconds
        self._stopping = stopping
        self._done = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="fetch-watch", daemon=True)

    @property
    def is_over(self) -> bool:
        """Tell whether the time is up."""
        return time.monotonic() >= self._end

    def cap(self, seconds: float) -> float:
        """Return no more seconds than are left."""
        return max(0.05, min(seconds, self._end - time.monotonic()))

    def stop_if_cut(self) -> None:
        """Raise OSError where the time is up or the daemon stops."""
        if self._stopping.is_set() or self.is_over:
            raise OSError(errno.ECANCELED, "it was cut off")

    def wait_for(self, call: Callable[[], Answer]) -> Answer:
        """Return what a call returns that nobody can cut: it goes on alone where it must not be waited for any more.

        Raises OSError then, and what the call raises.
        """
        answers: queue.SimpleQueue[tuple[Answer | None, Exception | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put((call(), None))
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                answers.put((None, error))

        threading.Thread(target=run, name="fetch-resolve", daemon=True).start()
        while True:
            self.stop_if_cut()
            try:
                answer, error = answers.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            return cast("Answer", answer)

    def guard(self, connection: socket.socket) -> None:
        """Watch this connection from now on."""
        with self._lock:
            self._socket = connection

    def release(self) -> None:
        """Watch nothing: the connection is being closed."""
        with self._lock:
            self._socket = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_TICK_S):
            if not (self._stopping.is_set() or self.is_over):
                continue
            with self._lock:
                if self._socket is not None:
                    # Past the TLS layer, whose state belongs to the thread that reads. It fails on one that is not
                    # connecting yet, or closed: so it is done again.
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
