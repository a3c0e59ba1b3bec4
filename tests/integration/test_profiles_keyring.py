"""Whose key the session bus can give: asked of a real bus, and of what only looks like one."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from adapters.profiles import keyring
from adapters.profiles.keyring import EMPTY, LOCKED, NO_BUS, Bus, trouble
from tests.profiles import short_folder
from tests.session_bus import DBUS_DAEMON, SECRETS, a_bus, owning

V11 = ("v11",)
needs_bus = pytest.mark.skipif(not DBUS_DAEMON, reason="no dbus-daemon here")


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found


def at(address: str) -> dict[str, str]:
    return {"DBUS_SESSION_BUS_ADDRESS": address}


@needs_bus
def test_a_bus_without_a_secret_service_keeps_no_key(folder: Path) -> None:
    with a_bus(folder) as address:
        found = trouble(V11, "detect", at(address))

    assert found is not None
    assert SECRETS in found


@needs_bus
@pytest.mark.parametrize(
    ("store", "name"),
    [
        ("detect", SECRETS),
        ("gnome-libsecret", SECRETS),
        ("kwallet5", "org.kde.kwalletd5"),
        ("kwallet6", "org.kde.kwalletd6"),
    ],
)
def test_a_secret_service_keeps_the_key_and_no_other_does(folder: Path, store: str, name: str) -> None:
    with a_bus(folder) as address, owning(f"{folder}/bus", name):
        assert trouble(V11, store, at(address)) is None
    with a_bus(folder) as address, owning(f"{folder}/bus", "org.example.other"):
        assert trouble(V11, store, at(address)) is not None


@needs_bus
def test_a_secret_service_that_can_be_started_is_enough(folder: Path) -> None:
    with a_bus(folder, startable=["org.example.a", SECRETS, "org.example.b"]) as address:
        assert trouble(V11, "detect", at(address)) is None
        assert trouble(V11, "kwallet6", at(address)) is not None


@needs_bus
def test_a_secret_service_is_started_to_be_asked(folder: Path) -> None:
    with a_bus(folder, startable=[SECRETS]) as address:
        trouble(V11, "detect", at(address))

        with closing(Bus(f"{folder}/bus", time.monotonic() + 10)) as bus:
            assert bus.has_owner(SECRETS)


@needs_bus
def test_a_secret_service_that_cannot_be_started_keeps_no_key(folder: Path) -> None:
    with a_bus(folder, broken=[SECRETS]) as address:
        found = trouble(V11, "detect", at(address))

    assert found is not None
    assert SECRETS in found


@needs_bus
def test_a_key_of_the_portal_needs_the_portal(folder: Path) -> None:
    with a_bus(folder, startable=[SECRETS]) as address:
        assert trouble(("v11", "v12"), "detect", at(address)) is not None
    with a_bus(folder, startable=[SECRETS, "org.freedesktop.portal.Desktop"]) as address:
        assert trouble(("v11", "v12"), "detect", at(address)) is None


@pytest.mark.parametrize(
    ("desktop", "version", "name"),
    [
        ("KDE", "5", "org.kde.kwalletd5"),
        ("KDE", "6", "org.kde.kwalletd6"),
        ("KDE", "", "org.kde.kwalletd"),
        ("ubuntu:GNOME", "", SECRETS),
        ("", "6", SECRETS),
    ],
)
def test_the_desktop_decides_whom_chromium_asks(desktop: str, version: str, name: str) -> None:
    environ = {"XDG_CURRENT_DESKTOP": desktop, "KDE_SESSION_VERSION": version}

    assert keyring.services(V11, "detect", environ) == [name]
    assert keyring.services(V11, "gnome-libsecret", environ) == [SECRETS]


# -- a keyring that is locked ----------------------------------------------------------------------------


def reply(body: bytes) -> bytes:
    """Return a method's answer without header fields, as far as the client looks at it."""
    return b"l\2\0\1" + struct.pack("<III", len(body), 1, 0) + body


def path_of(collection: str) -> bytes:
    return struct.pack("<I", len(collection)) + collection.encode() + b"\0"


YES, NO = struct.pack("<I", 1), struct.pack("<I", 0)
BOOLEAN = b"\1b\0\0"
LOGIN, SESSION = (f"/org/freedesktop/secrets/collection/{each}" for each in ("login", "session"))
DEFAULT, NONE = path_of(LOGIN), path_of("/")


def listed(*collections: str) -> bytes:
    paths = b""
    for each in collections:
        paths += bytes(-len(paths) % 4) + path_of(each)
    return b"\2ao\0" + struct.pack("<I", len(paths)) + paths


