"""Whether the desktop keeps the key of a profile's cookies: asked of the session bus, and of the secret service there.

A bus alone proves nothing: a browser that finds no secret service there deletes every cookie it cannot decrypt. So it
does where the keyring is locked and nobody unlocks it, or is another user's, or another machine's. A secret service that
does not run yet is started, as the browser would do: it is locked then, as a rule (gnome-keyring 42).
"""

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from typing import Final
from urllib.parse import unquote

_SECRETS, _PORTAL = "org.freedesktop.secrets", "org.freedesktop.portal.Desktop"
_WALLET = "org.kde.kwalletd"
_OF_STORE = {"gnome-libsecret": _SECRETS, "kwallet5": f"{_WALLET}5", "kwallet6": f"{_WALLET}6"}
_PORTAL_TAG: Final = "v12"  # of a key that the portal keeps; the keyrings' own keys have v11

_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_SERVICE = (_SECRETS, "/org/freedesktop/secrets", "org.freedesktop.Secret.Service")
_COLLECTION, _PROPERTIES = "org.freedesktop.Secret.Collection", "org.freedesktop.DBus.Properties"
_WITHIN_S = 1.0
_START_WITHIN_S = 5.0
_FILLED_WITHIN_S, _LOOK_EVERY_S = 0.5, 0.05  # a service may have its name before its keyrings
_UNIX = re.compile(r"unix:(?:.*,)?(?P<kind>path|abstract)=(?P<where>[^,]+)")
_LINE_MAX, _MESSAGE_MAX = 1000, 1 << 20
_CALL, _REPLY, _ERROR = 1, 2, 3
_HEADER = 16
_WORD = 8

_NOWHERE = "/"  # a path that stands for none
_PASSING = "/org/freedesktop/secrets/collection/session"  # kept in memory until it ends

LOCKED = (
    "and the keyring that keeps their key is locked: unlock it first, by logging in to the desktop with your password "
    "or in its program for passwords"
)
EMPTY = (
    "and the keyring on the session bus holds nothing, so not their key either: use the profile on the machine and as "
    "the user that it comes from, or make one of its own with `tokd profile login`"
)
NO_BUS = (
    "and no session bus is reachable: run tokd as your user service inside the desktop session, "
    "or make a profile of its own with `tokd profile login`"
)


def trouble(tags: Collection[str], store: str, environ: Mapping[str, str]) -> str | None:
    """Return why the keys of cookies with these tags cannot be reached, None where they can.

    Takes a second at most, and six more where a secret service has to be started.
    """
    until = time.monotonic() + _WITHIN_S
    for where in _sockets(environ):
        try:
            with closing(Bus(where, until)) as bus:
                wanted = services(tags, store, environ)
                missing = [name for name in wanted if not bus.offers(name)]
                if not missing and _SECRETS in wanted:
                    missing = [] if bus.start(_SECRETS) else [_SECRETS]
                if not missing and _SECRETS in wanted and (why := bus.keeps_no_key()) is not None:
                    return why
        except (OSError, ValueError, struct.error):  # whatever it is that answers there, it is no bus
            continue
        if not missing:
            return None
        return (
            f"and nobody on the session bus keeps their key ({missing[0]} is missing there): start the desktop's "
            "keyring, or set session.password_store to the one that this profile was used with"
        )
    return NO_BUS


def services(tags: Collection[str], store: str, environ: Mapping[str, str]) -> list[str]:
    """Return the names on the bus that Chromium will ask for the keys."""
    found = [_PORTAL] if _PORTAL_TAG in tags else []
    return [*found, _OF_STORE.get(store) or _of_desktop(environ)] if set(tags) - {_PORTAL_TAG} else found


def _of_desktop(environ: Mapping[str, str]) -> str:
    if "KDE" not in environ.get("XDG_CURRENT_DESKTOP", "").split(":"):
        return _SECRETS
    version = environ.get("KDE_SESSION_VERSION", "")
    return f"{_WALLET}{version}" if version in {"5", "6"} else _WALLET


def _sockets(environ: Mapping[str, str]) -> list[str]:
    named = environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if not named:
        runtime = environ.get("XDG_RUNTIME_DIR", "")
        return [f"{runtime}/bus"] if runtime else []
    matches = (_UNIX.fullmatch(address.partition(",guid=")[0]) for address in named.split(";"))
    return [
        ("\0" if match["kind"] == "abstract" else "") + unquote(match["where"]) for match in matches if match
    ]


