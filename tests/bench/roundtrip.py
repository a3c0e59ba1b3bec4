"""Commands over MQTT: ping and durable schedule, against a bare paho echo through the same broker."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt

from tests.bench.echo import no_delay
from tests.bench.report import p50, quantile, tell
from tests.brokers import Broker
from tests.daemons import ROOT, Daemon, Simulator, make_clip

TURNS = 600
LOAD = 3000
WINDOW = 20


class Caller:
    """Sends a message and waits for its answer, or keeps a window of them under way."""

    def __init__(self, port: int, reply: str) -> None:
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_socket_open = no_delay
        self.client.max_inflight_messages_set(100)
        subscribed = threading.Event()
        self.client.on_connect = lambda found, *_: found.subscribe(reply, 1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = self._take
        self.on_answer: Callable[[bytes], None] = lambda _payload: None
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        if not subscribed.wait(10):
            raise SystemExit("no broker")

    def _take(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.on_answer(message.payload)

    def one_by_one(
        self, topic: str, body: Callable[[int], str], count: int, is_final: Callable[[bytes], bool]
    ) -> list[float]:
        """Return the milliseconds of each round trip."""
        answered, found = threading.Event(), []

        def on_answer(payload: bytes) -> None:
            if is_final(payload):
                answered.set()

        self.on_answer = on_answer
        for number in range(count):
            answered.clear()
            begin = time.perf_counter()
            self.client.publish(topic, body(number), qos=1)
            if not answered.wait(10):
                raise SystemExit(f"no answer on {topic}")
            found.append((time.perf_counter() - begin) * 1000)
        return found[count // 10 :]

    def sustained(
        self, topic: str, body: Callable[[int], str], count: int, is_final: Callable[[bytes], bool]
    ) -> float:
        """Return answered messages a second with WINDOW of them under way."""
        slots, done, answers = threading.Semaphore(WINDOW), threading.Event(), [0]

        def on_answer(payload: bytes) -> None:
            if is_final(payload):
                answers[0] += 1
                slots.release()
                if answers[0] == count:
                    done.set()

        self.on_answer = on_answer
        begin = time.perf_counter()
        for number in range(count):
            slots.acquire()
            self.client.publish(topic, body(number), qos=1)
        done.wait(60)
        return count / (time.perf_counter() - begin)

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()


def commit_ms(folder: Path) -> float:
    """Return what one durable commit costs here, p50: a row, WAL, FULL."""
    database = sqlite3.connect(folder / "floor.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, body TEXT)")
    found = []
    for _ in range(500):
        begin = time.perf_counter()
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO row (body) VALUES (?)", ("x" * 500,))
        database.execute("COMMIT")
        found.append((time.perf_counter() - begin) * 1000)
    database.close()
    return p50(found)


def main() -> None:
    """Print the round trips."""
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        broker = Broker(folder / "broker")
        broker.start()
        stack.callback(broker.close)
        simulator = Simulator(folder / "simulator")
        stack.callback(simulator.stop)
        daemon = Daemon(folder / "daemon").use_simulator(simulator).use_broker(broker.port).start()
        stack.callback(daemon.stop)
        daemon.link(simulator)
        make_clip(daemon.media / "clip.mp4")
        daemon.schedule(at="2030-01-01T00:00:00Z")
        _measure(broker.port, commit_ms(folder), stack)


def _measure(port: int, commit: float, stack: contextlib.ExitStack) -> None:
    echo = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.echo", str(port)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    stack.callback(echo.wait)
    stack.callback(echo.kill)
    if echo.stdout is not None:
        echo.stdout.readline()
    bare = Caller(port, "echo/reply")
    caller = Caller(port, "tokd/v1/main/reply/bench/#")
    stack.callback(bare.close)
    stack.callback(caller.close)

    def schedule(run: str) -> Callable[[int], str]:
        args = {"account": "demo", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "2030-01-01T00:00:00Z"}
        return lambda number: json.dumps({"id": f"{run}-{number}", "args": args})

    def is_done(payload: bytes) -> bool:
        reply = json.loads(payload)
        if reply["status"] not in {"done", "accepted"}:
            raise SystemExit(f"refused: {reply}")
        return bool(reply["final"])

    cmd = "tokd/v1/main/cmd/bench"
    floor = bare.one_by_one("echo/request", lambda n: json.dumps({"id": n}), TURNS, lambda _p: True)
    ping = caller.one_by_one(f"{cmd}/system/ping", lambda _n: "{}", TURNS, is_done)
    durable = caller.one_by_one(f"{cmd}/post/schedule", schedule("one"), TURNS, is_done)
    bare_rate = bare.sustained("echo/request", lambda n: json.dumps({"id": n}), LOAD, lambda _p: True)
    rate = caller.sustained(f"{cmd}/post/schedule", schedule("load"), LOAD, is_done)
    tell("system/ping, p50", p50(ping), "ms", floor=p50(floor), floor_name="echo", aim="ratio ≤ 2")
    tell("system/ping, p99", quantile(ping, 0.99), "ms", floor=quantile(floor, 0.99), floor_name="echo")
    tell(
        "post/schedule to `done`, p50",
        p50(durable),
        "ms",
        floor=p50(floor) + commit,
        floor_name="echo + commit",
        aim="ratio ≤ 2",
    )
    tell("post/schedule sustained", rate, "/s", floor=bare_rate, floor_name="echo", aim="ratio ≥ 0.5")


if __name__ == "__main__":
    main()
