"""B4 and the control of C3: events on their way out, and what others do with what is late."""

import random
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from tests.crash.stage import Stage
from tests.crash.test_failpoints import TWO_CHUNKS, Run
from tests.scorecard.row import Task
from tests.waiting import wait_until

POINTS = ("outbox.before_send", "outbox.after_send", "outbox.before_mark")
PASSAGES = range(2, 8)  # the first event is that of the start, before which no order is taken


def kill_the_relay(task: Task) -> None:
    """B4. The daemon ends before an event leaves, after it, and before it is marked, at each event of a post."""
    stage = Stage(task.folder / "stage")
    points = [(point, passage) for point in POINTS for passage in PASSAGES]
    random.Random(task.seed).shuffle(points)
    heard = 0
    try:
        for number in range(task.count or len(points)):
            if task.is_over():
                break
            point, passage = points[number % len(points)]
            daemon = stage.daemon(task.folder / f"d{number}")
            media, order = stage.clip(daemon, TWO_CHUNKS)
            caller = stage.caller(daemon)
            args = {"account": "demo", "privacy": "SELF_ONLY", "at": "now", "media": media}
            run = Run(stage, daemon, caller, order, args)
            try:
                heard += _one(task, run, f"{point}:kill@{passage}")
            finally:
                caller.close()
                daemon.kill()
            task.say(f"{number + 1} of {task.count or len(points)}")
    finally:
        task.tally.figures["events heard"] = str(heard)
        stage.close()


def _one(task: Task, run: Run, spec: str) -> int:
    try:
        run.crash(spec)
        task.tally.faults["failpoint"] += 1
        run.go_on("post.published")
        outcome = run.finish()
    except AssertionError as error:
        task.tally.wrong.append(f"{spec}: {error}"[:600])
        return 0
    task.tally.take(outcome.findings)
    task.tally.orders += 1
    task.tally.inits += len(outcome.books.inits_of(run.order))
    return len({event["id"] for event in run.caller.events()})


def late_in_a_plain_scheduler(task: Task) -> None:
    """C3's control: with APScheduler's defaults a job that came due while nobody ran is dropped."""
    _FIRED.clear()
    url = f"sqlite:///{task.folder}/jobs.db"
    first = BackgroundScheduler(jobstores={"default": SQLAlchemyJobStore(url)}, timezone=UTC)
    first.start(paused=True)
    first.add_job(_fire, "date", run_date=datetime.now(UTC) + timedelta(seconds=0.2))
    first.shutdown()
    with suppress(AssertionError):
        wait_until(lambda: False, 2.0)  # down over the due time
    second = BackgroundScheduler(jobstores={"default": SQLAlchemyJobStore(url)}, timezone=UTC)
    second.start()
    try:
        with suppress(AssertionError):
            wait_until(lambda: bool(_FIRED), 1.5)
        assert second.get_jobs() == []
    finally:
        second.shutdown()
    if _FIRED:
        task.tally.wrong.append("negative control: the plain scheduler has not dropped its job")
    else:
        task.tally.controls += 1


_FIRED: list[float] = []


def _fire() -> None:
    _FIRED.append(time.monotonic())
