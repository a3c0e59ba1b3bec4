"""The daemon is ended at every named place of its pipeline, and started again; two ledgers say what came of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from daemon import failpoints
from tests.crash.ledgers import Books, Findings, Ordered
from tests.crash.stage import PATIENCE_S, Stage, insist, told, wait_online
from tests.daemons import Caller, Daemon
from tests.notes import note
from tests.waiting import wait_until

TWO_CHUNKS = 12_000_000
# An order for now that is cut off before its commit comes back as backlog, and would be refused without a deadline.
TTL_S = 300
TOKEN_POINTS = tuple(name for name in failpoints.NAMES if name.startswith("token."))
# Linking and unlinking have nothing to do with a post: tests/e2e/test_linking.py ends the process there.
LINK_POINTS = tuple(name for name in failpoints.NAMES if name.startswith(("link.", "unlink.")))
FILE_POINTS = tuple(name for name in failpoints.NAMES if name not in TOKEN_POINTS + LINK_POINTS)
PULL_POINTS = tuple(
    name for name in FILE_POINTS if name.startswith(("claim.", "attempt.", "init.", "status."))
)
# Where an account's access token must be renewed first; each has one of its own.
TOKEN_ACCOUNTS = tuple(f"owner-{number}" for number in range(1, 6))
# The passage that is met: events before the first upload has begun would not say much.
PASSAGES = {"outbox.before_send": 4, "outbox.after_send": 4, "outbox.before_mark": 3}
INITS = {"init.after_call": {2}}
# These come from another thread: the end may fall into the init call itself, whose answer is lost then, too.
ANYWHERE = {"outbox.before_send", "outbox.after_send", "outbox.before_mark"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("crash"), ("demo", *TOKEN_ACCOUNTS))
    yield stage
    stage.close()


@dataclass
class Outcome:
    """What is left of a run that was ended at one place and then went on."""

    state: str
    findings: Findings
    books: Books
    order: Ordered
    post: Any


@dataclass
class Run:
    """One order, one crash."""

    stage: Stage
    daemon: Daemon
    caller: Caller
    order: Ordered
    args: dict[str, Any]

    def crash(self, spec: str) -> None:
        self.daemon.start(spec, wait=False)
        wait_online(self.caller, self.daemon)
        self.caller.send("post/schedule", self.args, id=self.order.command, ttl_s=TTL_S)
        assert self.daemon.wait_dead(PATIENCE_S) == failpoints.EXIT_CODE, (
            f"{spec} was not met:\n{self.daemon.tail()}"
        )
        note({"failpoint": 1})

    def go_on(self, *kinds: str) -> dict[str, Any]:
        """Start again, insist on a reply to the order, wait for one of these events about its post."""
        self.daemon.start(wait=False)
        reply = insist(self.caller, "post/schedule", self.args, self.order.command, ttl_s=TTL_S)
        assert reply["status"] == "done", reply
        post = reply["result"]["post"]

        def look() -> dict[str, Any] | None:
            found = [event for event in told(self.caller, *kinds) if event["data"]["post"] == post]
            return found[0] if found else None

        return wait_until(look, PATIENCE_S, what=f"{kinds} of {post}:\n{self.daemon.tail(10)}")

    def finish(self) -> Outcome:
        """End the daemon in order, and read both ledgers."""
        self.daemon.wait_ready()  # what was waited for may have been heard before the crash
        assert self.daemon.stop() == 0, self.daemon.tail()
        books = Books(self.stage.simulator.ledger(), self.daemon.state_dir / "tokd.db")
        post = books.post_of(self.order)
        findings = books.check([self.order])
        self._check_heard(books)
        note(orders=1, inits=len(books.inits_of(self.order)), uncertain=len(findings.uncertain))
        return Outcome(post["state"] if post else "lost", findings, books, self.order, post)

    def _check_heard(self, books: Books) -> None:
        """Every event that was stored from this run on has been heard, and always under the same id."""
        heard: dict[str, set[str]] = {}
        for event in self.caller.events():
            heard.setdefault(event["sequence"], set()).add(event["id"])
        assert all(len(ids) == 1 for ids in heard.values())
        first = min(heard)
        stored = {event["sequence"] for event in books.events if event["sequence"] >= first}
        assert stored == set(heard)


@pytest.fixture
def run(stage: Stage, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """Order a file of two chunks, or an address where the test asks for one, for an account."""
    wish = getattr(request, "param", {})
    daemon = stage.daemon(tmp_path / "daemon")
    source: dict[str, Any]
    if "address" in wish:
        order = stage.address()
        source = {"url": order.url} if wish["address"] == "url" else {"photos": [order.url]}
    else:
        name, order = stage.clip(daemon, TWO_CHUNKS)
        source = {"media": name}
    args = {"account": wish.get("account", "demo"), "privacy": "SELF_ONLY", "at": "now"} | source
    caller = stage.caller(daemon)
    yield Run(stage, daemon, caller, order, args)
    caller.close()
    daemon.kill()


def asked(**wish: Any) -> Any:
    return pytest.mark.parametrize("run", [wish], indirect=True, ids=[""])


def spec_of(point: str) -> str:
    return f"{point}:kill@{PASSAGES.get(point, 1)}"


@pytest.mark.parametrize("point", FILE_POINTS)
def test_a_file_is_published_once_after_a_crash_at(point: str, run: Run) -> None:
    run.crash(spec_of(point))
    run.go_on("post.published")
    outcome = run.finish()
    assert outcome.findings.wrong == {}
    assert outcome.state == "published"
    assert outcome.findings.uncertain == []
    assert len(outcome.books.inits_of(run.order)) in ({1, 2} if point in ANYWHERE else INITS.get(point, {1}))


@pytest.mark.parametrize(
    ("first", "second", "inits"),
    [
        ("attempt.after_start", "init.after_commit", 1),
        ("init.after_call", "init.after_call", 3),
        ("upload.after_chunk", "commit.before_call", 1),
        ("commit.before_call", "commit.after_call", 1),
        ("commit.after_commit", "status.after_call", 1),
        ("inbox.after_commit", "inbox.before_commit", 1),
    ],
)
def test_a_file_is_published_once_after_a_second_crash_on_the_way_back(
    first: str, second: str, inits: int, run: Run
) -> None:
    run.crash(spec_of(first))
    run.crash(spec_of(second))
    run.go_on("post.published")
    outcome = run.finish()
    assert outcome.findings.wrong == {}
    assert outcome.findings.uncertain == []
    assert len(outcome.books.inits_of(run.order)) == inits


def test_a_status_read_that_a_crash_cut_off_is_made_anew_at_once(run: Run) -> None:
    run.crash(spec_of("status.before_call"))
    published = run.go_on("post.published")
    started = told(run.caller, "daemon.started")[-1]
    waited = datetime.fromisoformat(published["time"]) - datetime.fromisoformat(started["time"])
    assert waited.total_seconds() < 10
    assert run.finish().findings.wrong == {}


@pytest.mark.parametrize("point", PULL_POINTS)
@asked(address="url")
def test_a_pulled_post_is_never_begun_twice_after_a_crash_at(point: str, run: Run) -> None:
    check_that_nothing_is_begun_twice(point, run)


@pytest.mark.parametrize("point", ["init.before_call", "init.after_call", "init.after_commit"])
@asked(address="photos")
def test_photos_are_never_begun_twice_after_a_crash_at(point: str, run: Run) -> None:
    check_that_nothing_is_begun_twice(point, run)


def check_that_nothing_is_begun_twice(point: str, run: Run) -> None:
    unknowable = point in {"init.before_call", "init.after_call"}
    run.crash(spec_of(point))
    run.go_on("post.uncertain" if unknowable else "post.published")
    outcome = run.finish()
    assert outcome.findings.wrong == {}
    assert outcome.state == ("uncertain" if unknowable else "published")
    assert len(outcome.books.inits_of(run.order)) == (0 if point == "init.before_call" else 1)
    if unknowable:
        assert outcome.post["wake_at"] is None, "nothing may touch it any more by itself"


@pytest.mark.parametrize(
    ("run", "point"),
    [
        ({"account": TOKEN_ACCOUNTS[0]}, "token.before_refresh"),
        ({"account": TOKEN_ACCOUNTS[1]}, "token.after_commit"),
    ],
    indirect=["run"],
    ids=["before_refresh", "after_commit"],
)
def test_an_account_survives_a_crash_around_its_token_refresh(run: Run, point: str) -> None:
    run.stage.simulator.post("expire", {"user": run.args["account"], "what": "access"})
    run.crash(spec_of(point))
    run.go_on("post.published")
    outcome = run.finish()
    assert outcome.findings.wrong == {}
    assert outcome.books.account_events("account.needs_login") == []
    refreshed = [row for row in refreshes(run) if row["ok"]]
    assert len(refreshed) == 1
    assert len(outcome.books.inits_of(run.order)) == 1


@asked(account=TOKEN_ACCOUNTS[2])
def test_tokens_lost_between_answer_and_commit_hold_the_post_until_the_account_is_linked_again(
    run: Run,
) -> None:
    account = run.args["account"]
    run.stage.simulator.post("expire", {"user": account, "what": "access"})
    run.crash(spec_of("token.after_refresh"))
    held = run.go_on("post.held")
    assert held["data"]["reason"] == "account_needs_login"
    assert [event["data"]["account"] for event in told(run.caller, "account.needs_login")] == [account]
    assert [row["ok"] for row in refreshes(run)] == [True, False]

    run.daemon.link(run.stage.simulator, account)
    wait_until(lambda: told(run.caller, "post.published"), PATIENCE_S, what="published after the new login")
    outcome = run.finish()
    assert outcome.findings.wrong == {}
    assert len(outcome.books.inits_of(run.order)) == 1


@asked(account=TOKEN_ACCOUNTS[3])
def test_tokens_lost_between_answer_and_commit_are_fetched_again_where_the_old_ones_still_work(
    run: Run,
) -> None:
    run.stage.simulator.post("expire", {"user": run.args["account"], "what": "access"})
    run.stage.simulator.post("settings", {"refresh_rotation": "grace"})
    try:
        run.crash(spec_of("token.after_refresh"))
        run.go_on("post.published")
    finally:
        run.stage.simulator.post("settings", {"refresh_rotation": "on"})
    outcome = run.finish()
    assert outcome.findings.wrong == {}
    assert outcome.books.account_events("account.needs_login") == []


def refreshes(run: Run) -> list[dict[str, Any]]:
    ledger = run.stage.simulator.ledger()
    return [row for row in ledger["refreshes"] if row["account"] in {run.args["account"], None}]
