"""The core in this process, for tests: everything real between the ports, everything fake outside of them.

Real: the SqlStore on a SQLite file (or any URL), the CoreBus with its thread, the Intake, every handler, the
Jobs and the WorkerPool with their threads. Fake: platform, media, vault, ids, clock, timer, one publisher.

    with Core(tmp_path) as core:              # started, account "ada" linked unless link=False
        core.media.put("clip.mp4")            # 30 bytes, chunks of 10
        reply = core.schedule("clip.mp4", in_s=60)
        core.run_for(60)                      # virtual time: rings the timer at every armed date, waits until idle
        assert core.post(reply["result"]["post"]).state is State.PUBLISHED
        core.restart(clean=False)             # as after kill -9; clock, platform, media and file stay

At its end every reply, event and state that came out is held to the AsyncAPI document (tests/conformity.py).

Time never passes by itself: `run_for`/`run_until` move the clock from one armed date to the next. Nothing is ever
waited for by sleeping: `settle` returns when the bus queue is empty and no work is under way. A fake call that a test
holds (`core.platform.next("init", gate.wait)`) keeps the core from settling: use `wait_until` from tests/waiting.py.
"""

import functools
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy.engine import make_url

from adapters.storage.store import SqlStore
from adapters.tokens import TokenGate
from daemon.bus import CoreBus
from daemon.domain.account import Account
from daemon.domain.events import as_json
from daemon.domain.figures import Figures
from daemon.domain.gates import Gates
from daemon.domain.ids import AccountName, NodeName, PostId
from daemon.domain.policy import Policy
from daemon.domain.post import Attempt, Post
from daemon.domain.reports import ClockTicked, DaemonStarted, DaemonStopping, SweepDue
from daemon.domain.safe_mode import SafeMode
from daemon.domain.session import BrowserEnded, EndReason
from daemon.domain.wire import read_request
from daemon.domain.work import Browse, Work
from daemon.handlers.context import Rules
from daemon.jobs.fetch import FetchJobs
from daemon.jobs.run import Jobs
from daemon.jobs.sessions import LiveSessions, SessionJobs
from daemon.jobs.tokens import TokenDesk
from daemon.jobs.tools import Tools
from daemon.ports import Introducer
from daemon.worker import WorkerPool
from tests.conformity import all_faults
from tests.fakes.browser import FakeBrowser, FakePictures, FakeProfiles
from tests.fakes.clock import CountedIds, FakeClock, ManualTimer
from tests.fakes.media import FakeMedia
from tests.fakes.platform import FakePlatform
from tests.fakes.publisher import FakePublisher
from tests.fakes.vault import FakeVault

DEADLINE_S = 20.0
GATES = Gates(burst=1_000_000)  # virtual time refills no bucket
_MEMORY = Path("/dev/shm")
_ROOM = 32_000_000  # a ledger and its log are smaller by far
POLICY = Policy(chunk_delays_s=(0.001, 0.001, 0.001))  # these waits are in real time


