"""Orders, kills, jumps of the clock and faults of the platform in any order that hypothesis can think of."""

import itertools
import json
import os
import tempfile
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.domain.errors import Fault, PlatformError
from daemon.domain.post import Attempt, Post, State
from tests.core import Core
from tests.fakes.platform import After
from tests.notes import note

RUNS = int(os.environ.get("TOKD_MODEL_RUNS", "5"))
STEPS = int(os.environ.get("TOKD_MODEL_STEPS", "12"))
OPEN = {
    State.CLAIMED,
    State.VALIDATING,
    State.INITIALISED,
    State.UPLOADING,
    State.COMMITTING,
    State.PROCESSING,
}
OUT = {State.PUBLISHED, State.SENT_TO_INBOX}
MAY_STAY = {*OUT, State.FAILED, State.CANCELLED, State.HELD, State.UNCERTAIN}
URL = "https://media.example/a.mp4"
# Where a call can go wrong, and whether what was asked has happened all the same.
FAULTS = {
    "refused": lambda: PlatformError(Fault.TRANSIENT, "connection_refused", "nobody listens"),
    "dropped": lambda: PlatformError(Fault.UNKNOWN_OUTCOME, "read_timeout", "no answer"),
    "lost": lambda: After(PlatformError(Fault.UNKNOWN_OUTCOME, "read_timeout", "no answer")),
}
CALLS = ("creator", "init", "send_chunk", "status")


class AnyOrder(RuleBasedStateMachine):
    """The model is the platform's own ledger: what was posted there, against what the daemon says."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="tokd-model-")
        self.core = Core(Path(self._folder.name))
        self.core.start()
        self.core.link()
        self.numbers = itertools.count(1)
        self.titles: dict[str, str] = {}  # of each post that was promised
        self.heard = 0  # the number of the newest event that was looked at
        self.pulled: set[str] = set()  # titles whose init publishes

    def teardown(self) -> None:
        try:
            self.core.platform.script.clear()
            self.core.run_for(timedelta(days=2))
            self.check(is_end=True)
        finally:
            self.core.stop()
            self._folder.cleanup()

    @rule(in_s=st.sampled_from([0, 30, 600, 7200]), is_pulled=st.booleans(), sent=st.integers(1, 3))
    def order(self, in_s: int, is_pulled: bool, sent: int) -> None:
        title = f"post {next(self.numbers)}"
        # Every order is of its own file: the same one twice would be refused.
        how = {"url": f"{URL}?{title[5:]}"} if is_pulled else {"media": f"{title[5:]}.mp4"}
        if not is_pulled:
            self.core.media.put(how["media"], content=title.encode().ljust(30, b"."))
        at = (self.core.clock.now() + timedelta(seconds=in_s)).isoformat()
        args = {"account": "ada", "at": at, "privacy": "SELF_ONLY", "title": title, **how}
        posts = set()
        for _ in range(sent):
            reply = self.core.send("post/schedule", args, id=title.replace(" ", "-"))
            assert reply["status"] == "done", reply
            posts.add(reply["result"]["post"])
        assert len(posts) == 1, "one order made two posts"
        self.titles[posts.pop()] = title
        if is_pulled:
            self.pulled.add(title)

    @precondition(lambda self: self.titles)
    @rule(data=st.data(), verb=st.sampled_from(["cancel", "publish_now", "reschedule"]))
    def move(self, data: st.DataObject, verb: str) -> None:
        post = data.draw(st.sampled_from(sorted(self.titles)))
        args = {"post": post}
        if verb == "reschedule":
            args["at"] = (self.core.clock.now() + timedelta(minutes=10)).isoformat()
        self.core.send(f"post/{verb}", args)  # what cannot be is refused, which is an answer, too

    @rule(seconds=st.sampled_from([1, 20, 400, 4000, 90_000]))
    def pass_time(self, seconds: int) -> None:
        self.core.run_for(seconds)

    @rule(seconds=st.sampled_from([-7200, -1, 1, 7200, 3_456_000]))
    def set_the_clock(self, seconds: int) -> None:
        self.core.clock.step(timedelta(seconds=seconds))
        self.core.tick()
        note({"model: clock jump": 1})

    @rule(is_clean=st.booleans())
    def restart(self, is_clean: bool) -> None:
        if is_clean:
            self.core.restart()
        else:
            self.core.die()
            self.core.start()
            note({"model: process end": 1})
        self.core.settle()

    @rule(call=st.sampled_from(CALLS), fault=st.sampled_from(sorted(FAULTS)), times=st.integers(1, 3))
    def break_calls(self, call: str, fault: str, times: int) -> None:
        self.core.platform.next(call, *(FAULTS[fault]() for _ in range(times)))
        note({"model: platform fault": times})

    @invariant()
    def hold(self) -> None:
        with suppress(AttributeError):  # before the first rule
            self.core.settle()
        self.check()

    def check(self, *, is_end: bool = False) -> None:
        found_posts, attempts_of, events = self.core.write(self._read)
        posts = {str(post.id): post for post in found_posts}
        assert set(posts) == set(self.titles), "a promised post is lost, or one was made that nobody ordered"
        inits = Counter(json.loads(r.body)["title"] for name, r in self.core.platform.calls if name == "init")
        for post, title in self.titles.items():
            found = posts[post]
            attempts = attempts_of[post]
            out = [
                upload for upload in self.core.platform.published()
                if upload.publish_id in {attempt.publish_id for attempt in attempts}
            ]  # fmt: skip
            assert len(out) <= 1, f"{title} is out {len(out)} times"
            if found.state in OUT:
                assert len(out) == 1, f"{title} is {found.state}, and the platform has not got it"
            if title in self.pulled and found.state is State.UNCERTAIN:
                assert inits[title] >= 1
            if found.state is State.CANCELLED:
                assert not out, f"{title} was cancelled, and is out"
            if is_end:
                assert found.state in MAY_STAY, f"{title} is {found.state} for ever"
        numbers = [int(event["sequence"]) for event in events]
        assert numbers == list(range(self.heard + 1, self.heard + 1 + len(numbers))), "the events have a hole"
        self.heard += len(numbers)

    def _read(self, unit: Any) -> tuple[list[Post], dict[str, list[Attempt]], list[dict[str, Any]]]:
        """Read all posts and attempts, and the events that are new, in one turn of the bus: it is taken at each step."""
        posts, _ = unit.posts(None, None, None, 1000)
        attempts = {str(post.id): unit.attempts(post.id) for post in posts}
        return posts, attempts, unit.events_after(self.heard, 10_000)


AnyOrder.TestCase.settings = settings(
    max_examples=RUNS, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck),
    database=None, derandomize="TOKD_SEED" not in os.environ,
)  # fmt: skip


class TestAnyOrder(AnyOrder.TestCase):
    """Found by pytest; the machine above is what it runs."""
