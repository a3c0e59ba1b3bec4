"""Real mosquitto brokers for tests, and a plain client to talk to them. A missing mosquitto is a failure."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DEADLINE_S = 20.0


def eventually(look: Callable[[], Any], within_s: float = DEADLINE_S) -> Any:
    """Return the first truthy value of `look`; fail when there is none in time."""
    end = monotonic() + within_s
    pause = threading.Event()
    while not (found := look()):
        assert monotonic() < end, "it did not happen in time"
        pause.wait(0.005)
    return found


def free_port() -> int:
    """Return a loopback port that nobody uses just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def find(program: str) -> str:
    """Return the program's path. Raises RuntimeError: a test without its broker must not pass."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{program} is missing: apt install mosquitto mosquitto-clients")
    return found


class Broker:
    """A mosquitto on a loopback port and on a Unix socket, with its own folder.

    `options` are lines of its configuration, `users` name passwords (none: anybody may come in),
    `acl` is the text of an ACL file. With `persistence` it keeps sessions and retained messages on disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        options: Sequence[str] = (),
        users: Mapping[str, str] | None = None,
        acl: str | None = None,
        persistence: bool = False,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.host = "127.0.0.1"
        # pytest's folders are too deep for the 107 bytes of a Unix socket's path
        self._short = Path("/tmp") / f"tokd-{secrets.token_hex(6)}"
        self.socket_path = self._short / "mqtt.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._lines = [
            "user root",
            f"listener {self.port} 127.0.0.1",
            f"listener 0 {self.socket_path}",
            "set_tcp_nodelay true",
            f"allow_anonymous {'false' if users else 'true'}",
            f"persistence {'true' if persistence else 'false'}",
            "max_queued_messages 100000",
            *options,
        ]
        if persistence:
            self._lines += [
                f"persistence_location {folder}/",
                "autosave_on_changes true",
                "autosave_interval 1",
            ]
        if users:
            self._lines.append(f"password_file {folder / 'passwords'}")
            self._write_users(users)
        if acl is not None:
            (folder / "acl").write_text(acl)
            self._lines.append(f"acl_file {folder / 'acl'}")

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until both doors are open."""
        self._short.mkdir(mode=0o700, exist_ok=True)
        self.socket_path.unlink(missing_ok=True)
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(self._lines) + "\n")
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [find("setpriv"), "--pdeathsig", "KILL", find("mosquitto"), "-c", str(config)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        eventually(self._is_ready)

    def kill(self) -> None:
        """End it as a power cut would (kill -9)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order. Safe twice."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self.kill()
        self.start()

    def set_users(self, users: Mapping[str, str]) -> None:
        """Replace all users of the running broker."""
        self._write_users(users)
        os.kill(self.pid, signal.SIGHUP)

    def close(self) -> None:
        """End it and remove its socket."""
        self.stop()
        shutil.rmtree(self._short, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE_S)
            self._process = None

    def _write_users(self, users: Mapping[str, str]) -> None:
        path = self.folder / "passwords"
        path.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
        path.chmod(0o600)
        subprocess.run([find("mosquitto_passwd"), "-U", str(path)], check=True, capture_output=True)

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self.folder / "mosquitto.log").read_text())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as unix:
            unix.connect(str(self.socket_path))
            with socket.create_connection((self.host, self.port), 1):
                return True
        return False


@contextlib.contextmanager
def running_broker(folder: Path, **settings: Any) -> Iterator[Broker]:
    """Give a broker that runs, and end it."""
    broker = Broker(folder, **settings)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


class Listener:
    """A client of the other side: hears a filter, publishes, waits on conditions."""

    def __init__(
        self,
        broker: Broker,
        *filters: str,
        protocol: str = "5",
        username: str | None = None,
        password: str | None = None,
        qos: int = 1,
    ) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self._changed = threading.Condition()
        self._subscribed = 0
        self._lost = threading.Event()
        self.is_v5 = protocol == "5"
        version = MQTTProtocolVersion.MQTTv5 if self.is_v5 else MQTTProtocolVersion.MQTTv311
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, protocol=version)
        client.reconnect_delay_set(1, 1)
        client.username_pw_set(username, password)
        client.on_connect = lambda *_: [client.subscribe(name, qos) for name in filters]
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = lambda *_: self._lost.set()
        client.on_socket_open = lambda _c, _d, sock: sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        client.connect(broker.host, broker.port)
        client.loop_start()
        self.wait(lambda: self._subscribed >= len(filters) and client.is_connected())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, look: Callable[[], Any], within_s: float = DEADLINE_S) -> Any:
        """Return the first truthy value of `look`, asked again at every change."""
        end = monotonic() + within_s
        with self._changed:
            while not (found := look()):
                assert monotonic() < end, f"not in time; heard {self.heard()[-30:]}"
                self._changed.wait(0.05)
        return found

    def wait_until_lost(self) -> None:
        """Return when the broker is gone and all that it had sent has been heard."""
        assert self._lost.wait(DEADLINE_S)

    def heard(self) -> list[tuple[str, bytes]]:
        """Return topics and payloads in order."""
        return [(message.topic, bytes(message.payload)) for message in list(self.messages)]

    def on(self, topic: str) -> list[bytes]:
        """Return what came on a topic."""
        return [payload for name, payload in self.heard() if name == topic]

    def wait_for(self, topic: str, payload: bytes | None = None, count: int = 1) -> list[bytes]:
        """Return the payloads of a topic once there are `count` (of this payload)."""
        self.wait(
            lambda: len([found for found in self.on(topic) if payload is None or found == payload]) >= count
        )
        return self.on(topic)

    def publish(
        self, topic: str, payload: bytes | str = b"", *, qos: int = 1, retain: bool = False, **properties: Any
    ) -> None:
        """Publish, and wait for the broker's acknowledgement; keywords are MQTT 5 properties."""
        found = None
        if properties:
            found = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(found, name, value)
        self._client.publish(topic, payload, qos, retain, found).wait_for_publish(DEADLINE_S)

    def _on_subscribe(self, *_: Any) -> None:
        with self._changed:
            self._subscribed += 1
            self._changed.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
