"""Opening a connection without holding up a stop: every wait also listens to the wake socket."""

import select
import socket
import ssl
from collections.abc import Callable

from adapters.mqtt.settings import MqttSettings, TlsSettings

STEP_S = 5.0  # for connect and TLS handshake together


class Interrupted(Exception):
    """The attempt was given up because the gateway stops."""


class Patience:
    """Waits for a socket until the deadline, or until somebody calls."""

    def __init__(
        self, wake: socket.socket, monotonic: Callable[[], float], must_stop: Callable[[], bool]
    ) -> None:
        self._wake = wake
        self._monotonic = monotonic
        self._must_stop = must_stop
        self.restart()

    def restart(self) -> None:
        """Begin the full time anew: a dead IPv6 address must not use up the time of the IPv4 one."""
        self._deadline = self._monotonic() + STEP_S

    def wait(self, sock: socket.socket, events: int) -> None:
        """Return when the socket is ready. Raises TimeoutError, Interrupted."""
        while True:
            left = self._deadline - self._monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer within {STEP_S:.0f} s")
            poll = select.poll()
            poll.register(sock, events)
            poll.register(self._wake, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(left * 1000)}
            if self._must_stop():
                raise Interrupted
            if sock.fileno() in ready:
                return
            if ready:
                self._wake.recv(4096)  # what it announced stays in the line until we are connected


def open_socket(settings: MqttSettings, patience: Patience) -> socket.socket:
    """Return a connected socket, encrypted if wanted. Raises OSError (ssl.SSLError is one), Interrupted."""
    if settings.unix_socket:
        sock = _connect(socket.AF_UNIX, str(settings.unix_socket), patience)
    else:
        sock = _connect_tcp(settings.host or "127.0.0.1", settings.port, patience)
    if not settings.tls.enabled:
        return sock
    try:
        return _handshake(sock, settings, patience)
    except BaseException:
        sock.close()
        raise


def _connect_tcp(host: str, port: int, patience: Patience) -> socket.socket:
    last: OSError | None = None
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        patience.restart()
        try:
            sock = _connect(family, address, patience)
        except OSError as error:
            last = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # 88 ms -> 1 ms, mqtt.md section 3.3
        return sock
    raise last or OSError(f"{host} has no address")


def _connect(family: int, address: object, patience: Patience) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        try:
            sock.connect(address)  # type: ignore[arg-type]  # what getaddrinfo gave, or a path
        except BlockingIOError:
            patience.wait(sock, select.POLLOUT)
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failure:
                raise OSError(failure, "cannot connect") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _handshake(sock: socket.socket, settings: MqttSettings, patience: Patience) -> ssl.SSLSocket:
    wrapped = _context(settings.tls).wrap_socket(
        sock, server_hostname=settings.host or "localhost", do_handshake_on_connect=False
    )
    while True:
        try:
            wrapped.do_handshake()
        except ssl.SSLWantReadError:
            patience.wait(wrapped, select.POLLIN)
        except ssl.SSLWantWriteError:
            patience.wait(wrapped, select.POLLOUT)
        else:
            return wrapped


def _context(tls: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
    if tls.cert_file:
        context.load_cert_chain(str(tls.cert_file), str(tls.key_file) if tls.key_file else None)
    if not tls.verify:  # only by an explicit setting, and config shows it as an alert
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
