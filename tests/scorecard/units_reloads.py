"""E6: the installed unit reads its settings again, good ones and bad ones, while orders come through every door."""

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter

from tests.crash.stage import PREFIX, wait_or_none
from tests.daemons import Caller
from tests.scorecard.row import Task
from tests.scorecard.units import installed
from tests.scorecard.units_ends import BAD, NAMED
from tests.systemd.stage import CONFIG, Stage
from tests.waiting import wait_until

PORT = 8766
EACH_S = 0.03  # between two orders
SAID_WITHIN_S = 20.0
# What is appended to the settings, and what the journal must then say.
GOOD = {
    "": "reloaded; log.level is info",
    '\n[log]\nlevel = "warning"\n': "reloaded; log.level is warning",
    "\n[posts]\nkeep_days = 31\n": "reloaded; these need a restart to count: posts.keep_days",
}
KEPT = "not reloaded, for the mistakes above; the old settings stay in use"


class Load:
    """Orders over MQTT, one after the other, and a listener at the stream of events over HTTP."""

    def __init__(self, stage: Stage, password: str, token: str) -> None:
        self.stage = stage
        self.caller = Caller(1883, "load", username="load", password=password)
        self.sent: list[str] = []
        self.heard: list[int] = []
        self.cut = ""  # why the stream ended, if it did
        self._over = threading.Event()
        self._stream = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        self._stream.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {token}"})
        self._answer = self._stream.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._order, self._listen)]
        for thread in self._threads:
            thread.start()

    def _order(self) -> None:
        while not self._over.wait(EACH_S):
            name = f"load-{time.monotonic_ns()}"
            args = {
                "account": "demo",
                "privacy": "SELF_ONLY",
                "url": f"{PREFIX}{name}.mp4",
                "at": "2099-01-01T00:00:00Z",
            }
            self.sent.append(name)
            self.caller.send("post/schedule", args, id=name)

    def _listen(self) -> None:
        try:
            for line in self._answer:
                if line.startswith(b"id:"):
                    self.heard.append(int(line.partition(b":")[2]))
            why = "it ended"
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
        if not self._over.is_set():
            self.cut = why

    def unanswered(self) -> list[str]:
        done = {
            reply["id"] for reply in list(self.caller.replies) if reply["final"] and reply["status"] == "done"
        }
        return [name for name in self.sent if name not in done]

    def end(self) -> None:
        """Order nothing more, and wait for the answers that are on their way."""
        self._over.set()
        self._threads[0].join(10)
        wait_or_none(lambda: not self.unanswered(), 30)

    def close(self) -> None:
        self._over.set()
        if self._stream.sock is not None:
            self._stream.sock.shutdown(socket.SHUT_RDWR)  # the listener reads its end
        self._threads[1].join(10)
        self._stream.close()
        self.caller.close()


def reloads(task: Task) -> None:
    """E6. Good and bad settings in turn; every order is answered and in the ledger once, no connection is cut."""
    with installed(task) as stage:
        password = stage.let_in("load")
        stage.change(http__port=str(PORT))
        stage.start()
        token = stage.tokd("token", "issue", "--user", "load").strip()
        wait_until(
            lambda: stage.daemon.call("system/health")["result"]["parts"]["mqtt"]["ok"], 30, 0.2, what="MQTT"
        )
        load = Load(stage, password, token)
        try:
            main, since = stage.main(), _connection(stage)
            _reload_often(task, stage, main)
            load.end()
            _check(task, stage, load, main, since)
        finally:
            load.close()


def _connection(stage: Stage) -> object:
    return stage.daemon.call("system/health")["result"]["parts"]["mqtt"]["since"]


def _reload_often(task: Task, stage: Stage, main: int) -> None:
    chance, took = random.Random(task.seed), []
    with stage.config() as before:
        for number in range(task.count):
            if task.is_over():
                break
            is_good = number % 2 == 0
            mistake = chance.choice(sorted(BAD))
            text = chance.choice(sorted(GOOD)) if is_good else BAD[mistake]
            wait_or_none(lambda: False, chance.uniform(0.1, 0.6))
            stage.write(CONFIG, before + text)
            told, at = stage.words_of(main), time.monotonic()
            stage.run("systemctl", "reload", "tokd")
            wanted = GOOD[text] if is_good else KEPT
            said = (
                wait_or_none(lambda told=told: _verdict(stage.words_of(main)[len(told) :]), SAID_WITHIN_S)
                or ""
            )
            took.append(time.monotonic() - at)
            task.tally.faults["good reload" if is_good else "bad reload"] += 1
            if wanted not in said:
                task.tally.wrong.append(f"after {text!r} the journal says {said!r}, not {wanted!r}")
            if not is_good and NAMED[mistake] not in said:
                task.tally.wrong.append(f"the mistake in {mistake} is not named: {said!r}")
            seen = stage.seen()
            if (seen.main, seen.state) != (main, "active") and wait_or_none(
                lambda: _is_well(stage, main), 10
            ) is None:
                task.tally.wrong.append(f"after {text!r}: {stage.seen()}")
            task.say(f"{number + 1} of {task.count}")
    stage.run("systemctl", "reload", "tokd")
    if took:
        task.tally.figures["a reload, until the journal tells (s)"] = f"at most {max(took):.1f}"


def _verdict(words: str) -> str:
    """Return the words, once what became of the reload is among them."""
    return words if "reloaded; " in words or KEPT in words else ""


def _is_well(stage: Stage, main: int) -> bool:
    seen = stage.seen()
    return (seen.main, seen.state) == (main, "active")


def _check(task: Task, stage: Stage, load: Load, main: int, since: object) -> None:
    tally, lost = task.tally, load.unanswered()
    tally.orders = len(load.sent)
    rows = Counter(
        name for (name,) in stage.daemon.rows("SELECT command_id FROM post WHERE command_id LIKE 'load-%'")
    )
    tally.lost = len({*lost, *(name for name in load.sent if not rows[name])})
    tally.doubled = sum(1 for count in rows.values() if count > 1)
    tally.wrong += [f"{name} has no good answer" for name in lost[:5]]
    if stage.main() != main:
        tally.wrong.append("it is another process now")
    if _connection(stage) != since:
        tally.wrong.append("the connection to the broker is another one now")
    if any(
        topic.endswith("/availability") and text != b"online" for topic, text, _ in list(load.caller.messages)
    ):
        tally.wrong.append("it has said that it is away")
    if load.cut:
        tally.wrong.append(f"the stream of events was cut: {load.cut}")
    heard = sorted(set(load.heard))
    if not heard or heard != list(range(heard[0], heard[-1] + 1)):
        tally.wrong.append(
            f"the stream of events has holes: {len(heard)} of {json.dumps(heard[:1] + heard[-1:])}"
        )
    tally.figures["events over HTTP"] = str(len(heard))
