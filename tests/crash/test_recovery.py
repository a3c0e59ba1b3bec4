"""What the crash campaigns have found, each in its smallest form."""

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from daemon.domain.ids import PostId
from daemon.domain.post import State
from daemon.domain.work import Deliver, InspectMedia, Work
from daemon.worker import WorkerPool
from tests.core import Core, Deaths
from tests.waiting import wait_until


def test_a_post_that_only_waited_for_a_worker_is_not_blamed_for_the_crashes(tmp_path: Path) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4")
        post = core.scheduled("clip.mp4", in_s=60)
        due = core.clock.now() + timedelta(seconds=60)
        for _ in range(core.policy.crashes_max + 2):
            core.write(lambda unit: unit.claim_due(due, due + timedelta(seconds=600), 10))
            assert core.post(post).state is State.CLAIMED
            core.restart(clean=False)
            assert core.post(post).state is State.SCHEDULED
        core.run_for(120)
        assert core.post(post).state is State.PUBLISHED


def test_a_status_that_nobody_has_read_before_the_end_is_read_at_the_next_start(tmp_path: Path) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4")
        post = core.scheduled("clip.mp4", in_s=60)
        core.run_for(60)
        assert core.post(post).state is State.PROCESSING
        # The clock has put the post off, a read is on its way, and then there is no one to report it.
        late = core.clock.now() + timedelta(seconds=150)
        core.write(
            lambda unit: unit.save_post(
                replace(unit.post(post), wake_at=late, version=unit.post(post).version + 1)
            )
        )
        core.restart(clean=False)
        core.run_for(5)
        assert core.post(post).state is State.PUBLISHED


def test_a_due_post_does_not_wait_for_media_checks() -> None:
    gate = threading.Event()
    delivered = threading.Event()

    def run(work: Work) -> None:
        if isinstance(work, Deliver):
            delivered.set()
        else:
            gate.wait()

    pool = WorkerPool(1, run, lambda _work: None, Deaths())
    pool.start()
    try:
        for row in range(20):
            pool.put(InspectMedia(row, "large.mp4", "tiktok"))
        pool.put(Deliver(PostId("p_due"), 1))
        wait_until(delivered.is_set, 10, what="the post that is due")
    finally:
        gate.set()
        pool.stop(10)


def test_one_file_ordered_many_times_at_once_is_checked_once_by_each_checker_at_most(tmp_path: Path) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4", checked=False)
        core.media.gate = threading.Event()
        at = (core.clock.now() + timedelta(days=1)).isoformat()
        args = {"account": "ada", "privacy": "SELF_ONLY", "media": "clip.mp4", "at": at}
        calls = [core.submit("post/schedule", args) for _ in range(20)]
        assert [call.first()["status"] for call in calls] == ["accepted"] * 20
        core.media.gate.set()
        assert [call.final()["status"] for call in calls] == ["done"] * 20
        assert len(core.media.inspections) <= 2