def names(*each: str) -> bytes:
    """Return a list of names; laid out as one of paths is."""
    return listed(*each)[4:]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([DEFAULT, BOOLEAN + YES], LOCKED),
        ([DEFAULT, BOOLEAN + NO], None),
        ([DEFAULT, b""], None),
        ([b""], None),
        ([NONE, listed(SESSION)], EMPTY),
        ([NONE, listed()], EMPTY),
        ([NONE, listed(SESSION, LOGIN)], None),
        ([NONE, b""], None),
    ],
    ids=[
        "locked",
        "open",
        "says nothing",
        "nothing at all",
        "memory only",
        "empty",
        "no default",
        "tells no list",
    ],
)
def test_a_keyring_that_is_locked_or_empty_keeps_no_key(
    folder: Path, said: list[bytes], expected: str | None
) -> None:
    """As gnome-keyring 42 answers, which was tried; another answer is no reason to refuse."""
    hello, has_owner = path_of(":1.7"), YES
    with speaking(folder / "bus", [b"OK 1f\r\n", *map(reply, (hello, has_owner, has_owner, *said))]):
        assert trouble(V11, "detect", {"XDG_RUNTIME_DIR": str(folder)}) == expected


def test_a_secret_service_that_has_just_been_started_has_time_to_find_its_keyrings(folder: Path) -> None:
    no_owner, startable, started = NO, names(SECRETS), YES
    before, found = [NONE, listed(SESSION)], [DEFAULT, BOOLEAN + NO]
    said = (path_of(":1.7"), no_owner, startable, no_owner, started, *before, *before, *found)
    with speaking(folder / "bus", [b"OK 1f\r\n", *map(reply, said)]):
        assert trouble(V11, "detect", {"XDG_RUNTIME_DIR": str(folder)}) is None


def test_a_secret_service_that_stays_empty_keeps_no_key(folder: Path) -> None:
    said = (path_of(":1.7"), NO, names(SECRETS), NO, YES, *[NONE, listed(SESSION)] * 20)
    with speaking(folder / "bus", [b"OK 1f\r\n", *map(reply, said)]):
        assert trouble(V11, "detect", {"XDG_RUNTIME_DIR": str(folder)}) == EMPTY


# -- where the bus is ------------------------------------------------------------------------------------


@needs_bus
def test_a_bus_is_found_by_its_address(folder: Path) -> None:
    (folder / "my bus").mkdir()
    where = f"{folder}/my%20bus/s"
    with a_bus(folder, address=f"unix:path={where}", startable=[SECRETS]):
        for address in (f"unix:path={where},guid=1f", f"unix:path=/nowhere;unix:guid=1f,path={where}"):
            assert trouble(V11, "detect", at(address)) is None


@needs_bus
def test_a_bus_is_found_in_the_runtime_folder_when_no_address_is_given(folder: Path) -> None:
    with a_bus(folder, startable=[SECRETS]):
        assert trouble(V11, "detect", {"XDG_RUNTIME_DIR": str(folder)}) is None


@needs_bus
def test_an_abstract_bus_is_found(folder: Path) -> None:
    with a_bus(folder, address=f"unix:abstract={folder}-bus", startable=[SECRETS]) as address:
        assert trouble(V11, "detect", at(address)) is None


@pytest.mark.parametrize(
    "address",
    ["unix:path=/nowhere/bus", "unix:abstract=tokd-nobody", "unix:", "autolaunch:", "disabled:", ";", "tcp:host=x"],
)  # fmt: skip
def test_a_bus_that_takes_no_connection_is_not_reachable(address: str) -> None:
    assert trouble(V11, "detect", at(address)) == NO_BUS


def test_without_a_desktop_there_is_no_bus() -> None:
    assert trouble(V11, "detect", {}) == NO_BUS


# -- what only looks like a bus --------------------------------------------------------------------------


@contextmanager
def speaking(path: Path, says: list[bytes]) -> Iterator[None]:
    """Let a server answer each thing it hears with the next of these, and nothing after that."""

    def serve() -> None:
        peer, _ = door.accept()
        with peer, suppress(ConnectionResetError, BrokenPipeError):
            for word in says:
                if not peer.recv(4096):
                    return
                peer.sendall(word)
            while peer.recv(4096):
                pass

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        server = threading.Thread(target=serve)
        server.start()
        yield
    server.join(10)


@pytest.mark.parametrize(
    "says",
    [
        [],
        [b"REJECTED EXTERNAL\r\n"],
        [b"x" * 5000],
        [b"OK 1f\r\n", b"nonsense" * 100],
        [b"OK 1f\r\n", b"l\2\0\1" + struct.pack("<III", 1 << 31, 1, 0)],
        [b"OK 1f\r\n", b"l\2\0\1" + struct.pack("<III", 0, 1, 0), b"l\2\0\1" + struct.pack("<III", 0, 1, 0)],
        [b"OK 1f\r\n", b"l\3\0\1" + struct.pack("<III", 0, 1, 0)],
    ],
    ids=["silent", "rejected", "endless", "nonsense", "huge", "empty", "error"],
)
def test_what_is_no_bus_keeps_no_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch, says: list[bytes]
) -> None:
    monkeypatch.setattr(keyring, "_WITHIN_S", 0.3)
    with speaking(folder / "bus", says):
        assert trouble(V11, "detect", {"XDG_RUNTIME_DIR": str(folder)}) == NO_BUS


def test_a_socket_that_nobody_listens_on_any_more_is_no_bus(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{folder}/bus")
        door.listen()

    assert trouble(V11, "detect", {"XDG_RUNTIME_DIR": str(folder)}) == NO_BUS
