"""The broker goes and comes again, 50 times, and under worse conditions: what is told stays right and complete."""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.mqtt.settings import TlsSettings
from tests.brokers import Broker, Listener, eventually, free_port, running_broker
from tests.fakes.bus import FakeBus
from tests.integration.mqtt_stage import BASE, make_gateway, running_gateway

AVAILABILITY = f"{BASE}/availability"
TIMES = 25  # for each kind of broker


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture(params=[False, True], ids=["a broker that forgets", "a broker that keeps"], scope="module")
def restarted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FakeBus, list[bytes], Counter[str], list[bytes]]]:
    """Restart a broker again and again while events are stored; the bus, what was heard, the log, the availability."""
    bus, heard = FakeBus(), []
    notes = _Notes()
    with (
        running_broker(tmp_path_factory.mktemp("again"), persistence=request.param) as broker,
        notes,
        running_gateway(broker, bus, share=lambda: 0.01),
    ):
        for number in range(TIMES):
            with Listener(broker, f"{BASE}/event/#") as listener:
                bus.store("event", "post", f"live {number}")
                listener.wait_for(f"{BASE}/event/post", f"live {number}".encode())
                heard += listener.on(f"{BASE}/event/post")
            broker.stop()
            bus.store("event", "post", f"away {number}")
            broker.start()
        bus.wait(lambda: len(bus.sent) == 2 * TIMES, 30)
        with Listener(broker, AVAILABILITY) as listener:
            listener.wait_for(AVAILABILITY)
            yield bus, heard, notes.lines, listener.on(AVAILABILITY)


def test_every_event_reaches_the_broker_in_order(
    restarted: tuple[FakeBus, list[bytes], Counter[str], object],
) -> None:
    assert restarted[0].sent == list(range(1, 2 * TIMES + 1))


def test_no_listener_hears_an_event_before_an_older_one(
    restarted: tuple[FakeBus, list[bytes], Counter[str], object],
) -> None:
    live = [word for word in restarted[1] if word.startswith(b"live")]

    assert live == [f"live {number}".encode() for number in range(TIMES)]


def test_in_the_end_it_is_online(restarted: tuple[FakeBus, list[bytes], Counter[str], list[bytes]]) -> None:
    assert restarted[3][-1] == b"online"


def test_a_cause_is_logged_once_a_minute(
    restarted: tuple[FakeBus, list[bytes], Counter[str], object],
) -> None:
    assert restarted[2]
    assert max(restarted[2].values()) == 1


class _Notes(logging.Handler):
    """Counts the gateway's warnings by their text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines[record.getMessage()] += 1

    def __enter__(self) -> Self:
        logging.getLogger("tokd.mqtt").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("tokd.mqtt").removeHandler(self)


def test_a_changed_password_is_told_and_the_old_one_works_again(tmp_path: Path, bus: FakeBus) -> None:
    with running_broker(tmp_path / "broker", users={"tokd": "old"}) as broker, _Notes() as notes:
        gateway = make_gateway(broker, bus, username="tokd", password="old", share=lambda: 0.01)
        gateway.start()
        try:
            eventually(lambda: gateway.status()["connected"])
            broker.stop()
            broker._write_users({"tokd": "new"})
            broker.start()
            eventually(lambda: "not authorised" in (gateway.status()["last_error"] or ""))
            bus.store("event", "post", "while locked out")
            broker.stop()
            broker._write_users({"tokd": "old"})
            broker.start()
            bus.wait(lambda: bus.sent == [1])
        finally:
            gateway.stop(2)

    assert notes.lines["not authorised: check mqtt.username/password_file"] == 1


def test_an_expired_certificate_is_told_and_a_new_one_works(tmp_path: Path, bus: FakeBus) -> None:
    port, folder = free_port(), tmp_path / "broker"
    folder.mkdir()
    key = _write_certificate(folder, days=2)
    options = [
        f"listener {port} 127.0.0.1", f"certfile {folder / 'cert.pem'}", f"keyfile {folder / 'key.pem'}",
    ]  # fmt: skip
    tls = TlsSettings(enabled=True, ca_file=folder / "ca.pem")
    with running_broker(folder, options=options) as broker, _Notes() as notes:
        gateway = make_gateway(None, bus, host="localhost", port=port, tls=tls, share=lambda: 0.01)
        gateway.start()
        try:
            eventually(lambda: gateway.status()["connected"])
            _restart_with(broker, folder, key, days=-1)
            eventually(lambda: "expired" in (gateway.status()["last_error"] or ""))
            bus.store("event", "post", "while distrusted")
            _restart_with(broker, folder, key, days=2)
            bus.wait(lambda: bus.sent == [1])
        finally:
            gateway.stop(2)

    assert max(count for line, count in notes.lines.items() if "expired" in line) == 1


def _restart_with(broker: Broker, folder: Path, key: ec.EllipticCurvePrivateKey, days: int) -> None:
    broker.stop()
    _write_certificate(folder, days=days, authority=key)
    broker.start()


def _write_certificate(
    folder: Path, *, days: int, authority: ec.EllipticCurvePrivateKey | None = None
) -> ec.EllipticCurvePrivateKey:
    """Write a server certificate of an authority, whose own certificate is written once and holds."""
    now = dt.datetime.now(dt.UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    if authority is None:
        authority = ec.generate_private_key(ec.SECP256R1())
        own = _builder(issuer, issuer, authority, now - dt.timedelta(days=9), now + dt.timedelta(days=9))
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        (folder / "ca.pem").write_bytes(_pem(own.sign(authority, hashes.SHA256())))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    found = _builder(name, issuer, key, now - dt.timedelta(days=5), now + dt.timedelta(days=days))
    found = found.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    (folder / "cert.pem").write_bytes(_pem(found.sign(authority, hashes.SHA256())))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return authority


def _builder(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: dt.datetime,
    ends: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    )  # fmt: skip


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