class Bus:
    """A connection to a message bus, for asking the bus itself. Every step raises OSError or ValueError."""

    def __init__(self, where: str, until: float) -> None:
        self._until = until
        self._filled = 0.0  # until when a secret service that has just been started may look empty
        self._serial = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._patiently().connect(where)
            self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
            if not self._line().startswith(b"OK "):
                raise ValueError("the bus does not let this user in")
            self._socket.sendall(b"BEGIN\r\n")
            self.call("Hello")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def offers(self, name: str) -> bool:
        """Tell whether somebody has this name, or would be started for it."""
        return self.has_owner(name) or name in _texts(*self.call("ListActivatableNames"))

    def has_owner(self, name: str) -> bool:
        """Tell whether somebody has this name now."""
        order, body = self.call("NameHasOwner", "s", _text(name))
        return bool(struct.unpack_from(f"{order}I", body)[0])

    def start(self, name: str) -> bool:
        """Have the owner of a name started where it does not run; tell whether it does now."""
        if self.has_owner(name):
            return True
        self._until = max(self._until, time.monotonic() + _START_WITHIN_S)
        text = _text(name)
        try:
            self.call("StartServiceByName", "su", text + bytes(-len(text) % 4) + bytes(4))
        except (TimeoutError, ValueError):
            return False
        self._until = time.monotonic() + _WITHIN_S
        self._filled = time.monotonic() + _FILLED_WITHIN_S
        return True

    def keeps_no_key(self) -> str | None:
        """Return why the secret service cannot give a key; None where it can, or does not say. Never raises."""
        while (why := self._keeps_no_key()) == EMPTY and time.monotonic() < self._filled:
            threading.Event().wait(_LOOK_EVERY_S)
        return why

    def _keeps_no_key(self) -> str | None:
        try:
            order, body = self.call("ReadAlias", "s", _text("default"), _SERVICE)
            (length,) = struct.unpack_from(f"{order}I", body)
            path = body[4 : 4 + length].decode()
            if path == _NOWHERE:
                order, body = self._property(_SERVICE[1], _SERVICE[2], "Collections")
                is_list = body[:4] == b"\2ao\0"
                return EMPTY if is_list and not set(_texts(order, body[4:])) - {_PASSING} else None
            order, body = self._property(path, _COLLECTION, "Locked")
            return LOCKED if body[:2] == b"\1b" and struct.unpack_from(f"{order}I", body, 4)[0] else None
        except (OSError, ValueError, struct.error):
            return None

    def _property(self, path: str, interface: str, name: str) -> tuple[str, bytes]:
        first = _text(interface)
        return self.call(
            "Get", "ss", first + bytes(-len(first) % 4) + _text(name), (_SECRETS, path, _PROPERTIES)
        )

    def call(
        self, member: str, signature: str = "", body: bytes = b"", of: tuple[str, str, str] = _BUS
    ) -> tuple[str, bytes]:
        """Call a method, of the bus itself or `of` another's object; return the answer's byte order and body."""
        self._serial += 1
        fields = b""
        destination, path, interface = of
        named = {1: ("o", path), 2: ("s", interface), 3: ("s", member), 6: ("s", destination)}
        for code, (kind, text) in named.items():
            fields = _padded(fields) + bytes((code, 1, ord(kind), 0)) + _text(text)
        if signature:
            fields = _padded(fields) + bytes((8, 1, ord("g"), 0, len(signature))) + signature.encode() + b"\0"
        head = struct.pack("<cBBBIII", b"l", _CALL, 0, 1, len(body), self._serial, len(fields))
        self._patiently().sendall(_padded(head + fields) + body)
        while True:
            order, kind_of, body = self._message()
            if kind_of == _REPLY:
                return order, body
            if kind_of == _ERROR:
                raise ValueError(f"the bus refuses {member}")

    def _message(self) -> tuple[str, int, bytes]:
        head = self._exactly(_HEADER)
        order = {b"l": "<", b"B": ">"}.get(head[:1])
        if order is None:
            raise ValueError("no message of a bus")
        size, _, fields = struct.unpack_from(f"{order}III", head, 4)
        length = fields + -fields % _WORD + size
        if length > _MESSAGE_MAX:
            raise ValueError("a message that is too long")
        return order, head[1], self._exactly(length)[length - size :]

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += self._exactly(1)
            if len(line) > _LINE_MAX:
                raise ValueError("no answer of a bus")
        return line

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self._patiently().recv(size - len(found))
            if not part:
                raise ConnectionResetError("the bus has hung up")
            found += part
        return found

    def _patiently(self) -> socket.socket:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the bus does not answer")
        self._socket.settimeout(left)
        return self._socket


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _WORD)


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode() + b"\0"


def _texts(order: str, body: bytes) -> list[str]:
    found, at = [], 4
    end = at + int(struct.unpack_from(f"{order}I", body)[0])
    while at < end:
        (length,) = struct.unpack_from(f"{order}I", body, at)
        found.append(body[at + 4 : at + 4 + length].decode())
        at += 4 + length + 1
        at += -at % 4
    return found