class Call:
    """One message to the core and the replies that came for it."""

    def __init__(self) -> None:
        self.replies: list[dict[str, Any]] = []
        self.settled = 0
        self._changed = threading.Condition()

    def _answer(self, reply: dict[str, Any]) -> None:
        with self._changed:
            self.replies.append(reply)
            self._changed.notify_all()

    def _settle(self) -> None:
        with self._changed:
            self.settled += 1
            self._changed.notify_all()

    def first(self) -> dict[str, Any]:
        """Return the first reply, final or not."""
        return self._wait(lambda: self.replies[0] if self.replies else None)

    def final(self) -> dict[str, Any]:
        """Return the final reply."""
        return self._wait(lambda: next((reply for reply in self.replies if reply["final"]), None))

    def _wait(self, look: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        end = time.monotonic() + DEADLINE_S
        with self._changed:
            while (found := look()) is None:
                assert time.monotonic() < end, f"no such reply in time; there are {self.replies}"
                self._changed.wait(0.1)
        return found


@functools.cache
def _empty_ledger() -> bytes:
    """Return a SQLite file with the schema and no row, made once by the migrations: they cost a tenth of a second."""
    with tempfile.TemporaryDirectory(prefix="tokd-ledger-") as folder:
        path = Path(folder) / "tokd.db"
        store = SqlStore(f"sqlite:///{path}", NodeName("main"))
        store.open()
        store.close()
        return path.read_bytes()


class Deaths:
    """Implements ports.Supervisor: remembers which part died of what."""

    def __init__(self) -> None:
        self.found: list[tuple[str, BaseException]] = []

    def died(self, part: str, error: BaseException) -> None:
        self.found.append((part, error))


class _Business:
    """Counts what is queued on the bus and what is in the workers' hands."""

    def __init__(self) -> None:
        self._open = 0
        self._changed = threading.Condition()

    def more(self, count: int = 1) -> None:
        with self._changed:
            self._open += count
            self._changed.notify_all()

    def wait_for_none(self, deaths: Deaths) -> None:
        end = time.monotonic() + DEADLINE_S
        with self._changed:
            while self._open > 0:
                assert not deaths.found, f"a thread has died: {deaths.found}"
                assert time.monotonic() < end, f"the core does not settle: {self._open} things are open"
                self._changed.wait(0.1)


class _CountedQueue:
    """The bus's queue, with a count of what has been put and is not worked off."""

    def __init__(self, inner: Any, business: _Business) -> None:
        self._inner = inner
        self._business = business
        self.taken = 0

    def put(self, item: object) -> None:
        self._business.more()
        self._inner.put(item)

    def get(self, timeout: float | None = None) -> Any:
        item = self._inner.get(timeout=timeout)
        self.taken += 1
        return item

    def get_nowait(self) -> Any:
        item = self._inner.get_nowait()
        self.taken += 1
        return item


class WatchedBus(CoreBus):
    """The real bus; it only counts its turns, so that a test can tell when there is nothing left to do."""

    def watch(self, business: _Business) -> None:
        self._business = business
        self._queue = self._counted = _CountedQueue(self._queue, business)  # type: ignore[assignment]

    def _take_turn(self) -> bool:
        goes_on = super()._take_turn()
        self._business.more(-self._counted.taken)
        self._counted.taken = 0
        return goes_on


class Core:
    """See the module's docstring. Use as a context manager, or call `start` and `stop`."""

    def __init__(
        self,
        folder: Path,
        *,
        url: str | None = None,
        node: str = "main",
        policy: Policy = POLICY,
        workers: int = 2,
        has_broker: bool = False,
        link: bool = True,
        clock: FakeClock | None = None,
        platform: FakePlatform | None = None,
        media: FakeMedia | None = None,
        vault: FakeVault | None = None,
        ids: CountedIds | None = None,
        random: Callable[[], float] = lambda: 1.0,
        gates: Gates = GATES,
        fetches: Callable[[Tools], FetchJobs] | None = None,
        introducer: Introducer | None = None,
        publishes_pictures: bool = False,
    ) -> None:
        self._lay_down_ledger: Callable[[], None] = lambda: None
        self.url = url or f"sqlite:///{self._ledger_of(folder)}"
        self.node = NodeName(node)
        self.policy = policy
        self.clock = clock or FakeClock()
        self.platform = platform or FakePlatform(self.clock)
        self.media = media or FakeMedia()
        self.vault = vault or FakeVault()
        self.ids = ids or CountedIds()
        self.profiles = FakeProfiles()
        self.browser = FakeBrowser()
        self.pictures = FakePictures()
        self.timer = ManualTimer()
        self.publisher = FakePublisher()
        self.figures = Figures()
        self.gate_folder = folder
        self.gate = TokenGate(folder / "secrets" / "jwt.key")
        self.deaths = Deaths()
        self.has_broker = has_broker
        self._random = random
        self._gates = gates
        self._fetches = fetches
        self._introducer = introducer
        self._publishes_pictures = publishes_pictures
        self._workers = workers
        self._link = link
        self.safe_mode: SafeMode | None = None  # why the next start is one
        self._is_running = False
        self._names = 0
        self._calls: list[Call] = []
        self.told: list[dict[str, Any]] = []  # every event, once it has been stopped

    def _ledger_of(self, home: Path) -> Path:
        """Return the ledger that lies there, or put an empty one into memory, where a commit waits for no disk.

        At the end it is laid down there, for a core that comes after this one.
        """
        if (home / "tokd.db").exists():
            return home / "tokd.db"
        is_there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
        folder = Path(tempfile.mkdtemp(prefix="tokd-core-", dir=_MEMORY if is_there else None))
        forget = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

        def lay_down() -> None:
            if forget.alive:
                shutil.copytree(folder, home, dirs_exist_ok=True)
                forget()

        self._lay_down_ledger = lay_down
        path = folder / "tokd.db"
        path.write_bytes(_empty_ledger())
        return path

    def stored(self) -> bytes:
        """Return all bytes on disk of the stopped core: its ledger and what lies beside it. SQLite only."""
        assert not self._is_running, "what is not written yet would be missed"
        ledger = Path(str(make_url(self.url).database)).parent
        folders = {ledger, self.gate_folder}
        return b"".join(
            path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()
        )

    # -- life --------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        if self._link:
            self.link()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        self._lay_down_ledger()

    def start(self) -> None:
        """Start the bus, recover, start the workers: what the composition root does, in its order."""
        self.stopping = threading.Event()
        self.business = _Business()
        self.timer.at = None  # an alarm dies with its process
        rules = Rules(
            node=self.node, boot=self.ids.boot(), version="0.0.0", started_at=self.clock.now(),
            policy=self.policy, platforms={"tiktok": self.platform}, media=self.media, vault=self.vault,
            ids=self.ids, random=self._random, health=dict, has_broker=self.has_broker, gate=self.gate,
            figures=self.figures,
            gates=self._gates,
            introducer=self._introducer,
            safe_mode=self.safe_mode,
        )  # fmt: skip
        store = SqlStore(self.url, self.node, has_broker=self.has_broker, figures=self.figures)
        self.bus = WatchedBus(store, self.clock, self.timer, rules, self.deaths, self._start_work)
        self.bus.watch(self.business)
        if self.has_broker:
            self.bus.add_publisher(self.publisher)
        tokens = TokenDesk(self.bus, self.vault, self.clock, self.policy.refresh_margin_s, self.stopping)
        tools = Tools(
            bus=self.bus, clock=self.clock, vault=self.vault, media=self.media, tokens=tokens,
            policy=self.policy, stopping=self.stopping, figures=self.figures,
        )  # fmt: skip
        self.live = LiveSessions()
        sessions = SessionJobs(
            tools=tools,
            profiles=self.profiles,
            browser=self.browser,
            live=self.live,
            pictures=self.pictures,
            publishes_pictures=self._publishes_pictures,
        )
        fetches = self._fetches(tools) if self._fetches is not None else None
        self.jobs = Jobs(tools=tools, platforms=rules.platforms, sessions=sessions, fetches=fetches)
        self.pool = WorkerPool(
            self._workers, self.jobs.run, self._work_ended, self.deaths, self.policy.sessions.max_concurrent
        )
        self.bus.start()
        self._is_running = True
        self.bus.ask(DaemonStarted())
        self.pool.start()
        self.timer.start(lambda: self.bus.tell(ClockTicked()), lambda: self.bus.tell(SweepDue()))

    def stop(self, *, clean: bool = True) -> None:
        """Stop; `clean=False` leaves the mark of a clean stop out, as a kill does. Safe twice."""
        if not self._is_running:
            return
        self._is_running = False
        self.stopping.set()
        self.timer.stop()
        assert self.live.close_all(DEADLINE_S)
        assert self.pool.stop(DEADLINE_S), "a worker does not end: is a gate of the test still shut?"
        if clean and not self.deaths.found:
            self.bus.ask(DaemonStopping())
        is_over = self.deaths.found or not self.bus._thread.is_alive()  # nobody can be asked then
        faults = [] if is_over else self._faults()
        assert self.bus.stop(DEADLINE_S)
        assert not faults, "\n".join(faults)

    def _faults(self) -> list[str]:
        self.told = self.events()
        return all_faults(self.heard, self.told, self.kept)

    @property
    def heard(self) -> list[dict[str, Any]]:
        """Return every reply that has come."""
        return [reply for call in self._calls for reply in call.replies]

    @property
    def kept(self) -> list[tuple[str, str]]:
        """Return every retained state that was offered: what stands below `state/`, and the payload."""
        return [
            (message.address, message.payload)
            for message in self.publisher.offered
            if message.kind == "state"
        ]

    def die(self) -> None:
        """End as a kill does: nothing is reported, no session is closed; what the workers held is lost."""
        self._is_running = False
        self.stopping.set()
        self.timer.stop()
        assert self.bus.stop(DEADLINE_S)
        self.browser.gate.set()
        for browser in self.browser.opened:
            browser.tell(BrowserEnded(reason=EndReason.CRASHED))
        assert self.pool.stop(DEADLINE_S)
        self.browser.opened.clear()

    def restart(self, *, clean: bool = True) -> None:
        """Stop and start again on the same file; whatever was queued or under way is gone."""
        self.stop(clean=clean)
        self.deaths.found.clear()
        self.start()

    def _start_work(self, work: Work) -> None:
        if not isinstance(work, Browse):  # a session lasts; nobody waits for its end to settle
            self.business.more()
        self.pool.put(work)

    def _work_ended(self, work: Work) -> None:
        self.bus.work_ended(work)
        if not isinstance(work, Browse):
            self.business.more(-1)

    # -- time --------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until the bus has nothing queued and no work is under way."""
        self.business.wait_for_none(self.deaths)

    def tick(self) -> None:
        """Ring the timer now, and settle."""
        self.timer.ring()
        self.settle()

    def sweep(self) -> None:
        """Let the housekeeping come, and settle."""
        self.timer.sweep()
        self.settle()

    def run_for(self, duration: timedelta | float) -> None:
        """Let virtual time pass."""
        found = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
        self.run_until(self.clock.now() + found)

    def run_until(self, end: datetime) -> None:
        """Let virtual time pass: stop at every date the core has armed, ring, settle."""
        self.settle()
        while (at := self.timer.at) is not None and at <= end:
            before = self.clock.now()
            self.clock.advance_to(at)
            self.tick()
            if self.timer.at == at:
                assert self.clock.now() > before, f"the timer is armed for {at} again and again"
                self.clock.advance(timedelta(microseconds=1))
        self.clock.advance_to(end)
        self.tick()

    # -- commands ----------------------------------------------------------------------------------------

    def submit(
        self, verb: str, args: object = None, *, id: str | None = None, actor: str = "me",  # noqa: A002
        is_local: bool = False, transport: str = "test", is_backlog: bool = False, **envelope: Any,
    ) -> Call:  # fmt: skip
        """Send a command; `id=None` invents one, `id=""` sends none."""
        call = Call()
        if id is None:
            self._names += 1
            id = f"c-{self._names}"  # noqa: A001
        body = ({"id": id} if id else {}) | {"args": args or {}} | envelope
        request, _ = read_request(
            actor=actor, verb=verb, raw=as_json(body).encode(), transport=transport, received_at=self.clock.now(),
            is_local=is_local, settle=call._settle, answer=call._answer,
        )  # fmt: skip
        self._calls.append(call)
        self.bus.submit(replace(request, is_backlog=is_backlog))
        return call

    def send(self, verb: str, args: object = None, **more: Any) -> dict[str, Any]:
        """Send a command and return its final reply."""
        return self.submit(verb, args, **more).final()

    def do(self, verb: str, args: object = None, **more: Any) -> dict[str, Any]:
        """Send a command that must be done; return its result."""
        reply = self.send(verb, args, **more)
        assert reply["status"] == "done", reply
        return reply["result"]

    def refusal(self, verb: str, args: object = None, **more: Any) -> dict[str, Any]:
        """Send a command that must be refused; return its error."""
        reply = self.send(verb, args, **more)
        assert "error" in reply, reply
        return reply["error"]

    def link(self, name: str = "ada", **changes: Any) -> dict[str, Any]:
        """Link an account with tokens that work for a day."""
        tokens = {"access_token": "access-0", "refresh_token": "refresh-0", "open_id": f"open-{name}"}
        found = self.do("account/import", {"account": name} | tokens | changes, is_local=True)
        self.settle()
        return found

    def schedule(
        self, media: str | None = "clip.mp4", *, in_s: float = 60, account: str = "ada", id: str | None = None,  # noqa: A002
        **args: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Schedule a private post and return its final reply."""
        at = (self.clock.now() + timedelta(seconds=in_s)).isoformat()
        found = {"account": account, "at": at, "privacy": "SELF_ONLY"} | ({"media": media} if media else {})
        return self.send("post/schedule", found | args, id=id)

    def scheduled(self, media: str | None = "clip.mp4", **more: Any) -> PostId:
        """Schedule a private post that must be taken; return its id."""
        reply = self.schedule(media, **more)
        assert reply["status"] == "done", reply
        return PostId(reply["result"]["post"])

    # -- looking -----------------------------------------------------------------------------------------

    def post(self, post_id: str) -> Post:
        """Return a post as it stands."""
        found = self.bus.read(lambda unit: unit.post(PostId(post_id)))
        assert found is not None, f"there is no post {post_id}"
        return found

    def posts(self) -> list[Post]:
        """Return all posts, newest first (at most 1,000)."""
        return self.bus.read(lambda unit: unit.posts(None, None, None, 1000))[0]

    def attempts(self, post_id: str) -> list[Attempt]:
        """Return the attempts of a post."""
        return self.bus.read(lambda unit: unit.attempts(PostId(post_id)))

    def account(self, name: str = "ada") -> Account:
        """Return an account as it stands."""
        found = self.bus.read(lambda unit: unit.account(AccountName(name)))
        assert found is not None, f"there is no account {name}"
        return found

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return all events so far, or those of these types (without `dev.tokd.`)."""
        found = self.bus.read(lambda unit: unit.events_after(0, 10_000))
        return [event for event in found if not kinds or event["type"].removeprefix("dev.tokd.") in kinds]

    def event_types(self, subject: str | None = None) -> list[str]:
        """Return the types of the events, of one subject if it is given, in order."""
        return [
            event["type"].removeprefix("dev.tokd.")
            for event in self.events()
            if subject is None or event["subject"] == subject
        ]

    def write(self, change: Callable[[Any], Any]) -> Any:
        """Run a change of the ledger in the bus thread and commit it: to set a scene."""
        return self.bus.read(change)

    def ask_all(self, reports: Iterable[object]) -> list[Any]:
        """Ask one report after the other; return the answers."""
        return [self.bus.ask(report) for report in reports]
