"""A scripted MQTT server, packet by packet, for what no real broker can be made to do."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ = 1, 3, 4, 8, 12
UNSUPPORTED_VERSION = b"\x20\x02\x00\x01"


@dataclass
class ScriptedServer:
    """Takes one connection after the other. `acks` says whether it acknowledges what is published."""

    takes_v5: bool = True
    acks: bool = True
    answers_connect: bool = True
    greeting: bytes = b""  # sent after the subscriptions were answered
    port: int = 0
    versions: list[int] = field(default_factory=list)
    published: list[tuple[str, bytes]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)

    def serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError, EOFError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        version = 0
        while True:
            kind, flags, body = read_packet(connection)
            if kind == CONNECT:
                version = body[6]
                self.versions.append(version)
                if not self.answers_connect:
                    continue
                if version == 5 and not self.takes_v5:
                    connection.sendall(UNSUPPORTED_VERSION)
                    return
                connection.sendall(b"\x20\x03\x00\x00\x00" if version == 5 else b"\x20\x02\x00\x00")
            elif kind == SUBSCRIBE:
                none = b"\x00" if version == 5 else b""
                codes = body[:2] + none + b"\x01\x01"
                connection.sendall(bytes([0x90, len(codes)]) + codes + self.greeting)
            elif kind == PUBLISH:
                self._take(connection, flags, body, version)
            elif kind == PUBACK:
                self.acknowledged.append(struct.unpack("!H", body[:2])[0])
            elif kind == PINGREQ:
                connection.sendall(b"\xd0\x00")

    def _take(self, connection: socket.socket, flags: int, body: bytes, version: int) -> None:
        (size,) = struct.unpack("!H", body[:2])
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        mid, rest = rest[:2], rest[2:]
        if version == 5:
            rest = rest[1 + rest[0] :]
        self.published.append((topic, rest))
        if self.acks and flags & 0x06:
            connection.sendall(b"\x40\x02" + mid)


def read_packet(connection: socket.socket) -> tuple[int, int, bytes]:
    first = read_exactly(connection, 1)[0]
    length = shift = 0
    while True:
        byte = read_exactly(connection, 1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return first >> 4, first & 15, read_exactly(connection, length)


def read_exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = connection.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def publish_packet(topic: bytes, payload: bytes, mid: int, *, is_v5: bool) -> bytes:
    """Return a PUBLISH with QoS 1, small enough for one length byte."""
    body = (
        struct.pack("!H", len(topic)) + topic + struct.pack("!H", mid) + (b"\x00" if is_v5 else b"") + payload
    )
    return bytes([0x32, len(body)]) + body


@contextlib.contextmanager
def scripted_server(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Run the server in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    server.port = listening.getsockname()[1]
    thread = threading.Thread(target=server.serve, args=(listening,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
