"""A host with a certificate of its own authority, on loopback: files, ranges, redirects, and every kind of trouble."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.media.dialing import Dial

_BLOCK = 65536
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Seen:
    """One request."""

    path: str
    host: str
    first: str | None  # the Range header


@dataclass
class Course:
    """How one path behaves. Lists are used up, one entry for each request."""

    content: bytes = b""
    etag: str = '"one"'
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # the connection ends after so many bytes
    hold_after: int | None = None  # so many bytes, then nothing until `gate` opens
    gate: threading.Event = field(default_factory=threading.Event)
    location: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    knows_ranges: bool = True
    is_chunked: bool = False


class TlsHost:
    """Serves `courses` by path. `names` stand in its certificate; `ca_file` is what a client must trust."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("localhost", "files.example")) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.courses: dict[str, Course] = {}
        self.seen: list[Seen] = []
        self.connections = 0
        self.ca_file = folder / "ca.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(folder, self.ca_file, names))
        self._server = _Server(self, context)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, path: str, content: bytes, **more: Any) -> Course:
        self.courses[path] = course = Course(content, **more)
        return course

    def ranges(self) -> list[str | None]:
        return [request.first for request in self.seen]

    def close(self) -> None:
        for course in self.courses.values():
            course.gate.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: TlsHost, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = host
        self.context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.host.connections += 1
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as wrapped:
            wrapped.settimeout(20)
            _Handler(wrapped, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.close_connection = True
        host = self.server.host
        path = self.path.partition("?")[0]
        first = self.headers.get("Range")
        host.seen.append(Seen(self.path, self.headers.get("Host", ""), first))
        course = host.courses.get(path)
        if course is None:
            self._plain(404)
        elif course.statuses:
            self._plain(course.statuses.pop(0))
        elif course.location is not None:
            self._plain(302, Location=course.location)
        else:
            self._send(course, first)

    def _plain(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, course: Course, first: str | None) -> None:
        start = 0
        if first and course.knows_ranges and self.headers.get("If-Range") == course.etag:
            start = int(first.removeprefix("bytes=").removesuffix("-"))
        total = len(course.content)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("ETag", course.etag)
        for name, value in course.headers.items():
            self.send_header(name, value)
        if course.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "Content-Length" not in course.headers:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        self._stream(course, start, course.cuts.pop(0) if course.cuts else total)

    def _stream(self, course: Course, start: int, end: int) -> None:
        hold = course.hold_after
        while start < end:
            if hold is not None and start >= hold and not course.gate.is_set():
                self.wfile.flush()
                course.gate.wait(20)
            stop = min(end, start + _BLOCK, hold if hold is not None and start < hold else end)
            block = course.content[start:stop]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if course.is_chunked else block)
            start = stop
        if course.is_chunked and end == len(course.content):
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _certificate(folder: Path, ca_file: Path, names: tuple[str, ...]) -> Path:
    now = dt.datetime.now(dt.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        )  # fmt: skip

    ca = builder(ca_name, ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ca = ca.add_extension(
        x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    ca_file.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(_PEM))
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = builder(x509.Name([]), key).add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
    leaf = leaf.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    path = folder / "server.pem"
    path.write_bytes(
        leaf.sign(ca_key, hashes.SHA256()).public_bytes(_PEM)
        + key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def dial_to(host: TlsHost, dialled: list[tuple[str, int]]) -> Dial:
    """Return a dialer that notes what it was asked for, and connects to the host whatever that was."""

    def dial(address: str, port: int, timeout_s: float, _guard: object) -> socket.socket:
        dialled.append((address, port))
        return socket.create_connection(("127.0.0.1", host.port), timeout_s)

    return dial
