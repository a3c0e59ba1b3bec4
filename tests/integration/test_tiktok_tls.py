"""No secret leaves for a server that is not TikTok's: certificates, redirects, upload hosts, proxies (scorecard S14).

Every server here records each byte that comes, before and after decryption. One of them has a certificate that is
right in every way and gets the secrets: so that the others are refused for what is wrong with them and nothing else.
"""

import io
import ipaddress
import json
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.uploader import TikTokUploader
from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import InitRequest, Plan
from tests.fakes.clock import FakeClock
from tests.waiting import wait_until

TOKEN, REFRESH, SECRET = "act.canary-access-token", "rft.canary-refresh-token", "canary-client-secret"
UPLOAD_PATH = "/upload/?upload_id=1&upload_token=canary-upload-token"
MEDIA = b"canary-media-bytes!!"
SECRETS = [text.encode() for text in (TOKEN, REFRESH, SECRET, "canary", "upload_token")]
PLAN = Plan(len(MEDIA), len(MEDIA), 1)
BODY = '{"post_info":{"title":"canary"}}'
INIT = InitRequest(endpoint="/v2/post/publish/video/init/", body=BODY, body_hash="", plan=PLAN)
OK = {"code": "ok", "message": "", "log_id": "log-1"}
REAL = "open.tiktokapis.com"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


# -- certificates --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Issuer:
    """A certificate authority."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    pem: bytes


def _certificate(
    name: x509.Name, issuer: x509.Name, key: Any, by: Any, *, hosts: tuple[str, ...], start: datetime, end: datetime,
    is_ca: bool = False,
) -> bytes:  # fmt: skip
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )  # fmt: skip
    if hosts:
        names = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts
        ]  # fmt: skip
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def new_issuer(text: str) -> Issuer:
    key, name = ec.generate_private_key(ec.SECP256R1()), _named(text)
    made = _certificate(name, name, key, key, hosts=(), start=NOW - DAY, end=NOW + DAY, is_ca=True)
    return Issuer(name, key, made)


def context_for(
    folder: Path, issuer: Issuer | None, *hosts: str, start: datetime = NOW - DAY, end: datetime = NOW + DAY
) -> ssl.SSLContext:
    """Return a server's side with a new certificate; without an issuer it signs itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _named(hosts[0])
    signer = issuer or Issuer(name, key, b"")
    made = _certificate(name, signer.name, key, signer.key, hosts=hosts, start=start, end=end)
    path = folder / f"{x509.random_serial_number()}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


# -- servers -------------------------------------------------------------------------------------------------


class Server:
    """Records every byte; speaks TLS where it has a context, and gives one answer to every request."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.context = context
        self.raw, self.clear = bytearray(), bytearray()  # as it came, and decrypted
        self.connections = self.ended = 0
        self.answer: tuple[int, bytes, dict[str, str]] = (200, b"{}", {})
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def at(self, host: str = "localhost") -> str:
        return f"{'https' if self.context else 'http'}://{host}:{self.port}"

    def reply(self, status: int, content: object = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.answer = (status, body, headers)

    def assert_knows_nothing(self) -> None:
        wait_until(lambda: self.ended == self.connections)
        assert bytes(self.clear) == b""
        assert [secret for secret in SECRETS if secret in self.raw] == []

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        wire.settimeout(10)
        try:
            if self.context is None:
                while data := wire.recv(65536):
                    self.raw += data
            else:
                self._speak(wire, self.context)
        except OSError:
            pass
        finally:
            wire.close()
            self.ended += 1

    def _speak(self, wire: socket.socket, context: ssl.SSLContext) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)

        def turn(act: Callable[[], Any]) -> Any:
            while True:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    wire.sendall(outgoing.read())
                    data = wire.recv(65536)
                    self.raw += data
                    if not data:
                        raise ConnectionError from None
                    incoming.write(data)
                finally:
                    wire.sendall(outgoing.read())

        turn(tls.do_handshake)
        while True:
            request = b""
            while not _is_whole(request):
                piece = turn(lambda: tls.read(65536))
                request += piece
                self.clear += piece
            status, body, headers = self.answer
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            tls.write("\r\n".join([*lines, "", ""]).encode() + body)
            wire.sendall(outgoing.read())

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def _is_whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and len(body) >= (int(lengths[0].partition(b":")[2]) if lengths else 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def trusted(folder: Path) -> Issuer:
    return new_issuer("an authority that this machine trusts")


@pytest.fixture(autouse=True)
def trust(folder: Path, trusted: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put our authority in the place of the public ones that come with the HTTP library."""
    path = folder / "trusted.pem"
    path.write_bytes(trusted.pem)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(path))


