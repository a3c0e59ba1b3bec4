"""Due → claimed: how late a post is taken in hand, against APScheduler's memory store in the same run."""

import random
import tempfile
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from adapters.scheduler.clock import RandomIds, SystemClock
from adapters.scheduler.timer import ApschedulerTimer
from adapters.storage import rows
from adapters.storage.statements import POST
from adapters.storage.store import SqlStore
from daemon.bus import CoreBus
from daemon.domain.account import Account, Login
from daemon.domain.ids import AccountName, NodeName, PostId
from daemon.domain.policy import Policy
from daemon.domain.post import Consent, Description, Kind, LateRule, Mode, Post, Source, State
from daemon.domain.reports import ClockTicked
from daemon.domain.work import Deliver, Work
from daemon.handlers.context import Rules
from tests.bench.report import p50, quantile, tell

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bench:
    """The real bus, store and timer; the work is only noted."""

    def __init__(self, folder: Path, waiting: int, accounts: int) -> None:
        self.taken: dict[str, float] = {}
        self.done = threading.Event()
        self.expected = 0
        self.clock = SystemClock()
        self.store = SqlStore(f"sqlite:///{folder}/bench.db", NodeName("main"), has_broker=True)
        self.timer = ApschedulerTimer()
        rules = Rules(
            node=NodeName("main"),
            boot="bench",
            version="0",
            started_at=self.clock.now(),
            policy=Policy(claim_ahead=100_000),
            platforms={},
            media=None,
            vault=None,
            ids=RandomIds(),
            random=random.random,
            health=dict,
            has_broker=True,  # type: ignore[arg-type]
        )
        self.bus = CoreBus(self.store, self.clock, self.timer, rules, self, self.take)  # type: ignore[arg-type]
        self.bus.start()
        now = self.clock.now()
        self.bus.read(lambda unit: [unit.save_account(an_account(n, now)) for n in range(accounts)])
        far = now + timedelta(days=30)
        for start in range(0, waiting, 5000):
            self.seed(
                [a_post(f"w{start + n}", start + n, far, now) for n in range(min(5000, waiting - start))]
            )
        self.timer.start(lambda: self.bus.tell(ClockTicked()), lambda: None)

    def died(self, part: str, error: BaseException) -> None:
        raise SystemExit(f"{part} died: {error}")

    def take(self, work: Work) -> None:
        if isinstance(work, Deliver):
            self.taken[work.post] = time.time()
            self.bus.work_ended(work)
            if len(self.taken) >= self.expected:
                self.done.set()

    def seed(self, posts: list[Post]) -> None:
        values = [rows.post_values(post) for post in posts]
        self.bus.read(lambda unit: unit._db.execute(POST.insert(), values))

    def run(self, posts: list[Post]) -> list[float]:
        """Return each post's lateness in milliseconds."""
        self.taken.clear()
        self.done.clear()
        self.expected = len(posts)
        self.seed(posts)
        self.bus.tell(ClockTicked())
        if not self.done.wait(60):
            raise SystemExit(f"only {len(self.taken)} of {len(posts)} were claimed")
        due = {post.id: (post.due_at - EPOCH).total_seconds() for post in posts if post.due_at}
        return [(self.taken[key] - at) * 1000 for key, at in due.items()]

    def close(self) -> None:
        self.timer.stop()
        self.bus.stop(10)


def an_account(number: int, now: datetime) -> Account:
    return Account(
        name=AccountName(f"a{number}"),
        platform="tiktok",
        open_id=f"o{number}",
        scopes=(),
        access_token="",
        refresh_token="",
        access_expires_at=now + timedelta(days=1),
        refresh_expires_at=now + timedelta(days=300),
        login=Login.OK,
        linked_at=now,
    )


def a_post(key: str, number: int, due_at: datetime, now: datetime) -> Post:
    return Post(
        id=PostId(f"p_{key}"),
        node=NodeName("main"),
        account=AccountName(f"a{number % 1000}"),
        platform="tiktok",
        mode=Mode.DIRECT,
        kind=Kind.VIDEO,
        source=Source.FILE,
        media=("clip.mp4",),
        facts=None,
        description=Description(privacy="SELF_ONLY"),
        consent=Consent(who="me", actor="me", at="", through="bench"),
        due_at=due_at,
        zone="UTC",
        late_rule=LateRule.HOLD,
        late_after_s=3600,
        state=State.SCHEDULED,
        state_since=now,
        created_at=now,
        command_id="",
        wake_at=due_at,
    )


def _apscheduler_burst(count: int, at: datetime) -> list[float]:
    late: list[float] = []
    done = threading.Event()

    def job() -> None:
        late.append((time.time() - (at - EPOCH).total_seconds()) * 1000)
        if len(late) == count:
            done.set()

    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(10)},
        timezone=UTC,
        job_defaults={"misfire_grace_time": None, "coalesce": True},
    )
    scheduler.start()
    for _ in range(count):
        scheduler.add_job(job, "date", run_date=at)
    done.wait(60)
    threading.Event().wait(0.05)  # it removes its jobs after they ran
    scheduler.shutdown()
    return late


def main() -> None:
    """Print the lateness of lone posts and of a burst, with and without a long schedule."""
    burst_floor = _apscheduler_burst(1000, datetime.now(UTC) + timedelta(seconds=3))
    lone_floor: list[float] = []
    for _ in range(30):
        lone_floor += _apscheduler_burst(1, datetime.now(UTC) + timedelta(milliseconds=80))
    for waiting in (0, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), waiting, 1000)
            lone: list[float] = []
            for turn in range(200):
                now = bench.clock.now()
                lone += bench.run([a_post(f"l{turn}", turn, now + timedelta(milliseconds=60), now)])
                bench.bus.read(
                    lambda unit: unit._db.exec_driver_sql(
                        "UPDATE post SET state='cancelled', wake_at=NULL WHERE state='claimed'"
                    )
                )
            now = bench.clock.now()
            at = now + timedelta(seconds=2)
            burst = bench.run([replace(a_post(f"b{n}", n, at, now)) for n in range(1000)])
            bench.close()
        name = f"with {waiting} waiting"
        tell(
            f"due → claimed, lone post, p99, {name}",
            quantile(lone, 0.99),
            "ms",
            floor=quantile(lone_floor, 0.99),
            floor_name="APScheduler",
            aim="≤ 5 ms",
        )
        tell(
            f"due → claimed, lone post, p50, {name}",
            p50(lone),
            "ms",
            floor=p50(lone_floor),
            floor_name="APScheduler",
        )
        tell(
            f"due → claimed, 1,000 in one second, p99, {name}",
            quantile(burst, 0.99),
            "ms",
            floor=quantile(burst_floor, 0.99),
            floor_name="APScheduler",
            aim="ratio ≤ 1",
        )
        tell(
            f"due → claimed, 1,000 in one second, p50, {name}",
            p50(burst),
            "ms",
            floor=p50(burst_floor),
            floor_name="APScheduler",
        )


if __name__ == "__main__":
    main()
