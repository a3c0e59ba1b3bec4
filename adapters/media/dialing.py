"""Connections of the fetcher: one resolution, every address checked, and the checked address is what is dialled."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from adapters.media.hosts import Target, refused
from adapters.media.networks import is_public

Resolve = Callable[[str, int], Sequence[str]]  # host, port: addresses. Raises OSError
Dial = Callable[[str, int, float], socket.socket]  # address, port, seconds. Raises OSError
_TICK_S = 0.2


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the host's addresses, as the system's resolver knows them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def dial(address: str, port: int, timeout_s: float) -> socket.socket:
    """Connect to an address, which must not be a name. Raises OSError."""
    return socket.create_connection((address, port), timeout_s)


def checked_addresses(target: Target, resolver: Resolve, field: str) -> Sequence[str]:
    """Return the addresses to dial. Raises Rejected where one of them is not public, OSError where there are none.

    All must be fit: a name that has a private address beside a public one is nobody's honest mistake.
    """
    found = resolver(target.host, target.port)
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
                raw = self._dialer(address, self.port, self._watch.cap(self._timeout_s))
                break
            except OSError as error:
                failure = error
        else:
            raise failure
        self._watch.guard(raw)
        try:
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)
        except BaseException:
            raw.close()
            raise
        self._watch.guard(self.sock)


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
                    try:
                        # Past the TLS layer, whose state belongs to the thread that reads.
                        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                    except OSError:
                        self._socket = None