Make = Callable[[ssl.SSLContext | None], Server]


@pytest.fixture
def serve() -> Iterator[Make]:
    running: list[Server] = []

    def start(context: ssl.SSLContext | None) -> Server:
        running.append(Server(context))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def good(folder: Path, trusted: Issuer, serve: Make) -> Server:
    return serve(context_for(folder, trusted, "localhost", REAL))


def uploader_for(address: str) -> TikTokUploader:
    settings = TikTokSettings(
        api_base=address, client_key="key", client_secret=SECRET, connect_timeout_s=5, read_timeout_s=5,
        call_deadline_s=10,
    )  # fmt: skip
    return TikTokUploader(settings, FakeClock())


def call(name: str, api: str, upload: str) -> Callable[[], object]:
    """Return a call of the client that carries secrets."""
    client = uploader_for(api)
    calls: dict[str, Callable[[], object]] = {
        "creator": lambda: client.creator(TOKEN),
        "init": lambda: client.init(TOKEN, INIT),
        "status": lambda: client.status(TOKEN, "canary-publish-id"),
        "cancel": lambda: client.cancel(TOKEN, "canary-publish-id"),
        "refresh": lambda: client.refresh(REFRESH),
        "exchange": lambda: client.exchange("canary-code", "http://127.0.0.1/", "canary-verifier"),
        "revoke": lambda: client.revoke(TOKEN),
        "upload": lambda: client.send_chunk(upload + UPLOAD_PATH, io.BytesIO(MEDIA), PLAN, 0, "video/mp4"),
    }
    return calls[name]


CALLS = ["creator", "init", "status", "cancel", "refresh", "exchange", "revoke", "upload"]


def failure_of(act: Callable[[], object]) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        act()
    link: BaseException | None = caught.value
    while link is not None:
        assert isinstance(link, PlatformError)
        assert "canary" not in f"{link!r} {link} {vars(link)}"
        link = link.__cause__ or link.__context__
    return caught.value


# -- certificates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_a_server_with_a_good_certificate_gets_what_is_meant_for_it(good: Server, name: str) -> None:
    good.reply(500)

    failure_of(call(name, good.at(), good.at()))

    assert b"canary" in good.clear
    assert [secret for secret in SECRETS if secret in good.raw] == []  # encrypted on its way


@pytest.fixture(scope="module")
def bad(folder: Path, trusted: Issuer) -> dict[str, ssl.SSLContext]:
    old = context_for(folder, trusted, "localhost")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # that is what it is here for
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    return {
        "of another host": context_for(folder, trusted, "open.tiktokapis.com.evil.example"),
        "of the address only": context_for(folder, trusted, "127.0.0.1"),
        "expired": context_for(folder, trusted, "localhost", start=NOW - 2 * DAY, end=NOW - DAY),
        "not valid yet": context_for(folder, trusted, "localhost", start=NOW + DAY, end=NOW + 2 * DAY),
        "signed by itself": context_for(folder, None, "localhost"),
        "of an unknown authority": context_for(folder, new_issuer("nobody"), "localhost"),
        "of an authority of the same name": context_for(
            folder, new_issuer("an authority that this machine trusts"), "localhost"
        ),
        "with an old protocol": old,
    }


