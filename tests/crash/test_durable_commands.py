"""Two thousand commands from eight callers, each sent up to three times, while the daemon is killed ten times."""

import json
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

from tests.crash.stage import PREFIX, Stage
from tests.daemons import Daemon
from tests.notes import note
from tests.waiting import wait_until

CALLERS = 8
KILLS = int(os.environ.get("TOKD_COMMAND_KILLS", "10"))
ROUNDS = KILLS + 1  # the kills lie between them
BROKER_KILLS = int(os.environ.get("TOKD_BROKER_KILLS", "0"))
KEEPS = os.environ.get("TOKD_BROKER_KEEPS") == "1"  # whether the broker has what it had after a kill
COMMANDS = int(os.environ.get("TOKD_COMMANDS", "2000"))
SEED = int(os.environ.get("TOKD_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
RESEND_S = 2.0


@dataclass
class Order:
    """One command under its own id."""

    verb: str
    args: dict[str, Any]
    id: str
    post_id: str = ""  # the post it moves


@dataclass
class Book:
    """What one caller has sent and been told."""

    orders: list[Order] = field(default_factory=list)
    finals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    conflicts: set[str] = field(default_factory=set)
    sent: int = 0
    replies: int = 0


class Sender(threading.Thread):
    """A caller with an actor of its own, which repeats itself as real callers do."""

    def __init__(
        self, number: int, port: int, prefix: str, media: str, rounds: list[threading.Event]
    ) -> None:
        super().__init__(name=f"sender-{number}")
        self.actor = f"sender-{number}"
        self.book = Book()
        self.failure: BaseException | None = None
        self._random = random.Random(f"{SEED}-{number}")
        self._prefix = prefix
        self._media = media
        self._rounds = rounds
        self._changed = threading.Condition()
        self._posts: list[str] = []  # that may still be moved or cancelled
        self._numbers = iter(range(10**6))
        version = mqtt.MQTTv5 if number % 2 else mqtt.MQTTv311
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=f"{prefix}-{number}", protocol=version
        )
        self._client.on_message = self._take
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_connect = lambda client, *_: client.subscribe(f"{prefix}/reply/{self.actor}/#", 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(10)

    def run(self) -> None:
        try:
            for number, begin in enumerate(self._rounds):
                begin.wait()
                self._do_round(
                    COMMANDS // CALLERS * number // ROUNDS, COMMANDS // CALLERS * (number + 1) // ROUNDS
                )
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _do_round(self, first: int, last: int) -> None:
        orders = [self._draw() for _ in range(last - first)]
        self.book.orders += orders
        copies = [order for order in orders for _ in range(self._random.randint(1, 3))]
        self._random.shuffle(copies)
        for order in copies:
            self._send(order.verb, order.args, order.id)
        self._until_answered(orders)
        for order in orders:
            reply = self.book.finals[order.id][0]
            if order.verb == "post/schedule" and reply["status"] == "done":
                self._posts.append(reply["result"]["post"])
        self._conflict(self._random.choice(orders))

    def _draw(self) -> Order:
        command_id = f"{self.actor}.{next(self._numbers)}"
        draw = self._random.random()
        if draw < 0.4 or not self._posts:
            at = datetime.now(UTC) + timedelta(days=30, minutes=self._random.randrange(10_000))
            source = (
                {"media": self._media}
                if self._random.random() < 0.5
                else {"url": f"{PREFIX}{command_id}.mp4"}
            )
            args = {"account": "demo", "privacy": "SELF_ONLY", "at": at.isoformat()} | source
            return Order("post/schedule", args, command_id)
        if draw < 0.55:
            return Order("system/ping", {}, command_id)
        post = self._posts.pop(self._random.randrange(len(self._posts)))
        if draw < 0.8:
            at = datetime.now(UTC) + timedelta(days=60, minutes=self._random.randrange(10_000))
            return Order("post/reschedule", {"post": post, "at": at.isoformat()}, command_id, post)
        return Order("post/cancel", {"post": post}, command_id, post)

    def _conflict(self, order: Order) -> None:
        """Use an id again for another order: it must be refused, and change nothing."""
        if order.verb == "system/ping":
            return  # a ping has no effect that a repeat could double
        other = {
            "account": "demo",
            "privacy": "SELF_ONLY",
            "at": "2099-01-01T00:00:00Z",
            "url": f"{PREFIX}other.mp4",
        }
        for _ in range(30):
            self._send("post/schedule", other, order.id)
            with self._changed:
                if self._changed.wait_for(lambda: order.id in self.book.conflicts, RESEND_S):
                    return
        raise AssertionError(f"{order.id} was used twice, and nobody complained")

    def _until_answered(self, orders: list[Order]) -> None:
        deadline = time.monotonic() + 90
        while missing := [order for order in orders if order.id not in self.book.finals]:
            with self._changed:
                done = self._changed.wait_for(
                    lambda: all(order.id in self.book.finals for order in missing), RESEND_S
                )
            if done:
                return
            assert time.monotonic() < deadline, f"not answered: {[order.id for order in missing]}"
            for order in missing:
                if order.id not in self.book.finals:
                    self._send(order.verb, order.args, order.id)

    def _send(self, verb: str, args: dict[str, Any], command_id: str) -> None:
        body = json.dumps({"id": command_id, "args": args})
        self._client.publish(f"{self._prefix}/cmd/{self.actor}/{verb}", body, qos=1)
        self.book.sent += 1

    def _take(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        reply = json.loads(message.payload)
        with self._changed:
            self.book.replies += 1
            if reply.get("error", {}).get("code") == "id_conflict":
                self.book.conflicts.add(reply["id"])
            elif reply["final"]:
                self.book.finals.setdefault(reply["id"], []).append(reply)
            self._changed.notify_all()


def test_every_command_is_answered_and_has_its_effect_once_while_the_daemon_is_killed(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    stage = Stage(tmp_path, persistence=KEEPS)
    daemon = stage.daemon(tmp_path / "daemon")
    media, _ = stage.clip(daemon, 300_000)
    rounds = [threading.Event() for _ in range(ROUNDS)]
    prefix = f"{daemon.settings['mqtt.prefix']}/v1/main"
    senders = [Sender(number, stage.broker.port, prefix, media, rounds) for number in range(CALLERS)]
    chance = random.Random(SEED)
    broker_rounds = set(chance.sample(range(ROUNDS - 1), BROKER_KILLS))
    open_at_kills: list[int] = []
    begun = time.monotonic()
    try:
        for sender in senders:
            sender.start()
        daemon.start()
        for number in range(ROUNDS):
            rounds[number].set()
            if number == ROUNDS - 1:
                break
            wait_for_an_answer(senders)
            threading.Event().wait(chance.uniform(0, 0.4))  # in the middle of the round
            if number in broker_rounds:
                stage.broker.restart()
                note({"broker kill": 1})
                threading.Event().wait(0.3)  # so that the daemon's own kill does not hide this one
            daemon.kill()
            note({"kill -9": 1})
            open_at_kills.append(sum(len(sender.book.orders) - len(sender.book.finals) for sender in senders))
            daemon.start(wait=False)
            wait_until(lambda: is_ready_or_dead(daemon), 60, what="the daemon ready")
        for sender in senders:
            sender.join(120)
        assert [sender.failure for sender in senders] == [None] * CALLERS
        assert daemon.stop() == 0, daemon.tail()
        took = time.monotonic() - begun
        books = [sender.book for sender in senders]
        orders = [order for book in books for order in book.orders]
        print(
            f"\n{len(orders)} commands, {sum(book.sent for book in books)} messages, "
            f"{sum(book.replies for book in books)} replies, {sum(len(book.conflicts) for book in books)} conflicts, "
            f"{ROUNDS - 1} kills with {open_at_kills} commands open, {took:.1f} s"
        )
        note(orders=len(orders))
        check_replies(books)
        check_effects(orders, books, daemon.state_dir / "tokd.db")
    finally:
        for event in rounds:
            event.set()
        daemon.kill()
        stage.close()


def wait_for_an_answer(senders: list[Sender]) -> None:
    known = sum(sender.book.replies for sender in senders)
    wait_until(lambda: sum(sender.book.replies for sender in senders) > known, 30, what="an answer")


def is_ready_or_dead(daemon: Daemon) -> bool:
    assert daemon.process is not None
    assert daemon.process.poll() is None, daemon.tail()
    return daemon.call_or_none("system/ping") is not None


def check_replies(books: list[Book]) -> None:
    """Every command has a final answer, and every repeat of it said the same."""
    for book in books:
        assert set(book.finals) == {order.id for order in book.orders}
        for order in book.orders:
            replies = book.finals[order.id]
            assert {reply["status"] for reply in replies} == {"done"}, replies
            if order.verb != "system/ping":
                assert len({json.dumps(reply["result"], sort_keys=True) for reply in replies}) == 1


def check_effects(orders: list[Order], books: list[Book], database: Path) -> None:
    """Read the database: one post for each order, moved and cancelled as often as was ordered."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        posts = connection.execute("SELECT command_id, id, state FROM post").fetchall()
        stored = connection.execute(
            "SELECT command_id, count(*) FROM command GROUP BY actor, command_id"
        ).fetchall()
        events = [
            json.loads(payload)
            for (payload,) in connection.execute("SELECT payload FROM outbox WHERE sequence IS NOT NULL")
        ]
        integrity = connection.execute("PRAGMA integrity_check").fetchall()
    assert integrity == [("ok",)]
    assert all(number == 1 for _, number in stored)
    scheduled = {order.id for order in orders if order.verb == "post/schedule"}
    assert Counter(command for command, _, _ in posts) == Counter(scheduled)
    answered = {
        reply["result"]["post"]
        for book in books
        for order in book.orders
        if order.verb == "post/schedule"
        for reply in book.finals[order.id]
    }
    assert answered == {post for _, post, _ in posts}
    for verb, kind in (("post/reschedule", "post.rescheduled"), ("post/cancel", "post.cancelled")):
        ordered = Counter(order.post_id for order in orders if order.verb == verb)
        assert (
            Counter(event["data"]["post"] for event in events if event["type"] == f"dev.tokd.{kind}")
            == ordered
        )
    cancelled = {order.post_id for order in orders if order.verb == "post/cancel"}
    assert {post for _, post, state in posts if state == "cancelled"} == cancelled
    sequences = sorted(int(event["sequence"]) for event in events)
    assert sequences == list(range(1, len(sequences) + 1))