BAD = [
    "of another host", "of the address only", "expired", "not valid yet", "signed by itself",
    "of an unknown authority", "of an authority of the same name", "with an old protocol",
]  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("why", BAD)
def test_a_server_with_a_bad_certificate_gets_nothing(
    serve: Make, bad: dict[str, ssl.SSLContext], why: str, name: str
) -> None:
    server = serve(bad[why])

    error = failure_of(call(name, server.at(), server.at()))

    assert (error.fault, error.code) == (Fault.TRANSIENT, "connect_failed")
    assert "SSL" in error.message
    assert server.connections == 1
    server.assert_knows_nothing()


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_environment_cannot_make_a_certificate_good(
    serve: Make, folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    issuer = new_issuer("somebody who can set variables")
    path = folder / "theirs.pem"
    path.write_bytes(issuer.pem)
    monkeypatch.setenv(variable, str(path))
    server = serve(context_for(folder, issuer, "localhost"))

    failure_of(call("refresh", server.at(), server.at()))

    server.assert_knows_nothing()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_environment_cannot_put_a_proxy_in_between(
    good: Server, serve: Make, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    proxy = serve(None)
    monkeypatch.setenv(variable, proxy.at())
    good.reply(500)

    failure_of(call("refresh", good.at(), good.at()))

    assert proxy.connections == 0
    assert good.connections == 1


# -- redirects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_plain_http_is_not_followed(good: Server, serve: Make, name: str, status: int) -> None:
    plain = serve(None)
    good.reply(status, Location=f"{plain.at()}/elsewhere")

    failure_of(call(name, good.at(), good.at()))

    assert plain.connections == 0
    assert good.connections == 1


@pytest.mark.parametrize("name", CALLS)
def test_a_redirect_to_another_host_is_not_followed(
    good: Server, serve: Make, folder: Path, trusted: Issuer, name: str
) -> None:
    other = serve(context_for(folder, trusted, "localhost"))
    good.reply(307, Location=f"{other.at()}/elsewhere")

    failure_of(call(name, good.at(), good.at()))

    assert other.connections == 0


# -- upload hosts --------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name leads to this machine here; returns those that were asked for."""
    names: list[str] = []
    resolve, ours = socket.getaddrinfo, threading.current_thread()

    def answer(host: Any, *more: Any, **options: Any) -> Any:
        if threading.current_thread() is not ours:  # somebody else's client in this process
            return resolve(host, *more, **options)
        names.append(str(host))
        return resolve("127.0.0.1", *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return names


ELSEWHERE = [
    "https://upload.us.tiktokapis.com.evil.example/", "https://evil.example/upload.us.tiktokapis.com",
    "https://upload.us.tiktokapis.com@evil.example/", "https://evil.example\\@upload.us.tiktokapis.com/",
    "https://evil.example#@upload.us.tiktokapis.com/", "https://upload.a.b.tiktokapis.com/",
    "http://upload.us.tiktokapis.com/", "https://upload.us.tiktokapis.com:8443/", "https://127.0.0.1/",
    "https://localhost/", "https://[::1]/", "https://2130706433/", "https://tiktokapis.com/",
    "//upload.us.tiktokapis.com/", "ftp://upload.us.tiktokapis.com/",
]  # fmt: skip


@pytest.mark.parametrize("address", ELSEWHERE)
def test_no_byte_goes_to_an_upload_host_that_is_not_tiktoks(
    good: Server, asked: list[str], address: str
) -> None:
    client = uploader_for(good.at(REAL))
    url = f"{address}?upload_token=canary"
    good.reply(200, {"data": {"publish_id": "p", "upload_url": url}, "error": OK})

    told = failure_of(lambda: client.init(TOKEN, INIT))
    sent = failure_of(lambda: client.send_chunk(url, io.BytesIO(MEDIA), PLAN, 0, "video/mp4"))

    assert told.code == sent.code == "upload_host_refused"
    assert set(asked) == {REAL}
    assert good.connections == 1
    assert MEDIA not in good.clear


def test_the_name_of_tiktok_needs_tiktoks_certificate(
    serve: Make, folder: Path, trusted: Issuer, asked: list[str]
) -> None:
    server = serve(context_for(folder, trusted, "evil.example", "localhost"))

    error = failure_of(call("creator", server.at(REAL), ""))

    assert (error.code, asked) == ("connect_failed", [REAL])
    server.assert_knows_nothing()
